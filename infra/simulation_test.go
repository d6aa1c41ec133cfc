package infra_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// question is a sentence about who may do what.
type question struct {
	who, action, on string
	context         map[string]string
	may             bool
}

func (q question) String() string {
	may := "may not"
	if q.may {
		may = "may"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s on %s %v", q.who, may, q.action, q.on, slices.Collect(maps.Values(q.context))))
}

// statement is one of a policy of AWS.
type statement struct {
	Sid, Effect      string
	Action, Resource []string
	Condition        map[string]map[string]jsontext.Value
}

// matches reports whether a pattern of IAM, in which a star stands for any text, is for a text.
func matches(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$").MatchString(text)
	})
}

// holds evaluates the operators of conditions that the modules use. A condition about a key that a request does not have does not hold.
func (s statement) holds(t *testing.T, context map[string]string) bool {
	t.Helper()
	for operator, keys := range s.Condition {
		for key, raw := range keys {
			var wanted []string
			if json.Unmarshal(raw, &wanted) != nil {
				wanted = make([]string, 1)
				if err := json.Unmarshal(raw, &wanted[0]); err != nil {
					t.Fatal(err)
				}
			}
			got, has := context[key]
			switch operator {
			case "StringEquals":
				if !has || !slices.Contains(wanted, got) {
					return false
				}
			case "ForAllValues:StringEquals": // which holds where there is no value
				if has && !slices.Contains(wanted, got) {
					return false
				}
			case "Null":
				if (wanted[0] == "true") == has {
					return false
				}
			default:
				t.Fatalf("the operator %s is not known here", operator)
			}
		}
	}
	return true
}

// star returns what stands for anything where it is allowed, which is no permission that follows from a document.
func (s statement) star() string {
	// The end of an ARN, and an action that knows no resources and is bounded by its condition. In a network of one's own there are the
	// interfaces too, which no run here has.
	allowed := map[string]string{"Logs": ":log-stream:*", "PlatformToken": "*"}[s.Sid]
	for _, text := range slices.Concat(s.Action, s.Resource) {
		before, ends := strings.CutSuffix(text, allowed)
		if s.Effect == "Allow" && strings.Contains(text, "*") && (allowed == "" || !ends || strings.Contains(before, "*")) {
			return text
		}
	}
	if s.Sid == "PlatformToken" && len(s.Condition) == 0 {
		return "no condition"
	}
	return ""
}

