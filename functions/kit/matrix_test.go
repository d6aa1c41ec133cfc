package kit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
)

// cell is one row: an upstream, and the credential that a function on each of
// the clouds puts on a request to it.
type cell struct {
	name     string
	provider config.Provider
	auth     config.AuthType
	// clouds are all when empty.
	clouds []config.Cloud
	fields string
	// stored is what env://STORED holds.
	stored string
	// want is the exact credential on the request: its headers with the secret
	// parts that differ each time replaced by what the stand-in says of them.
	want map[string]string
	// signer is whom the log line names, by name and source.
	signer func(config.Cloud) identity.Principal
}

// credentialHeaders are those that may hold a credential.
func credentialHeaders() []string {
	return []string{"Authorization", "Api-Key", "X-Api-Key", "X-Amz-Security-Token", "X-Custom-Key", "Anthropic-Beta", "Query"}
}

// credential describes what is on a request, with the judgement of the stand-in
// of whoever issued it in place of what cannot be known before.
func (w *world) credential(t *testing.T, r signed) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, name := range credentialHeaders() {
		if value := strings.Join(r.Header.Values(name), ", "); value != "" {
			got[name] = value
		}
	}
	if r.URL.RawQuery != "" {
		got["Query"] = r.URL.RawQuery
	}
	if rest, ok := strings.CutPrefix(got["Authorization"], "AWS4-HMAC-SHA256 Credential="); ok {
		scope := strings.Split(rest[:strings.Index(rest, ",")], "/")
		key, err := awsauth.Verifier{Keys: w.sts.Lookup, Service: scope[3], Region: scope[2]}.Verify(r.Request, r.body)
		if err != nil {
			t.Fatalf("the signature is wrong: %v", err)
		}
		got["Authorization"] = fmt.Sprintf("SigV4 for %s in %s by %s", scope[3], scope[2], session(key))
		if key.SessionToken != "" {
			if got["X-Amz-Security-Token"] != key.SessionToken {
				t.Error("the session token is another key's")
			}
			delete(got, "X-Amz-Security-Token")
		}
	}
	if token, ok := strings.CutPrefix(got["Authorization"], "Bearer "); ok {
		got["Authorization"] = "Bearer " + w.judge(token)
	}
	return got
}

// session names a session without its random part.
func session(key awsauth.Key) string {
	if i := strings.LastIndex(key.ARN, "/"); strings.Contains(key.ARN, "/postern-gateway/") {
		return key.ARN[:i]
	}
	return key.ARN
}

// judge asks the stand-ins whose valid token it is.
func (w *world) judge(token string) string {
	if w.metadata.Valid(token) {
		return "of the metadata server"
	}
	if grant, ok := w.oauth.Grant(token); ok && w.oauth.Valid(token, oauth.Need{}) {
		return fmt.Sprintf("of the OAuth server for client %q, subject %q, scopes %v, audience %q", grant.Client, w.who(grant.Subject), grant.Scopes, grant.Audience)
	}
	if account, ok := w.openAI.Account(token); ok {
		return "of OpenAI for " + account.ServiceAccountID
	}
	if account, ok := w.anthropic.Account(token); ok {
		return "of Anthropic for " + account.ServiceAccountID
	}
	if grant, ok := w.google.Grant(token); ok {
		_, subject, pooled := strings.Cut(grant.Member, "/subject/")
		if !pooled {
			return "of Google for " + grant.Member
		}
		if strings.HasPrefix(subject, "arn:aws:sts::123456789012:assumed-role/postern-gateway/") {
			subject = gatewayRole
		}
		return "of Google for principal of the pool: " + w.who(subject)
	}
	switch {
	case w.managed.Valid(token, inference):
		return "of the managed identity for inference"
	case w.managed.Valid(token, "api://llm"):
		return "of the managed identity for api://llm"
	case w.entra.Valid(token, inference):
		return "of Entra for inference"
	case w.entra.Valid(token, "api://llm"):
		return "of Entra for api://llm"
	}
	return token
}

// who replaces ids by what they are.
func (w *world) who(subject string) string {
	switch subject {
	case gatewayRole:
		return "aws"
	case w.metadata.Subject():
		return "gcp"
	case managedOID:
		return "azure"
	}
	return subject
}

func only(header, value string) map[string]string { return map[string]string{header: value} }

