package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
)

// authorizer wires a document of one upstream.
func (w *world) authorizer(t *testing.T, cloud config.Cloud, document string, operator map[string]string) identity.Authorizer {
	t.Helper()
	wiring, d, err := w.wiring(t, cloud, document, operator)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := wiring.authorizer(&d.Upstreams[0])
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// sign has a request authorized and describes its credential.
func (w *world) sign(t *testing.T, auth identity.Authorizer) (*http.Request, map[string]string) {
	t.Helper()
	r := request(t.Context(), t)
	if err := auth.Authorize(r); err != nil {
		t.Fatal(err)
	}
	return r, w.credential(t, signed{r, bodyOf(t, r)})
}

// TestTheExamplesOfTheOtherProduct signs requests with its three documents, word
// for word but for the endpoints that they leave out.
func TestTheExamplesOfTheOtherProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct {
		name, document, secret, text string
		want                         map[string]string
	}{
		{
			"azure openai with azure ad", `provider: azure-openai
auth_type: azure_ad
credential_ref: azure-openai-sp
scopes:
  - https://cognitiveservices.azure.com/.default
mfa_required: false
refresh_policy: pre-expiry
azure_instance: my-resource
`, "azure-openai-sp", `{"tenant_id": "{tenant}", "client_id": "{app}", "client_secret": "` + appSecret + `"}`,
			only("Authorization", "Bearer of Entra for inference"),
		},
		{
			"bedrock with role chaining", `provider: bedrock
auth_type: aws_sigv4
credential_ref: bedrock-irsa-role
mfa_required: true
audit_on_rotate: true
`, "bedrock-irsa-role", "{hub}",
			only("Authorization", "SigV4 for bedrock in eu-west-1 by arn:aws:sts::123456789012:assumed-role/hub/postern"),
		},
		{
			"self-hosted with oidc", `provider: custom-openai
auth_type: oidc
credential_ref: internal-llm-oidc
issuer: {oauth}
scopes:
  - llm:read
  - llm:invoke
refresh_policy: pre-expiry
base_url: https://llm.internal.example.com/v1
`, "internal-llm-oidc", `{"client_id": "basic", "client_secret": "` + clientPass + `"}`,
			only("Authorization", `Bearer of the OAuth server for client "basic", subject "basic", scopes [llm:read llm:invoke], audience ""`),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w.secrets.Seed(secretsmanager.Secret{Name: test.secret, Text: w.fill(config.AWS, test.text)})
			_, got := w.sign(t, w.authorizer(t, config.AWS, test.document, map[string]string{"POSTERN_IAM_MFA": "true"}))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestAKeyThatIsRejectedIsReadAgain rotates a key in its store.
func TestAKeyThatIsRejectedIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secrets.Seed(secretsmanager.Secret{Name: "openai", Text: "key-1"})
	auth := w.authorizer(t, config.AWS, "provider: openai\nauth_type: api_key\ncredential_ref: openai\n", nil)
	step := func(name, want string) *http.Request {
		t.Helper()
		r, got := w.sign(t, auth)
		if got["Authorization"] != "Bearer "+want {
			t.Errorf("%s: got %q, want %q", name, got["Authorization"], want)
		}
		return r
	}
	first := step("at first", "key-1")
	w.secrets.Seed(secretsmanager.Secret{Name: "openai", Text: "key-2"})
	step("while the upstream accepts it", "key-1")
	auth.Rejected(first)
	step("once it was rejected", "key-2")
	auth.Rejected(first)
	step("when the old one is rejected again", "key-2")
}

// TestThePreviousKeyStandsInForOneThatIsNotKnownYet: at the beginning of a
// rotation's grace both are in use, and which of them an upstream knows is not
// certain.
func TestThePreviousKeyStandsInForOneThatIsNotKnownYet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secrets.Seed(secretsmanager.Secret{Name: "anthropic", Text: "key-1"})
	w.secrets.Seed(secretsmanager.Secret{Name: "anthropic", Text: "key-2"})
	auth := w.authorizer(t, config.AWS, "provider: anthropic\nauth_type: api_key\ncredential_ref: anthropic\n", nil)
	newer, got := w.sign(t, auth)
	if got["X-Api-Key"] != "key-2" {
		t.Errorf("at first: got %v", got)
	}
	auth.Rejected(newer)
	if _, got := w.sign(t, auth); got["X-Api-Key"] != "key-1" {
		t.Errorf("once it was rejected: got %v", got)
	}
}

// TestAStoreThatIsDownDoesNotStopAnyone keeps the key in use and says so.
func TestAStoreThatIsDownDoesNotStopAnyone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log lockedBuffer
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	w.secrets.Seed(secretsmanager.Secret{Name: "openai", Text: "key-1"})
	auth := w.authorizer(t, config.AWS, "provider: openai\nauth_type: api_key\ncredential_ref: openai\n", nil)
	first, _ := w.sign(t, auth)
	w.secrets.Faults.Before("GetSecretValue").Set(fault.Fault{Status: 503, Body: "{}"})
	auth.Rejected(first)
	if _, got := w.sign(t, auth); got["Authorization"] != "Bearer key-1" {
		t.Errorf("got %v", got)
	}
	if text := log.String(); !strings.Contains(text, "secret store cannot be asked") || strings.Contains(text, "key-1") {
		t.Errorf("the log says %q", text)
	}
}