// allows evaluates a policy as IAM does: what is denied is denied, and what is not allowed is denied too.
func allows(t *testing.T, policy []statement, q question) bool {
	t.Helper()
	allowed := false
	for _, s := range policy {
		if matches(s.Action, q.action) && matches(s.Resource, q.on) && s.holds(t, q.context) {
			if s.Effect == "Deny" {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

// policies are those of a run, by whose they are.
func policies(t *testing.T, made []resource) map[string][]statement {
	t.Helper()
	all := map[string][]statement{}
	for _, r := range made {
		if r.Type != "aws_iam_role_policy" {
			continue
		}
		var policy struct{ Statement []statement }
		if err := json.Unmarshal([]byte(r.text("policy")), &policy); err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(strings.TrimPrefix(r.Address, "aws_iam_role_policy."), "[0]")] = policy.Statement
	}
	return all
}

func TestWhatTheFunctionsMayDoOnAWS(t *testing.T) {
	t.Parallel()
	const (
		secret = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:"
		model  = "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0"
		user   = "arn:aws:iam::111122223333:user/"
	)
	runs := applied(t, "aws", "tests/rotation.tftest.hcl")
	for run, made := range runs {
		for who, policy := range policies(t, made) {
			for _, s := range policy {
				if star := s.star(); star != "" {
					t.Errorf("%s: %s: %s has %s", run, who, s.Sid, star)
				}
			}
		}
	}
	of := policies(t, runs["a_document_with_every_issuer"])
	for _, q := range []question{
		{who: "gateway", may: true, action: "bedrock:InvokeModel", on: model},
		{who: "gateway", may: true, action: "bedrock:InvokeModelWithResponseStream", on: model},
		{who: "gateway", action: "bedrock:InvokeModel", on: "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1:0"},
		{who: "gateway", action: "bedrock:InvokeModel", on: "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"},
		{who: "gateway", action: "bedrock:CallWithBearerToken", on: model},
		{who: "gateway", may: true, action: "secretsmanager:GetSecretValue", on: secret + "openai-000004"},
		{who: "gateway", action: "secretsmanager:GetSecretValue", on: secret + "openai-admin-000002"},
		{who: "gateway", action: "secretsmanager:GetSecretValue", on: secret + "other-key-000012"},
		{who: "gateway", action: "secretsmanager:PutSecretValue", on: secret + "openai-000004"},
		{who: "gateway", action: "secretsmanager:UpdateSecretVersionStage", on: secret + "openai-000004"},
		{who: "gateway", action: "iam:CreateAccessKey", on: user + "apps/gateway"},
		{who: "gateway", action: "dynamodb:GetItem", on: "arn:aws:dynamodb:eu-west-1:111122223333:table/postern-rotation"},
		{who: "gateway", may: true, action: "sts:AssumeRole", on: "arn:aws:iam::444455556666:role/door"},
		{who: "gateway", action: "sts:AssumeRole", on: "arn:aws:iam::444455556666:role/keys"},
		{who: "gateway", may: true, action: "events:PutEvents", on: "arn:aws:events:eu-west-1:111122223333:event-bus/postern", context: map[string]string{"events:source": "ai.postern.postern-gateway"}},
		{who: "gateway", action: "events:PutEvents", on: "arn:aws:events:eu-west-1:111122223333:event-bus/postern", context: map[string]string{"events:source": "ai.postern.postern-rotate"}},
		{who: "gateway", action: "events:PutEvents", on: "arn:aws:events:eu-west-1:111122223333:event-bus/default", context: map[string]string{"events:source": "ai.postern.postern-gateway"}},
		{who: "gateway", may: true, action: "logs:PutLogEvents", on: "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/postern-gateway:log-stream:a"},
		{who: "gateway", action: "logs:PutLogEvents", on: "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/postern-rotate:log-stream:a"},
		{who: "gateway", action: "logs:CreateLogGroup", on: "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/postern-gateway"},

		{who: "rotate", may: true, action: "secretsmanager:PutSecretValue", on: secret + "openai-000004"},
		{who: "rotate", may: true, action: "secretsmanager:UpdateSecretVersionStage", on: secret + "openai-000004"},
		{who: "rotate", may: true, action: "secretsmanager:PutSecretValue", on: secret + "openai-admin-000002"},
		{who: "rotate", may: true, action: "secretsmanager:GetSecretValue", on: secret + "router-admin-000003"},
		{who: "rotate", action: "secretsmanager:PutSecretValue", on: secret + "router-admin-000003"},
		{who: "rotate", action: "secretsmanager:PutSecretValue", on: secret + "redis-key-000016"},
		{who: "rotate", action: "secretsmanager:DeleteSecret", on: secret + "openai-000004"},
		{who: "rotate", action: "secretsmanager:PutSecretValue", on: secret + "anothers-000099"},
		{who: "rotate", may: true, action: "iam:CreateAccessKey", on: user + "apps/gateway"},
		{who: "rotate", may: true, action: "iam:DeleteAccessKey", on: user + "apps/gateway"},
		{who: "rotate", action: "iam:CreateAccessKey", on: user + "admin"},
		{who: "rotate", action: "iam:CreateAccessKey", on: user + "mantle"},
		{who: "rotate", may: true, action: "iam:CreateServiceSpecificCredential", on: user + "mantle"},
		{who: "rotate", action: "iam:AttachUserPolicy", on: user + "apps/gateway"},
		{who: "rotate", action: "iam:CreateUser", on: user + "apps/gateway"},
		{who: "rotate", may: true, action: "sts:AssumeRole", on: "arn:aws:iam::444455556666:role/keys"},
		{who: "rotate", action: "sts:AssumeRole", on: "arn:aws:iam::444455556666:role/door"},
		{who: "rotate", may: true, action: "dynamodb:PutItem", on: "arn:aws:dynamodb:eu-west-1:111122223333:table/postern-rotation"},
		{who: "gateway", action: "kms:Sign", on: "arn:aws:kms:eu-west-1:111122223333:key/audit"},
		{who: "rotate", may: true, action: "kms:Sign", on: "arn:aws:kms:eu-west-1:111122223333:key/audit"},
		{who: "rotate", action: "dynamodb:DeleteTable", on: "arn:aws:dynamodb:eu-west-1:111122223333:table/postern-rotation"},
		{who: "rotate", action: "bedrock:InvokeModel", on: model},
		{who: "rotate", action: "bedrock:InvokeModelWithResponseStream", on: model},
		{who: "rotate", may: true, action: "sts:GetWebIdentityToken", on: "any", context: map[string]string{"sts:IdentityTokenAudience": "api://AzureADTokenExchange"}},
		{who: "rotate", action: "sts:GetWebIdentityToken", on: "any", context: map[string]string{"sts:IdentityTokenAudience": "https://api.openai.com/v1"}},
		{who: "rotate", action: "sts:GetWebIdentityToken", on: "any"},
		{who: "rotate", may: true, action: "kms:GenerateDataKey", on: "arn:aws:kms:eu-west-1:111122223333:key/k1", context: map[string]string{"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}},
		{who: "rotate", action: "kms:GenerateDataKey", on: "arn:aws:kms:eu-west-1:111122223333:key/k3", context: map[string]string{"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}},
		{who: "rotate", action: "kms:Decrypt", on: "arn:aws:kms:eu-west-1:111122223333:key/k1", context: map[string]string{"kms:ViaService": "s3.eu-west-1.amazonaws.com"}},

		{who: "schedule", may: true, action: "lambda:InvokeFunction", on: "arn:aws:lambda:eu-west-1:111122223333:function:postern-rotate:live"},
		{who: "schedule", action: "lambda:InvokeFunction", on: "arn:aws:lambda:eu-west-1:111122223333:function:postern-gateway:live"},
		{who: "schedule", action: "secretsmanager:GetSecretValue", on: secret + "openai-000004"},
	} {
		if allows(t, of[q.who], q) != q.may {
			t.Errorf("not so: %s", q)
		}
	}
}

func TestWhoMayLogInToRedisOnAWS(t *testing.T) {
	t.Parallel()
	const cache, user = "arn:aws:elasticache:eu-west-1:111122223333:serverlesscache:", "arn:aws:elasticache:eu-west-1:111122223333:user:"
	made := applied(t, "aws", "tests/redis.tftest.hcl")["a_server_without_a_password"]
	of := policies(t, made)
	for _, q := range []question{
		{who: "gateway", may: true, action: "elasticache:Connect", on: cache + "postern-redis"},
		{who: "gateway", may: true, action: "elasticache:Connect", on: user + "postern-gateway"},
		{who: "gateway", action: "elasticache:Connect", on: user + "postern-rotate"},
		{who: "gateway", action: "elasticache:Connect", on: user + "default"},
		{who: "gateway", action: "elasticache:Connect", on: cache + "another"},
		{who: "gateway", action: "elasticache:ModifyUser", on: user + "postern-gateway"},
		{who: "rotate", may: true, action: "elasticache:Connect", on: user + "postern-rotate"},
		{who: "rotate", action: "elasticache:Connect", on: user + "postern-gateway"},
		{who: "schedule", action: "elasticache:Connect", on: cache + "postern-redis"},
	} {
		if allows(t, of[q.who], q) != q.may {
			t.Errorf("not so: %s", q)
		}
	}
}

// grant is a role that somebody has on something, on Google Cloud and Azure.
type grant struct{ who, role, on string }

// permissions are those of the platforms' own roles, as far as the modules give them. A role that is not here is one that nobody has looked at.
var permissions = map[string][]string{
	"roles/secretmanager.secretAccessor":         {"secretmanager.versions.access"},
	"roles/secretmanager.viewer":                 {"secretmanager.secrets.get", "secretmanager.secrets.list", "secretmanager.versions.get", "secretmanager.versions.list"},
	"roles/pubsub.publisher":                     {"pubsub.topics.publish"},
	"roles/pubsub.subscriber":                    {"pubsub.subscriptions.consume"},
	"roles/run.invoker":                          {"run.routes.invoke"},
	"roles/iam.serviceAccountTokenCreator":       {"iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.getOpenIdToken", "iam.serviceAccounts.signJwt"},
	"roles/iam.serviceAccountOpenIdTokenCreator": {"iam.serviceAccounts.getOpenIdToken"},
	"roles/storage.objectUser":                   {"storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list", "storage.objects.update"},
	"roles/storage.objectViewer":                 {"storage.objects.get", "storage.objects.list"},
	"roles/artifactregistry.writer":              {"artifactregistry.repositories.uploadArtifacts"},
	"roles/logging.logWriter":                    {"logging.logEntries.create"},
	"roles/memorystore.dbConnectionUser":         {"memorystore.instances.connect"},
	"roles/cloudkms.signer":                      {"cloudkms.cryptoKeyVersions.useToSign"},
	"roles/cloudkms.publicKeyViewer":             {"cloudkms.cryptoKeyVersions.viewPublicKey"},
	"Key Vault Secrets User":                     {"Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"},
	"Cognitive Services OpenAI User":             {"Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action"},
	"Storage Blob Data Owner":                    {"blobs/read", "blobs/write"},
	"Storage Blob Data Contributor":              {"blobs/read", "blobs/write"},
	"EventGrid Data Sender":                      {"Microsoft.EventGrid/events/send/action"},
	"Monitoring Metrics Publisher":               {"Microsoft.Insights/telemetry/write"},
}

// ask finds out about sentences on grants. Roles of one's own are given with their permissions.
func ask(t *testing.T, grants []grant, own map[string][]string, questions []question) {
	t.Helper()
	for _, g := range grants {
		if permissions[g.role] == nil && own[g.role] == nil {
			t.Errorf("nobody has looked at the role %s", g.role)
		}
		if strings.Contains(g.on, "*") {
			t.Errorf("%s is granted on %s", g.role, g.on)
		}
	}
	for role, all := range own {
		if slices.ContainsFunc(all, func(p string) bool { return strings.Contains(p, "*") }) {
			t.Errorf("%s has a star: %v", role, all)
		}
	}
	for _, q := range questions {
		may := slices.ContainsFunc(grants, func(g grant) bool {
			// What is granted is granted on everything below it.
			below := q.on == g.on || strings.HasPrefix(q.on, g.on+"/")
			return strings.HasSuffix(g.who, q.who) && below && slices.Contains(slices.Concat(permissions[g.role], own[g.role]), q.action)
		})
		if may != q.may {
			t.Errorf("not so: %s", q)
		}
	}
}

// list is a list of texts in a state.
func list(value any) []string {
	var all []string
	values, _ := value.([]any)
	for _, v := range values {
		s, _ := v.(string)
		all = append(all, s)
	}
	return all
}

func TestWhatTheFunctionsMayDoOnGoogleCloud(t *testing.T) {
	t.Parallel()
	var grants []grant
	own := map[string][]string{}
	for _, r := range applied(t, "gcp", "tests/rotation.tftest.hcl")["a_document_with_every_issuer"] {
		on := map[string]string{
			"google_project_iam_member": "projects/" + r.text("project"),
			// Each of these is in a project, which what is granted there is granted on too.
			"google_secret_manager_secret_iam_member":        "projects/" + r.text("project") + "/secrets/" + r.text("secret_id"),
			"google_service_account_iam_member":              r.text("service_account_id"),
			"google_pubsub_topic_iam_member":                 "projects/" + r.text("project") + "/topics/" + r.text("topic"),
			"google_pubsub_subscription_iam_member":          "projects/" + r.text("project") + "/subscriptions/" + r.text("subscription"),
			"google_kms_crypto_key_iam_member":               r.text("crypto_key_id"),
			"google_storage_bucket_iam_member":               "buckets/" + r.text("bucket"),
			"google_cloud_run_v2_service_iam_member":         "projects/" + r.text("project") + "/services/" + r.text("name"),
			"google_artifact_registry_repository_iam_member": "projects/" + r.text("project") + "/repositories/" + r.text("repository"),
		}[r.Type]
		switch {
		case r.Type == "google_project_iam_custom_role":
			own[r.text("name")] = list(r.Values["permissions"])
		case on != "":
			grants = append(grants, grant{who: r.text("member"), role: r.text("role"), on: on})
		case strings.Contains(r.Type, "_iam_") && r.Type != "google_project_iam_audit_config":
			t.Errorf("nobody has looked at %s", r.Address)
		}
	}
	const gateway, rotate, cron = "postern-gw@my-project.iam.gserviceaccount.com", "postern-rot@my-project.iam.gserviceaccount.com", "postern-cron@my-project.iam.gserviceaccount.com"
	ask(t, grants, own, []question{
		{who: gateway, may: true, action: "secretmanager.versions.access", on: "projects/my-project/secrets/openai"},
		{who: gateway, action: "secretmanager.versions.access", on: "projects/my-project/secrets/openai-admin"},
		{who: gateway, action: "secretmanager.versions.add", on: "projects/my-project/secrets/openai"},
		{who: gateway, action: "secretmanager.secrets.update", on: "projects/my-project/secrets/openai"},
		{who: gateway, action: "secretmanager.versions.destroy", on: "projects/my-project/secrets/openai"},
		{who: gateway, action: "iam.serviceAccountKeys.create", on: "projects/fourth-project/serviceAccounts/keys@fourth-project.iam.gserviceaccount.com"},
		{who: gateway, action: "storage.objects.get", on: "buckets/my-project-postern-ledger"},
		{who: gateway, action: "run.routes.invoke", on: "projects/my-project/services/postern-rotate"},
		{who: gateway, action: "cloudkms.cryptoKeyVersions.useToSign", on: "projects/keys-project/locations/europe/keyRings/audit/cryptoKeys/events"},
		{who: gateway, may: true, action: "pubsub.topics.publish", on: "projects/my-project/topics/postern"},

		{who: rotate, may: true, action: "secretmanager.versions.add", on: "projects/my-project/secrets/openai"},
		{who: rotate, may: true, action: "secretmanager.secrets.update", on: "projects/keys-project/secrets/anthropic"},
		{who: rotate, may: true, action: "secretmanager.versions.access", on: "projects/my-project/secrets/openai-admin"},
		{who: rotate, action: "secretmanager.versions.add", on: "projects/my-project/secrets/openai-admin"},
		{who: rotate, action: "secretmanager.versions.add", on: "projects/my-project/secrets/another"},
		{who: rotate, action: "secretmanager.secrets.delete", on: "projects/my-project/secrets/openai"},
		{who: rotate, action: "secretmanager.secrets.setIamPolicy", on: "projects/my-project/secrets/openai"},
		{who: rotate, may: true, action: "iam.serviceAccountKeys.create", on: "projects/fourth-project/serviceAccounts/keys@fourth-project.iam.gserviceaccount.com"},
		{who: rotate, action: "iam.serviceAccountKeys.create", on: "projects/fourth-project/serviceAccounts/keys-2@fourth-project.iam.gserviceaccount.com"},
		{who: rotate, may: true, action: "iam.serviceAccounts.getAccessToken", on: "projects/-/serviceAccounts/rotator@fourth-project.iam.gserviceaccount.com"},
		{who: rotate, action: "iam.serviceAccounts.getAccessToken", on: "projects/-/serviceAccounts/models@third-project.iam.gserviceaccount.com"},
		{who: rotate, may: true, action: "apikeys.keys.create", on: "projects/gemini-project"},
		{who: rotate, action: "apikeys.keys.create", on: "projects/my-project"},
		{who: rotate, action: "aiplatform.endpoints.predict", on: "projects/my-project"},
		{who: rotate, may: true, action: "storage.objects.create", on: "buckets/my-project-postern-ledger"},
		{who: rotate, action: "storage.objects.create", on: "buckets/my-project-postern-gateway-source"},

		{who: cron, may: true, action: "run.routes.invoke", on: "projects/my-project/services/postern-rotate"},
		{who: cron, action: "secretmanager.versions.access", on: "projects/my-project/secrets/openai"},
		{who: "@gcp-sa-pubsub.iam.gserviceaccount.com", may: true, action: "iam.serviceAccounts.getOpenIdToken", on: "projects/my-project/serviceAccounts/" + cron},
		{who: "@gcp-sa-pubsub.iam.gserviceaccount.com", action: "iam.serviceAccounts.getAccessToken", on: "projects/my-project/serviceAccounts/" + cron},
		{who: "allUsers", may: true, action: "run.routes.invoke", on: "projects/my-project/services/postern-gateway"},
		{who: "allUsers", action: "run.routes.invoke", on: "projects/my-project/services/postern-rotate"},
	})
}

func TestWhatTheFunctionsMayDoOnAzure(t *testing.T) {
	t.Parallel()
	var grants []grant
	own := map[string][]string{}
	made := applied(t, "azure", "tests/rotation.tftest.hcl")["a_document_with_every_issuer"]
	for _, r := range made {
		all, _ := r.Values["permissions"].([]any)
		for _, p := range all {
			p, _ := p.(map[string]any)
			own[r.text("role_definition_resource_id")] = slices.Concat(list(p["actions"]), list(p["data_actions"]))
		}
	}
	for _, r := range made {
		role := r.text("role_definition_name")
		if id := r.text("role_definition_id"); own[id] != nil {
			role = id
		}
		if r.Type == "azurerm_role_assignment" {
			grants = append(grants, grant{who: r.text("principal_id"), role: role, on: r.text("scope")})
		}
	}
	const (
		gateway, rotate = "000000000003", "000000000005"
		secrets         = "/subscriptions/s/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults/my-vault/secrets/"
		account         = "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/"
		storage         = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/posternr/blobServices/default/containers/"
		read, set       = "Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/setSecret/action"
		chat            = "Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action"
		regenerate      = "Microsoft.CognitiveServices/accounts/regenerateKey/action"
	)
	ask(t, grants, own, []question{
		{who: gateway, may: true, action: chat, on: "/accounts/two"},
		{who: gateway, action: chat, on: "/accounts/one"}, // which it calls with a key
		{who: gateway, may: true, action: read, on: secrets + "openai"},
		{who: gateway, action: read, on: secrets + "openai-admin"},
		{who: gateway, action: read, on: secrets + "openai--pending"},
		{who: gateway, action: set, on: secrets + "openai"},
		{who: gateway, action: regenerate, on: account + "my-resource"},
		{who: gateway, action: "blobs/write", on: storage + "ledger"},

		{who: rotate, may: true, action: set, on: secrets + "openai"},
		{who: rotate, may: true, action: set, on: secrets + "openai--pending"},
		{who: rotate, may: true, action: read, on: secrets + "openai-admin"},
		{who: rotate, action: set, on: secrets + "openai-admin"},
		{who: rotate, action: set, on: secrets + "another"},
		{who: rotate, action: "Microsoft.KeyVault/vaults/secrets/delete", on: secrets + "openai"},
		{who: rotate, action: "Microsoft.KeyVault/vaults/secrets/purge/action", on: secrets + "openai"},
		{who: rotate, may: true, action: regenerate, on: account + "my-resource"},
		{who: rotate, action: regenerate, on: account + "another"},
		{who: rotate, action: "Microsoft.CognitiveServices/accounts/write", on: account + "my-resource"},
		{who: rotate, action: chat, on: "/accounts/two"},
		{who: rotate, may: true, action: "blobs/write", on: storage + "ledger"},
		{who: rotate, action: "blobs/write", on: storage + "package"},
	})
}