func by(name, source string) func(config.Cloud) identity.Principal {
	return func(config.Cloud) identity.Principal { return identity.Principal{Name: name, Source: source} }
}

func on(clouds ...config.Cloud) []config.Cloud { return clouds }

// TestEveryCellOfTheMatrix wires an upstream for each combination of provider,
// auth type and cloud, has it sign a request, and has the credential on that
// judged by the stand-in of whoever issued it.
func TestEveryCellOfTheMatrix(t *testing.T) {
	w := newWorld(t)
	clouds := on(config.AWS, config.GCP, config.Azure)
	covered := map[string]bool{}
	for _, c := range slices.Concat(keyCells(), awsCells(), azureCells(), googleCells(), oauthCells(), vendorCells()) {
		for _, cloud := range clouds {
			if len(c.clouds) > 0 && !slices.Contains(c.clouds, cloud) {
				continue
			}
			covered[fmt.Sprint(c.provider, " ", c.auth, " ", cloud)] = true
			t.Run(fmt.Sprintf("%s %s on %s: %s", c.provider, c.auth, cloud, c.name), func(t *testing.T) { w.run(t, c, cloud) })
		}
	}
	for _, c := range config.Matrix() {
		for _, cloud := range clouds {
			if key := fmt.Sprint(c.Provider, " ", c.AuthType, " ", cloud); !covered[key] {
				t.Errorf("no row for %s", key)
			}
		}
	}
}

func (w *world) run(t *testing.T, c cell, cloud config.Cloud) {
	if cloud == config.Azure {
		w.onAzure(t)
	}
	key, both := w.pems(t)
	operator := map[string]string{"STORED": strings.NewReplacer("{key}", key, "{certificate}", both).Replace(w.fill(cloud, c.stored))}
	wiring, document, err := w.wiring(t, cloud, fmt.Sprintf("provider: %s\nauth_type: %s\n%s", c.provider, c.auth, c.fields), operator)
	if err != nil {
		t.Fatal(err)
	}
	u := &document.Upstreams[0]
	if _, err := wiring.model(u); err != nil {
		t.Fatal(err)
	}
	auth, err := wiring.authorizer(u)
	if err != nil {
		t.Fatal(err)
	}
	ctx, report := identity.WithReport(t.Context())
	r := request(ctx, t)
	if err := auth.Authorize(r); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for name, value := range c.want {
		want[name] = w.fill(cloud, value)
	}
	if diff := cmp.Diff(want, w.credential(t, signed{r, bodyOf(t, r)})); diff != "" {
		t.Errorf("credential (-want +got):\n%s", diff)
	}
	if c.signer != nil {
		if diff := cmp.Diff(c.signer(cloud), report.Principal()); diff != "" {
			t.Errorf("signer (-want +got):\n%s", diff)
		}
	}
}

func keyCells() []cell {
	const fields = "credential_ref: env://STORED\n"
	bearer := only("Authorization", "Bearer the-stored-key")
	signer := by("env://STORED", "stored key")
	return []cell{
		{name: "a key", provider: config.OpenAI, auth: config.APIKey, fields: fields, stored: "the-stored-key", want: bearer, signer: signer},
		{name: "a key", provider: config.AzureOpenAI, auth: config.APIKey, fields: fields + "azure_instance: res\n", stored: "the-stored-key", want: only("Api-Key", "the-stored-key"), signer: signer},
		{name: "a key", provider: config.Anthropic, auth: config.APIKey, fields: fields, stored: "the-stored-key", want: only("X-Api-Key", "the-stored-key"), signer: signer},
		{name: "a key", provider: config.CustomOpenAI, auth: config.APIKey, fields: fields + "base_url: https://llm.example.com/v1\n", stored: "the-stored-key", want: bearer, signer: signer},
		{
			name: "a key in a header of its own", provider: config.CustomOpenAI, auth: config.APIKey, stored: "the-stored-key",
			fields: fields + "base_url: https://llm.example.com/v1\nheader_name: x-custom-key\n", want: only("X-Custom-Key", "the-stored-key"),
		},
		{
			name: "a key under a scheme of its own", provider: config.CustomOpenAI, auth: config.APIKey, stored: "the-stored-key",
			fields: fields + "base_url: https://llm.example.com/v1\nheader_prefix: Token\n", want: only("Authorization", "Token the-stored-key"),
		},
		{
			name: "a key in the query", provider: config.CustomOpenAI, auth: config.APIKey, stored: "the-stored-key&=",
			fields: fields + "base_url: https://llm.example.com/v1\nquery_name: key\n", want: only("Query", "key=the-stored-key%26%3D"), signer: signer,
		},
		{
			name: "one field of a stored object", provider: config.OpenAI, auth: config.APIKey, stored: `{"openai": "the-stored-key"}`,
			fields: "credential_ref: env://STORED#openai\n", want: bearer, signer: by("env://STORED#openai", "stored key"),
		},
	}
}

