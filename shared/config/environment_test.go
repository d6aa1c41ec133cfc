package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/config"
)

func variables(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	const document = "platform_callers: true\nupstreams:\n- provider: "
	tests := []struct {
		name    string
		cloud   config.Cloud
		getenv  func(string) string
		want    config.Upstream // compared without the fields that every upstream has
		problem string
		warning string
	}{
		{
			name: "without a document AWS serves bedrock in the function's region", cloud: config.AWS,
			getenv: variables("AWS_REGION", "eu-central-1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9000/"),
			want:   config.Upstream{Provider: config.Bedrock, AWSRegion: "eu-central-1", BaseURL: "http://127.0.0.1:9000"},
		},
		{
			name: "without a document AWS needs a region", cloud: config.AWS, getenv: variables(),
			problem: "aws_region: the region is missing",
		},
		{
			name: "a wrong region is reported under its variable", cloud: config.AWS, getenv: variables("AWS_DEFAULT_REGION", "Frankfurt"),
			problem: `AWS_DEFAULT_REGION ("Frankfurt"): the value does not have the right form`,
		},
		{
			name: "POSTERN_MODELS lists the models of the default upstream", cloud: config.AWS,
			getenv: variables("AWS_REGION", "eu-central-1", "POSTERN_MODELS", " amazon.nova-lite-v1:0, ,eu.anthropic.claude-x "),
			want: config.Upstream{Provider: config.Bedrock, AWSRegion: "eu-central-1", Models: []config.Model{
				{Name: "amazon.nova-lite-v1:0", Model: "amazon.nova-lite-v1:0"}, {Name: "eu.anthropic.claude-x", Model: "eu.anthropic.claude-x"},
			}},
		},
		{
			name: "a wrong model is reported under POSTERN_MODELS", cloud: config.AWS,
			getenv:  variables("AWS_REGION", "eu-central-1", "POSTERN_MODELS", "a b"),
			problem: `POSTERN_MODELS ("a b")`,
		},
		{
			name: "AWS can be told that the platform's IAM is off, and is then refused", cloud: config.AWS,
			getenv:  variables("AWS_REGION", "eu-central-1", "POSTERN_PLATFORM_IAM", "false"),
			problem: "nobody could call this gateway",
		},
		{
			name: "without a document Google Cloud needs to know that IAM is on", cloud: config.GCP, getenv: variables(),
			problem: "POSTERN_PLATFORM_IAM: nobody could call this gateway",
		},
		{
			name: "only true and false are answers to that", cloud: config.GCP, getenv: variables("POSTERN_PLATFORM_IAM", "yes"),
			problem: `POSTERN_PLATFORM_IAM ("yes"): this is neither true nor false`,
		},
		{
			name: "without a document Google Cloud serves vertex, the project may be left to the metadata server", cloud: config.GCP,
			getenv: variables("POSTERN_PLATFORM_IAM", "true"),
			want:   config.Upstream{Provider: config.Vertex, LocationID: "global"},
		},
		{
			name: "Google Cloud's own variables are used", cloud: config.GCP,
			getenv: variables("POSTERN_PLATFORM_IAM", "true", "GOOGLE_CLOUD_PROJECT", "my-project", "GOOGLE_CLOUD_LOCATION", "europe-west4", "GOOGLE_VERTEX_BASE_URL", "http://localhost:1"),
			want:   config.Upstream{Provider: config.Vertex, ProjectID: "my-project", LocationID: "europe-west4", BaseURL: "http://localhost:1"},
		},
		{
			name: "without a document Azure needs the resource's address", cloud: config.Azure, getenv: variables("POSTERN_PLATFORM_IAM", "true"),
			problem: "AZURE_OPENAI_ENDPOINT: the Azure OpenAI resource is missing; set it to",
		},
		{
			name: "Azure's own variables are used", cloud: config.Azure,
			getenv: variables("POSTERN_PLATFORM_IAM", "true", "AZURE_OPENAI_ENDPOINT", "https://res.openai.azure.com/", "AZURE_CLIENT_ID", "aabdecea-fc38-40ca-9edd-263878b290fe"),
			want:   config.Upstream{Provider: config.AzureOpenAI, BaseURL: "https://res.openai.azure.com", AzureClientID: "aabdecea-fc38-40ca-9edd-263878b290fe"},
		},
		{name: "there is no other cloud", cloud: "ibm", getenv: variables(), problem: `there is no cloud "ibm"`},
		{
			name: "an inline document and a file contradict each other", cloud: config.AWS,
			getenv:  variables("POSTERN_CONFIG", "x", "POSTERN_CONFIG_FILE", "y"),
			problem: "POSTERN_CONFIG and POSTERN_CONFIG_FILE are both set",
		},
		{
			name: "an inline document takes its region from the platform", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", document+"bedrock", "AWS_REGION", "us-east-1", "AWS_DEFAULT_REGION", "us-west-2"),
			want:   config.Upstream{Provider: config.Bedrock, AWSRegion: "us-east-1"},
		},
		{
			name: "what the document says is stronger than the platform's variables", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", document+"bedrock\n  aws_region: eu-west-1\n  base_url: https://a.example.com", "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "https://b.example.com"),
			want:   config.Upstream{Provider: config.Bedrock, AWSRegion: "eu-west-1", BaseURL: "https://a.example.com"},
		},
		{
			name: "a file is read", cloud: config.GCP,
			getenv: variables("POSTERN_CONFIG_FILE", "good.yaml", "GOOGLE_CLOUD_PROJECT", "my-project"),
			want:   config.Upstream{Provider: config.Vertex, ProjectID: "my-project", LocationID: "global"},
		},
		{
			name: "a file that is not there is reported with its path", cloud: config.GCP,
			getenv: variables("POSTERN_CONFIG_FILE", "none.yaml"), problem: `POSTERN_CONFIG_FILE ("none.yaml"): the file cannot be read`,
		},
		{
			name: "a native identity that this cloud does not have is refused", cloud: config.Azure,
			getenv:  variables("POSTERN_CONFIG", document+"vertex"),
			problem: `upstreams[0].auth_type ("native"): for provider vertex this is the function's service account, and a function on azure has no such identity; give gcp_workload_identity_provider, or credential_ref, or serve "vertex" from a function on gcp`,
		},
		{
			name: "a role lets a function of another cloud in", cloud: config.GCP,
			getenv: variables("POSTERN_CONFIG", document+"bedrock\n  aws_region: eu-west-1\n  aws_roles: [arn:aws:iam::123456789012:role/gateway]"),
			want:   config.Upstream{Provider: config.Bedrock, AWSRegion: "eu-west-1", AWSRoles: []config.AWSRole{{RoleARN: "arn:aws:iam::123456789012:role/gateway"}}},
		},
		{
			name: "a project that only Google Cloud knows has to be given elsewhere", cloud: config.AWS,
			getenv:  variables("POSTERN_CONFIG", document+"vertex\n  gcp_workload_identity_provider: "+pool),
			problem: "upstreams[0].project_id: the project is missing",
		},
		{
			name: "what a token of another cloud cannot carry is refused", cloud: config.GCP,
			getenv:  variables("POSTERN_CONFIG", document+"bedrock\n  aws_region: eu-west-1\n  aws_roles: [{role_arn: arn:aws:iam::123456789012:role/gateway, external_id: x1}]"),
			problem: "upstreams[0].aws_roles[0]: outside AWS the first role is assumed with the platform's token",
		},
		{
			name: "the credential chain of another cloud is refused", cloud: config.GCP,
			getenv:  variables("POSTERN_CONFIG", document+"bedrock\n  auth_type: aws_sigv4\n  aws_region: eu-west-1"),
			problem: `give aws_roles, or credential_ref, or serve "bedrock" from a function on aws`,
		},
		{
			name: "a pool lets a function of another cloud in", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", document+"vertex\n  project_id: my-project\n  gcp_workload_identity_provider: "+pool),
			want:   config.Upstream{Provider: config.Vertex, ProjectID: "my-project", LocationID: "global", GCPWorkloadIdentityProvider: pool},
		},
		{
			name: "an app registration lets a function of another cloud in, by its usual variables", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", document+"azure-openai\n  azure_instance: res", "AZURE_TENANT_ID", "contoso.com", "AZURE_CLIENT_ID", "aabdecea-fc38-40ca-9edd-263878b290fe"),
			want:   config.Upstream{Provider: config.AzureOpenAI, AzureInstance: "res", AzureTenantID: "contoso.com", AzureClientID: "aabdecea-fc38-40ca-9edd-263878b290fe"},
		},
		{
			name: "half an app registration does not", cloud: config.AWS,
			getenv:  variables("POSTERN_CONFIG", document+"azure-openai\n  azure_instance: res", "AZURE_TENANT_ID", "contoso.com"),
			problem: "give azure_tenant_id and azure_client_id",
		},
		{
			name: "a variable that cannot be a client id is refused by its name", cloud: config.AWS,
			getenv:  variables("POSTERN_CONFIG", document+"azure-openai\n  azure_instance: res", "AZURE_TENANT_ID", "contoso.com", "AZURE_CLIENT_ID", "me"),
			problem: "AZURE_CLIENT_ID: the value does not have the form of upstreams[0].azure_client_id",
		},
		{
			name: "the managed identity of a function on Azure is not replaced by its variables", cloud: config.Azure,
			getenv: variables("POSTERN_CONFIG", document+"azure-openai\n  azure_instance: res", "AZURE_TENANT_ID", "contoso.com", "AZURE_CLIENT_ID", "aabdecea-fc38-40ca-9edd-263878b290fe"),
			want:   config.Upstream{Provider: config.AzureOpenAI, AzureInstance: "res"},
		},
		{
			name: "the secret of an app registration may be in its usual variable", cloud: config.Azure,
			getenv: variables("POSTERN_CONFIG", document+"azure-openai\n  auth_type: azure_ad\n  azure_instance: res\n  azure_tenant_id: contoso.com\n  azure_client_id: aabdecea-fc38-40ca-9edd-263878b290fe", "AZURE_CLIENT_SECRET", "x"),
			want: config.Upstream{
				Provider: config.AzureOpenAI, AzureInstance: "res", AzureTenantID: "contoso.com", AzureClientID: "aabdecea-fc38-40ca-9edd-263878b290fe",
				CredentialRef: "env://AZURE_CLIENT_SECRET",
			},
			warning: "an app registration's secret is taken from the variable AZURE_CLIENT_SECRET",
		},
		{
			name: "a service account's key may be in its usual variable", cloud: config.GCP,
			getenv:  variables("POSTERN_CONFIG", document+"vertex", "GCP_SERVICE_ACCOUNT", "{}"),
			want:    config.Upstream{Provider: config.Vertex, LocationID: "global", CredentialRef: "env://GCP_SERVICE_ACCOUNT"},
			warning: "a service account's key is taken from the variable GCP_SERVICE_ACCOUNT",
		},
		{
			name: "a pool is stronger than that variable", cloud: config.AWS,
			getenv:  variables("POSTERN_CONFIG", document+"vertex\n  project_id: my-project\n  gcp_workload_identity_provider: "+pool, "GCP_SERVICE_ACCOUNT", "{}"),
			want:    config.Upstream{Provider: config.Vertex, ProjectID: "my-project", LocationID: "global", GCPWorkloadIdentityProvider: pool},
			warning: "the key in the variable GCP_SERVICE_ACCOUNT is not used",
		},
		{
			name: "one upstream alone is for the callers of the platform", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", "provider: bedrock\naws_region: eu-west-1"),
			want:   config.Upstream{Provider: config.Bedrock, AWSRegion: "eu-west-1"},
		},
		{
			name: "one upstream alone needs to know that IAM is on, where a function cannot see it", cloud: config.GCP,
			getenv:  variables("POSTERN_CONFIG", "provider: vertex"),
			problem: "POSTERN_PLATFORM_IAM: nobody could call this gateway",
		},
		{
			name: "a server behind AWS IAM takes its region from the platform", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", document+"custom-openai\n  auth_type: aws_sigv4\n  base_url: https://a.example.com", "AWS_REGION", "us-east-1"),
			want:   config.Upstream{Provider: config.CustomOpenAI, BaseURL: "https://a.example.com", AWSRegion: "us-east-1"},
		},
		{
			name: "an override that is not https is refused under its variable", cloud: config.AWS,
			getenv:  variables("POSTERN_CONFIG", document+"bedrock", "AWS_REGION", "eu-west-1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://bedrock.example.com"),
			problem: "AWS_ENDPOINT_URL_BEDROCK_RUNTIME: the value does not have the form",
		},
		{
			name: "the path of a file is not a document", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", "/etc/postern.yaml"), problem: "set POSTERN_CONFIG_FILE to it instead",
		},
		{
			name: "models beside a document would have no effect", cloud: config.AWS,
			getenv:  variables("POSTERN_CONFIG", document+"bedrock", "AWS_REGION", "eu-west-1", "POSTERN_MODELS", "nova"),
			problem: "POSTERN_MODELS (\"nova\"): it has no effect",
		},
		{
			name: "a document cannot promise what the deployment denies", cloud: config.GCP,
			getenv:  variables("POSTERN_CONFIG", document+"vertex", "POSTERN_PLATFORM_IAM", "false"),
			problem: "it contradicts the document",
		},
		{
			name: "a word that is no answer is none beside a document either", cloud: config.GCP,
			getenv:  variables("POSTERN_CONFIG", document+"vertex", "POSTERN_PLATFORM_IAM", "yes"),
			problem: "this is neither true nor false",
		},
		{
			name: "an empty document is not the same as none", cloud: config.AWS,
			getenv: variables("POSTERN_CONFIG", " ", "AWS_REGION", "eu-west-1"), problem: "the document is empty",
		},
	}
	readFile := func(path string) ([]byte, error) {
		if path == "good.yaml" {
			return []byte(document + "vertex"), nil
		}
		return nil, os.ErrNotExist
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d, err := config.FromEnvironment(test.cloud, test.getenv, readFile)
			if test.problem != "" {
				var problems *config.Problems
				if !errors.As(err, &problems) || !strings.Contains(err.Error(), test.problem) || d != nil {
					t.Fatalf("got %v, %v, want the problem %q and no document", d, err, test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Name, test.want.AuthType = string(test.want.Provider), d.Upstreams[0].AuthType
			test.want.RefreshPolicy, test.want.Timeout = config.PreExpiry, d.Limits.RequestTimeout
			if diff := cmp.Diff([]config.Upstream{test.want}, d.Upstreams); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var warnings []string
			for _, w := range d.Warnings {
				warnings = append(warnings, w.String())
			}
			if got := strings.Join(warnings, "\n"); !strings.Contains(got, test.warning) || test.warning == "" && got != "" {
				t.Errorf("got the warnings %q, want %q", got, test.warning)
			}
			if !d.PlatformCallers || len(d.Callers) > 0 || len(d.Policy) > 0 {
				t.Errorf("somebody else than the platform's callers is let in: %+v", d)
			}
		})
	}
}

// TestFrontsAreOnTheirOwnClouds loads documents for functions that have none of their fronts.
func TestFrontsAreOnTheirOwnClouds(t *testing.T) {
	t.Parallel()
	const rest = `,"policy":[{"models":["*"]}],"upstreams":[{"provider":"openai","auth_type":"api_key","credential_ref":"env://KEY"}]}`
	const bound = `{"callers":[{"issuer":"https://idp.example.com","audience":"x","certificate_bound":true}],"fronts":{"api_gateway":{}}` + rest
	nobody, unusable := "fronts: nobody could call this gateway", "callers[0].certificate_bound: no front of a function on"
	for _, test := range []struct {
		name, document string
		problems       map[config.Cloud]string
	}{
		{"a load balancer", `{"fronts":{"alb":{"admit":true}}` + rest, map[config.Cloud]string{config.GCP: nobody, config.Azure: nobody}},
		{"Identity-Aware Proxy", `{"fronts":{"iap":{"audience":"/projects/1"}}` + rest, map[config.Cloud]string{config.AWS: nobody, config.Azure: nobody}},
		{"other callers besides", `{"api_tokens":{"credential_ref":"a","key_ref":"b"},"fronts":{"alb":{"admit":true}}` + rest, nil},
		{"certificates that tokens are bound to", bound, map[config.Cloud]string{config.GCP: unusable, config.Azure: unusable}},
	} {
		for _, cloud := range []config.Cloud{config.AWS, config.GCP, config.Azure} {
			_, err := config.FromEnvironment(cloud, variables("POSTERN_CONFIG", test.document), nil)
			want := test.problems[cloud]
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s on %s: got %v, want %q", test.name, cloud, err, want)
			}
		}
	}
}