// TestAClientsSecretThatIsNotAcceptedIsReadAgain rotates the secret of an OAuth
// client at its server and in its store.
func TestAClientsSecretThatIsNotAcceptedIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secrets.Seed(secretsmanager.Secret{Name: "client", Text: clientPass})
	auth := w.authorizer(t, config.AWS, "provider: openai\nauth_type: oauth2\ntoken_endpoint: '{oauth}/token'\nclient_id: basic\ncredential_ref: client\n", nil)
	first, _ := w.sign(t, auth)
	w.oauth.SetSecret("basic", "the next one")
	w.secrets.Seed(secretsmanager.Secret{Name: "client", Text: "the next one"})
	auth.Rejected(first)
	second, got := w.sign(t, auth)
	if first.Header.Get("Authorization") == second.Header.Get("Authorization") || !strings.Contains(got["Authorization"], `client "basic"`) {
		t.Errorf("got %v", got)
	}
}

// TestAClientsKeyThatIsNotAcceptedIsReadAgain rotates what an OAuth client signs
// with, or shows, in its store, while a function still has the one before. The
// server has never known that one.
func TestAClientsKeyThatIsNotAcceptedIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, both := w.pems(t)
	otherKey, otherBoth := newWorld(t).pems(t)
	for _, test := range []struct{ name, fields, before, after string }{
		{"a private key", "client_id: signed\nclient_auth: private_key_jwt\nclient_key_id: key-1\ncredential_ref: shown\n", otherKey, key},
		{"a certificate", "client_id: shown\nclient_auth: tls_client_auth\nclient_certificate_ref: shown\n", otherBoth, both},
	} {
		wiring, d, err := w.wiring(t, config.AWS, "provider: openai\nauth_type: oidc\nissuer: '{oauth}'\n"+test.fields, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.secrets.Seed(secretsmanager.Secret{Name: "shown", Text: test.before})
		held, err := wiring.secret("shown")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.read(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.secrets.Seed(secretsmanager.Secret{Name: "shown", Text: test.after})
		auth, err := wiring.authorizer(&d.Upstreams[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := auth.Authorize(request(t.Context(), t)); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestColdRequestsFetchOnce has many requests of several upstreams that stand
// for the same identity come at once.
func TestColdRequestsFetchOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	upstream := func(name string) string {
		return "- {name: " + name + ", provider: bedrock, auth_type: aws_sigv4, aws_region: eu-west-1, aws_roles: [{role_arn: '{hub}', session_name: gateway}]}\n"
	}
	wiring, d, err := w.wiring(t, config.GCP, "platform_callers: true\nupstreams:\n"+upstream("a")+upstream("b"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range d.Upstreams {
		auth, err := wiring.authorizer(&d.Upstreams[i])
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			r := request(t.Context(), t)
			group.Go(func() {
				if err := auth.Authorize(r); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	if got := w.sts.Calls("AssumeRoleWithWebIdentity"); got != 1 {
		t.Errorf("%d sessions were asked for, want 1", got)
	}
}

// TestNothingIsFetchedAtStart wires every cell with nobody there to ask.
func TestNothingIsFetchedAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := func() int {
		return w.metadata.Tokens.Calls() + w.metadata.Identities.Calls() + w.sts.Calls("AssumeRole") + w.oauth.Tokens.Calls()
	}
	wiring, d, err := w.wiring(t, config.GCP, "platform_callers: true\nupstreams:\n"+
		"- {provider: bedrock, aws_region: eu-west-1, aws_roles: ['{hub}']}\n- {provider: vertex}\n- {provider: azure-openai, azure_instance: res, azure_tenant_id: '{tenant}', azure_client_id: '{app}'}\n"+
		"- {provider: openai, identity_provider_id: i, service_account_id: s}\n- {provider: custom-openai, base_url: https://l.example.com, auth_type: oidc, issuer: '{oauth}', credential_ref: env://C}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Upstreams {
		if _, err := wiring.model(&d.Upstreams[i]); err != nil {
			t.Error(err)
		}
	}
	if got := asked(); got != 0 {
		t.Errorf("%d requests were made", got)
	}
}

func TestAStoreOfAnotherCloudIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wiring, d, err := w.wiring(t, config.AWS, "provider: openai\nauth_type: api_key\ncredential_ref: gcp-sm://openai\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wiring.model(&d.Upstreams[0]); err == nil || !strings.Contains(err.Error(), `a function on aws has no store for the credential reference "gcp-sm://openai"`) {
		t.Errorf("got %v", err)
	}
}

// TestWhatIsStoredWronglyIsExplained has secrets that are not what the auth type
// needs. No error repeats them.
func TestWhatIsStoredWronglyIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const canary = "canary-7f3a"
	tests := []struct{ name, document, stored, want string }{
		{"a role without its name", "provider: bedrock\nauth_type: aws_sigv4\ncredential_ref: env://STORED\n", `{"role_arn": "` + canary + `"}`, "a role's ARN, or JSON with role_arn"},
		{"half a pair of keys", "provider: bedrock\nauth_type: aws_sigv4\ncredential_ref: env://STORED\n", `{"aws_secret_access_key": "` + canary + `"}`, "aws_access_key_id and aws_secret_access_key"},
		{"a text that is no role", "provider: bedrock\nauth_type: aws_sigv4\ncredential_ref: env://STORED\n", canary, "a role's ARN"},
		{"a service principal without its tenant", "provider: azure-openai\nazure_instance: res\nauth_type: azure_ad\ncredential_ref: env://STORED\n", `{"client_id": "x", "client_secret": "` + canary + `"}`, "JSON with tenant_id, client_id"},
		{"a client's secret without its id", "provider: openai\nauth_type: oauth2\ntoken_endpoint: '{oauth}/token'\ncredential_ref: env://STORED\n", canary, "JSON with client_id and client_secret"},
		{"another client's secret", "provider: openai\nauth_type: oauth2\ntoken_endpoint: '{oauth}/token'\nclient_id: a\ncredential_ref: env://STORED\n", `{"client_id": "b", "client_secret": "` + canary + `"}`, "the client's secret, or JSON"},
		{"nothing", "provider: openai\nauth_type: api_key\ncredential_ref: env://STORED\n", "", "the environment variable is not set"},
		{"a key with a line break", "provider: openai\nauth_type: api_key\ncredential_ref: env://STORED\n", canary + "\nx", "store the key alone"},
		{"a key for the query with a line break", "provider: custom-openai\nbase_url: https://l.example.com/v1\nquery_name: key\nauth_type: api_key\ncredential_ref: env://STORED\n", canary + "\n", "store the key alone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			auth := w.authorizer(t, config.AWS, test.document, map[string]string{"STORED": test.stored})
			err := auth.Authorize(request(t.Context(), t))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestAReplacedTokenIsReported by fingerprints, and only when it is asked for.
func TestAReplacedTokenIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log lockedBuffer
	w.audit = audit.NewLines(&log)
	auth := w.authorizer(t, config.GCP, "provider: vertex\naudit_on_rotate: true\n", nil)
	first, _ := w.sign(t, auth)
	token := strings.TrimPrefix(first.Header.Get("Authorization"), "Bearer ")
	if log.String() != "" {
		t.Errorf("the first token is reported: %s", log.String())
	}
	w.metadata.Revoke(token)
	auth.Rejected(first)
	w.sign(t, auth)
	text := log.String()
	var event audit.Event
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		t.Fatalf("not one event: %v in %q", err, text)
	}
	if event.Type != audit.TokenRotatedType || event.Subject != "vertex" || !strings.Contains(text, `"reason":"rejected"`) || strings.Contains(text, token) {
		t.Errorf("the event is %s", text)
	}
}

// TestWhatABusNeedsIsNoStepOnTheWayToACredential: a report of those steps is of
// the credential alone, not of the one that the bus is published on with.
func TestWhatABusNeedsIsNoStepOnTheWayToACredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	published := &watchful{}
	w.audit = published
	auth := w.authorizer(t, config.GCP, "provider: vertex\naudit_on_rotate: true\n", nil)
	first, _ := w.sign(t, auth)
	auth.Rejected(first)
	w.metadata.Revoke(strings.TrimPrefix(first.Header.Get("Authorization"), "Bearer "))
	ctx, trail := identity.WithTrail(t.Context())
	if err := auth.Authorize(request(ctx, t)); err != nil {
		t.Fatal(err)
	}
	if published.events != 1 || published.trailed || len(trail.Attempts()) == 0 {
		t.Errorf("%d events, published with a trail: %t, and %d attempts", published.events, published.trailed, len(trail.Attempts()))
	}
}

// watchful is a bus that looks at how it is published on.
type watchful struct {
	events  int
	trailed bool
}

func (w *watchful) Publish(ctx context.Context, events ...audit.Event) error {
	w.events, w.trailed = w.events+len(events), w.trailed || identity.Trailed(ctx)
	return nil
}

// lockedBuffer is a buffer for a log that is written to by several goroutines.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// TestInstancesShareTokensThroughRedis has two instances of a function need the
// same token, and then the server go away. The platform's own tokens are not
// shared.
func TestInstancesShareTokensThroughRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := miniredis.RunT(t)
	var log lockedBuffer
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	document := "platform_callers: true\ncache: {redis: {url: 'redis://" + server.Addr() + "', key_ref: env://KEY}}\nupstreams:\n" +
		"- {provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oidc, issuer: '{oauth}', client_id: basic, credential_ref: env://C}\n- {provider: vertex}\n"
	operator := map[string]string{"KEY": strings.Repeat("0f", 32), "C": clientPass}
	instance := func() []identity.Authorizer {
		wiring, d, err := w.wiring(t, config.GCP, document, operator)
		if err != nil {
			t.Fatal(err)
		}
		var auths []identity.Authorizer
		for i := range d.Upstreams {
			auth, err := wiring.authorizer(&d.Upstreams[i])
			if err != nil {
				t.Fatal(err)
			}
			auths = append(auths, auth)
		}
		return auths
	}
	var tokens []string
	for range 2 {
		for _, auth := range instance() {
			r, _ := w.sign(t, auth)
			tokens = append(tokens, r.Header.Get("Authorization"))
		}
	}
	if tokens[0] != tokens[2] || w.oauth.Tokens.Calls() != 1 {
		t.Errorf("two instances asked for %d tokens", w.oauth.Tokens.Calls())
	}
	if keys := len(server.Keys()); keys != 1 {
		t.Errorf("%d tokens are shared, want the issuer's alone", keys)
	}
	server.Close()
	if _, got := w.sign(t, instance()[0]); !strings.Contains(got["Authorization"], `client "basic"`) {
		t.Errorf("without the server: got %v", got)
	}
	if text := log.String(); !strings.Contains(text, "shared token cache cannot be used") || strings.Contains(text, clientPass) {
		t.Errorf("the log says %q", text)
	}
}

// TestTheVariablesOfOtherGateways has credentials where users of other gateways
// put them: in the function's environment.
func TestTheVariablesOfOtherGateways(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const azure = "provider: azure-openai\nauth_type: azure_ad\nazure_instance: res\n"
	tests := []struct {
		name, document string
		cloud          config.Cloud
		operator       map[string]string
		want           map[string]string
	}{
		{
			"a service account's key, also on Google Cloud", "provider: vertex\n", config.GCP,
			map[string]string{"GCP_SERVICE_ACCOUNT": w.accountFile}, only("Authorization", "Bearer of Google for serviceAccount:"+vertexActor),
		},
		{
			"a service account's key elsewhere", "provider: vertex\nproject_id: local-project\n", config.AWS,
			map[string]string{"GCP_SERVICE_ACCOUNT": w.accountFile}, only("Authorization", "Bearer of Google for serviceAccount:"+vertexActor),
		},
		{
			"the secret of an app registration", azure + "azure_tenant_id: '{tenant}'\nazure_client_id: '{app}'\n", config.AWS,
			map[string]string{"AZURE_CLIENT_SECRET": appSecret}, only("Authorization", "Bearer of Entra for inference"),
		},
		{
			"all of an app registration", azure, config.GCP,
			map[string]string{"AZURE_CLIENT_SECRET": appSecret, "AZURE_CLIENT_ID": appID, "AZURE_TENANT_ID": tenant}, only("Authorization", "Bearer of Entra for inference"),
		},
		{
			"an app registration that trusts the platform", azure, config.GCP,
			map[string]string{"AZURE_CLIENT_ID": appID, "AZURE_TENANT_ID": tenant}, only("Authorization", "Bearer of Entra for inference"),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, got := w.sign(t, w.authorizer(t, test.cloud, test.document, test.operator))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTokensOfOtherScopesAreOtherTokens has two upstreams with one client. What
// the one may do the other may not.
func TestTokensOfOtherScopesAreOtherTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	upstream := func(name, scope string) string {
		return "- {name: " + name + ", provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oauth2, token_endpoint: '{oauth}/token', client_id: platform-aws, " +
			"client_auth: platform_jwt, token_audience: '{audience}', scopes: ['" + scope + "']}\n"
	}
	wiring, d, err := w.wiring(t, config.AWS, "platform_callers: true\nupstreams:\n"+upstream("a", "llm:read")+upstream("b", "llm:invoke")+upstream("c", "llm:read"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range d.Upstreams {
		auth, err := wiring.authorizer(&d.Upstreams[i])
		if err != nil {
			t.Fatal(err)
		}
		r, _ := w.sign(t, auth)
		got = append(got, r.Header.Get("Authorization"))
	}
	if got[0] == got[1] || got[0] != got[2] || w.oauth.Tokens.Calls() != 2 {
		t.Errorf("three upstreams with two sets of scopes asked for %d tokens", w.oauth.Tokens.Calls())
	}
}

// TestWhatAClientShowsIsItsOwn has two upstreams with one client at one server,
// which differ in what they show it. What is refused of the one is not refused
// of the other, and what one may have the other does not get by it.
func TestWhatAClientShowsIsItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, both := w.pems(t)
	upstream := func(name, fields string) string {
		return "- {name: " + name + ", provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oidc, issuer: '{oauth}', " + fields + "}\n"
	}
	tests := []struct{ name, refused, accepted string }{
		{
			"a private key", "client_id: signed, client_auth: private_key_jwt, client_key_id: key-1, credential_ref: env://OTHER",
			"client_id: signed, client_auth: private_key_jwt, client_key_id: key-1, credential_ref: env://STORED",
		},
		{
			"a certificate", "client_id: shown, client_auth: tls_client_auth, client_certificate_ref: env://OTHER",
			"client_id: shown, client_auth: tls_client_auth, client_certificate_ref: env://BOTH",
		},
		{
			"the platform's token in place of a secret", "client_id: platform-aws, client_auth: platform_jwt, token_audience: https://other.example.com",
			"client_id: platform-aws, client_auth: platform_jwt, token_audience: '{audience}'",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, order := range [][]string{{test.refused, test.accepted}, {test.accepted, test.refused}} {
				wiring, d, err := w.wiring(t, config.AWS, "platform_callers: true\nupstreams:\n"+upstream("a", order[0])+upstream("b", order[1]),
					map[string]string{"STORED": key, "BOTH": both, "OTHER": "nothing of the kind"})
				if err != nil {
					t.Fatal(err)
				}
				for i := range d.Upstreams {
					auth, err := wiring.authorizer(&d.Upstreams[i])
					if err != nil {
						t.Fatal(err)
					}
					if err := auth.Authorize(request(t.Context(), t)); (err != nil) != (order[i] == test.refused) {
						t.Errorf("upstream %d of %q: %v", i, order, err)
					}
				}
			}
		})
	}
}