func awsCells() []cell {
	const (
		roles = "aws_roles: [{role_arn: '{hub}', session_name: gateway}]\n"
		chain = "aws_roles:\n- {role_arn: '{hub}', session_name: gateway}\n- {role_arn: '{spoke}', session_name: gateway, external_id: 'postern:1', session_tags: {team: platform}, source_identity: postern}\n"
	)
	own := only("Authorization", "SigV4 for bedrock in eu-west-1 by arn:aws:sts::123456789012:assumed-role/postern-gateway")
	hub := only("Authorization", "SigV4 for bedrock in eu-west-1 by arn:aws:sts::123456789012:assumed-role/hub/gateway")
	spoke := only("Authorization", "SigV4 for bedrock in eu-west-1 by arn:aws:sts::210987654321:assumed-role/spoke/gateway")
	byHub := func(cloud config.Cloud) identity.Principal {
		source := "web identity"
		if cloud == config.AWS {
			source = "assumed role"
		}
		return identity.Principal{Name: "arn:aws:sts::123456789012:assumed-role/hub/gateway", Source: source}
	}
	const keys = `{"aws_access_key_id": "` + userKey + `", "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG"}`
	cells := []cell{
		{name: "the function's role", clouds: on(config.AWS), auth: config.Native, want: own},
		{name: "a role by the platform's identity", auth: config.Native, fields: roles, want: hub, signer: byHub},
		{name: "the function's role", clouds: on(config.AWS), auth: config.AWSSigV4, want: own},
		{name: "a chain of roles", auth: config.AWSSigV4, fields: chain, want: spoke, signer: by("arn:aws:sts::210987654321:assumed-role/spoke/gateway", "assumed role")},
		{name: "a stored role", auth: config.AWSSigV4, fields: "credential_ref: env://STORED\n", stored: "{hub}", want: only("Authorization", "SigV4 for bedrock in eu-west-1 by arn:aws:sts::123456789012:assumed-role/hub/postern")},
		{name: "a stored role with its session's name", auth: config.AWSSigV4, fields: "credential_ref: env://STORED\n", stored: `{"role_arn": "{hub}", "session_name": "gateway"}`, want: hub, signer: byHub},
		{name: "stored keys, never mixed with a session token", auth: config.AWSSigV4, fields: "credential_ref: env://STORED\n", stored: keys, want: only("Authorization", "SigV4 for bedrock in eu-west-1 by arn:aws:iam::123456789012:user/gateway")},
		{name: "stored keys that assume a chain", auth: config.AWSSigV4, fields: "credential_ref: env://STORED\n" + chain, stored: keys, want: spoke},
	}
	for i := range cells {
		cells[i].provider = config.Bedrock
		cells[i].fields += "aws_region: eu-west-1\n"
	}
	const custom = "base_url: https://llm.example.com/v1\naws_region: eu-west-1\n"
	return append(cells,
		cell{name: "a server behind AWS IAM", provider: config.CustomOpenAI, auth: config.AWSSigV4, fields: custom + roles, want: only("Authorization", "SigV4 for execute-api in eu-west-1 by arn:aws:sts::123456789012:assumed-role/hub/gateway")},
		cell{name: "a service of its own name", clouds: on(config.AWS), provider: config.CustomOpenAI, auth: config.AWSSigV4, fields: custom + "aws_service: vpc-lattice-svcs\n", want: only("Authorization", "SigV4 for vpc-lattice-svcs in eu-west-1 by arn:aws:sts::123456789012:assumed-role/postern-gateway")},
	)
}