// TestTheFunctionsOwnIdentityLogsInToRedis loads documents whose server the deployment has made, or the operator.
func TestTheFunctionsOwnIdentityLogsInToRedis(t *testing.T) {
	t.Parallel()
	const serverless = "rediss://my-cache-abc123.serverless.use1.cache.amazonaws.com:6379"
	for _, test := range []struct {
		name, redis string
		cloud       config.Cloud
		getenv      func(string) string
		want        config.Redis // but for the way to log in and the key
		cache       string
		serverless  bool
		problem     string
		warning     string
	}{
		{
			name: "AWS: to the server that the deployment has made", cloud: config.AWS,
			getenv: variables("POSTERN_REDIS_URL", serverless, "POSTERN_REDIS_USERNAME", "postern"),
			want:   config.Redis{URL: serverless, Username: "postern"}, cache: "my-cache", serverless: true,
		},
		{
			name: "AWS: to a replication group of the operator's", cloud: config.AWS, redis: ", url: 'rediss://clustercfg.group-1.abc123.euw1.cache.amazonaws.com', username: me", getenv: variables(),
			want: config.Redis{URL: "rediss://clustercfg.group-1.abc123.euw1.cache.amazonaws.com", Username: "me"}, cache: "group-1",
		},
		{
			name: "AWS: to one in China", cloud: config.AWS, redis: ", url: 'rediss://master.group.abc123.cnn1.cache.amazonaws.com.cn', username: me", getenv: variables(),
			want: config.Redis{URL: "rediss://master.group.abc123.cnn1.cache.amazonaws.com.cn", Username: "me"}, cache: "group",
		},
		{
			name: "AWS: to an address that does not say which cache it is", cloud: config.AWS, redis: ", url: 'rediss://cache.internal.example.com', username: me", getenv: variables(),
			problem: "cache.redis.aws_cache_name: the address does not say which cache of ElastiCache it is; give the name of the serverless cache or the id of the replication group",
		},
		{
			name: "AWS: to such an address, with the cache's name", cloud: config.AWS, redis: ", url: 'rediss://cache.internal.example.com', username: me, aws_cache_name: group", getenv: variables(),
			want: config.Redis{URL: "rediss://cache.internal.example.com", Username: "me", AWSCacheName: "group"}, cache: "group",
		},
		{
			name: "AWS: without a user", cloud: config.AWS, getenv: variables("POSTERN_REDIS_URL", serverless),
			problem: "cache.redis.username: the user of ElastiCache who logs in with IAM is missing, and POSTERN_REDIS_USERNAME is not set; give the id of a user whose authentication mode is iam",
		},
		{
			name: "Google Cloud: to the server that the deployment has made, by its authority", cloud: config.GCP,
			getenv: variables("POSTERN_REDIS_URL", "rediss://10.0.0.3:6379", "POSTERN_REDIS_CA", "PEM"),
			want:   config.Redis{URL: "rediss://10.0.0.3:6379", Authorities: "PEM"},
		},
		{
			name: "AWS: as another user than the deployment has made", cloud: config.AWS, redis: ", username: me",
			getenv:  variables("POSTERN_REDIS_URL", serverless, "POSTERN_REDIS_USERNAME", "postern"),
			problem: `cache.redis.username ("me"): the deployment has made another user for this function, whom POSTERN_REDIS_USERNAME names; remove it`,
		},
		{
			name: "Google Cloud: without an authority", cloud: config.GCP, redis: ", url: 'rediss://10.0.0.3:6379'", getenv: variables(),
			want:    config.Redis{URL: "rediss://10.0.0.3:6379"},
			warning: "POSTERN_REDIS_CA: it is not set, and the system knows none of the authorities from which Memorystore has its certificates; set it to the instance's own authority in PEM",
		},
		{
			name: "Google Cloud: a user's name has no effect", cloud: config.GCP, redis: ", url: 'rediss://10.0.0.3:6379', username: me", getenv: variables("POSTERN_REDIS_CA", "PEM"),
			want: config.Redis{URL: "rediss://10.0.0.3:6379", Authorities: "PEM"}, warning: "cache.redis.username (\"me\"): it has no effect here",
		},
		{
			name: "Azure: without an address", cloud: config.Azure, getenv: variables(),
			problem: "cache.redis.url: the server's address is missing, and POSTERN_REDIS_URL is not set; set that variable, as the modules in infra do for the server that they make, or give the address of your own server",
		},
		{
			name: "Azure: with a wrong address", cloud: config.Azure, getenv: variables("POSTERN_REDIS_URL", "postern.redis.azure.net:10000"),
			problem: `POSTERN_REDIS_URL ("postern.redis.azure.net:10000"): this is not a URL`,
		},
	} {
		document := "platform_callers: true\ncache: {redis: {auth_type: native, key_ref: key" + test.redis + "}}\nupstreams: [{provider: openai, auth_type: api_key, credential_ref: key}]\n"
		getenv := func(name string) string {
			if name == "POSTERN_CONFIG" {
				return document
			}
			return test.getenv(name)
		}
		d, err := config.FromEnvironment(test.cloud, getenv, nil)
		if test.problem != "" || err != nil {
			if test.problem == "" || err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("%s: got %v", test.name, err)
			}
			continue
		}
		got := *d.Cache.Redis
		if name, serverless := got.ElastiCache(); test.cloud == config.AWS && (name != test.cache || serverless != test.serverless) {
			t.Errorf("%s: the cache is %q, serverless %v", test.name, name, serverless)
		}
		test.want.AuthType, test.want.KeyRef = config.Native, "key"
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if text := ""; len(d.Warnings) > 0 {
			text = d.Warnings[0].String()
			if test.warning == "" || !strings.Contains(text, test.warning) {
				t.Errorf("%s: warns %q", test.name, text)
			}
		} else if test.warning != "" {
			t.Errorf("%s: warns of nothing", test.name)
		}
	}
}