func azureCells() []cell {
	app, stored := "azure_tenant_id: '{tenant}'\nazure_client_id: '{app}'\n", "credential_ref: env://STORED\n"
	principal := `{"tenant_id": "{tenant}", "client_id": "{app}", "client_secret": "` + appSecret + `"}`
	managed, entra := only("Authorization", "Bearer of the managed identity for inference"), only("Authorization", "Bearer of Entra for inference")
	elsewhere := on(config.AWS, config.GCP)
	var cells []cell
	for _, auth := range []config.AuthType{config.Native, config.AzureAD} {
		cells = append(cells,
			cell{name: "the managed identity", clouds: on(config.Azure), auth: auth, want: managed, signer: by(managedID, "managed identity")},
			cell{name: "an app registration that trusts the platform", clouds: elsewhere, auth: auth, fields: app, want: entra},
		)
	}
	cells = append(cells,
		cell{name: "a stored service principal", auth: config.AzureAD, fields: stored, stored: principal, want: entra},
		cell{name: "a stored secret", auth: config.AzureAD, fields: stored + app, stored: appSecret, want: entra},
		cell{name: "a stored certificate", auth: config.AzureAD, fields: stored + app, stored: "{certificate}", want: entra, signer: by(appID, "app registration, certificate")},
	)
	for i := range cells {
		cells[i].provider = config.AzureOpenAI
		cells[i].fields += "azure_instance: res\n"
	}
	custom := "base_url: https://llm.example.com/v1\nscopes: [api://llm/.default]\n"
	return append(cells,
		cell{name: "the managed identity", clouds: on(config.Azure), provider: config.CustomOpenAI, auth: config.AzureAD, fields: custom, want: only("Authorization", "Bearer of the managed identity for api://llm")},
		cell{name: "an app registration that trusts the platform", clouds: elsewhere, provider: config.CustomOpenAI, auth: config.AzureAD, fields: custom + app, want: only("Authorization", "Bearer of Entra for api://llm")},
	)
}

func googleCells() []cell {
	const (
		pool   = "project_id: local-project\ngcp_workload_identity_provider: '{pool}{cloud}'\n"
		acting = "project_id: local-project\ngcp_service_account: " + vertexActor + "\n"
	)
	bearer := func(of string) map[string]string { return only("Authorization", "Bearer of "+of) }
	member := bearer("Google for principal of the pool: {cloud}")
	account, actor := bearer("the metadata server"), bearer("Google for serviceAccount:"+vertexActor)
	away := on(config.AWS, config.Azure)
	secret, err := json.Marshal(map[string]string{"client_id": "basic", "client_secret": clientPass})
	if err != nil {
		panic(err)
	}
	const client = "project_id: local-project\ncredential_ref: env://STORED\naudience: google\ngcp_workload_identity_provider: '{pool}idp'\n"
	cells := []cell{
		{name: "the token of a client of another issuer", auth: config.OAuth2, fields: client + "token_endpoint: '{oauth}/token'\n", stored: string(secret), want: bearer("Google for principal of the pool: basic")},
		{name: "the token of a client of another issuer", auth: config.OIDC, fields: client + "issuer: '{oauth}'\n", stored: string(secret), want: bearer("Google for principal of the pool: basic")},
		{name: "the function's token for a provider that expects one", auth: config.Native, clouds: on(config.AWS), fields: "project_id: local-project\ngcp_workload_identity_provider: '{pool}token'\ntoken_audience: google\n", want: bearer("Google for principal of the pool: aws")},
		{name: "another account by way of the pool", auth: config.Native, clouds: on(config.Azure), fields: pool + strings.TrimPrefix(acting, "project_id: local-project\n"), want: actor, signer: by(vertexActor, "workload identity federation, impersonation")},
		{name: "another account", auth: config.Native, clouds: on(config.GCP), fields: acting, want: actor},
	}
	for _, auth := range []config.AuthType{config.Native, config.OAuth2, config.OIDC} {
		cells = append(cells,
			cell{name: "the service account", clouds: on(config.GCP), auth: auth, want: account, signer: by(gcpAccount, "metadata server")},
			cell{name: "the service account, where a pool is for other clouds", clouds: on(config.GCP), auth: auth, fields: pool, want: account},
			cell{name: "the platform's identity by way of a pool", clouds: away, auth: auth, fields: pool, want: member},
			cell{name: "a stored key of a service account", auth: auth, fields: "project_id: local-project\ncredential_ref: env://STORED\n", stored: "{accountfile}", want: actor},
		)
	}
	for i := range cells {
		cells[i].provider = config.Vertex
	}
	return cells
}

func oauthCells() []cell {
	var cells []cell
	for provider, fields := range map[config.Provider]string{
		config.OpenAI: "", config.AzureOpenAI: "azure_instance: res\n", config.Anthropic: "", config.CustomOpenAI: "base_url: https://llm.example.com/v1\n",
	} {
		bearer := func(client, subject, scopes, audience string) map[string]string {
			want := only("Authorization", fmt.Sprintf("Bearer of the OAuth server for client %q, subject %q, scopes %s, audience %q", client, subject, scopes, audience))
			if provider == config.Anthropic {
				want["Anthropic-Beta"] = "oauth-2025-04-20"
			}
			return want
		}
		secret, err := json.Marshal(map[string]string{"client_id": "basic", "client_secret": clientPass})
		if err != nil {
			panic(err)
		}
		registered, err := json.Marshal(map[string]any{
			"client_id": "basic", "client_secret": clientPass, "registration_client_uri": "https://idp.example.com/register/basic", "registration_access_token": "x",
			"client_secret_expires_at": 0,
		})
		if err != nil {
			panic(err)
		}
		for auth, server := range map[config.AuthType]string{config.OAuth2: "token_endpoint: '{oauth}/token'\n", config.OIDC: "issuer: '{oauth}'\n"} {
			row := func(name, more, stored string, want map[string]string) {
				cells = append(cells, cell{name: name, provider: provider, auth: auth, fields: fields + server + more, stored: stored, want: want})
			}
			row("a client with its secret in one object", "credential_ref: env://STORED\nscopes: [llm:read, llm:invoke]\naudience: llm\n", string(secret), bearer("basic", "basic", "[llm:read llm:invoke]", "llm"))
			row("a client whose registration is stored with its secret", "credential_ref: env://STORED\nscopes: [llm:read]\naudience: llm\n", string(registered), bearer("basic", "basic", "[llm:read]", "llm"))
			row("a client that posts its secret", "credential_ref: env://STORED\nclient_id: post\nclient_auth: client_secret_post\n", clientPass, bearer("post", "post", "[]", ""))
			row("a client that signs with a key", "credential_ref: env://STORED\nclient_id: signed\nclient_auth: private_key_jwt\nclient_key_id: key-1\n", "{key}", bearer("signed", "signed", "[]", ""))
			row("a client that the platform vouches for", "client_id: platform-{cloud}\nclient_auth: platform_jwt\ntoken_audience: '{audience}'\n", "", bearer("platform-{cloud}", "platform-{cloud}", "[llm:invoke llm:read]", ""))
		}
	}
	custom := func(name, fields string, clouds []config.Cloud, stored, want string) {
		cells = append(cells, cell{
			name: name, provider: config.CustomOpenAI, auth: config.OIDC, clouds: clouds, stored: stored, want: only("Authorization", "Bearer of the OAuth server for "+want),
			fields: "base_url: https://llm.example.com/v1\nissuer: '{oauth}'\n" + fields,
		})
	}
	custom("a client that shows a certificate", "client_id: shown\nclient_auth: tls_client_auth\nclient_certificate_ref: env://STORED\n", nil, "{certificate}", `client "shown", subject "shown", scopes [], audience ""`)
	custom("the platform's token in exchange", "grant: token_exchange\ntoken_audience: '{oauth}'\nclient_id: post\nclient_auth: client_secret_post\ncredential_ref: env://STORED\n",
		on(config.AWS, config.GCP), clientPass, `client "post", subject "{cloud}", scopes [], audience ""`)
	return cells
}

func vendorCells() []cell {
	return []cell{
		{
			name: "the platform's token in exchange", provider: config.OpenAI, auth: config.Native,
			fields: "identity_provider_id: idp_{cloud}\nservice_account_id: svac_gateway\ntoken_endpoint: '{openai}/oauth/token'\n",
			want:   only("Authorization", "Bearer of OpenAI for svac_gateway"), signer: by("svac_gateway", "OpenAI token exchange"),
		},
		{
			name: "the platform's token in exchange", provider: config.Anthropic, auth: config.Native,
			fields: "federation_rule_id: fdrl_{cloud}\norganization_id: '{app}'\nservice_account_id: svac_gateway\nworkspace_id: wrkspc_1\ntoken_endpoint: '{anthropic}/v1/oauth/token'\n",
			want:   map[string]string{"Authorization": "Bearer of Anthropic for svac_gateway", "Anthropic-Beta": "oauth-2025-04-20"}, signer: by("svac_gateway", "Anthropic token exchange"),
		},
	}
}
