package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
)

const tenant = "11111111-2222-4333-8444-555555555555"

const guarded = `
callers:
  - {issuer: https://idp.example.com, audience: postern}
  - {issuer: "https://login.microsoftonline.com/` + tenant + `/v2.0", audience: postern}
platform_callers: true
mfa: {acr_values: [phr, mfa], amr: [mfa], entra_auth_context: c1, max_age: 5m}
upstreams:
  - {name: main, provider: bedrock, aws_region: eu-west-1, models: [small, {name: large, model: vendor.large-v1}]}
  - {name: premium, provider: bedrock, aws_region: eu-west-1, mfa_required: true, models: [opus]}
  - {name: own, provider: custom-openai, base_url: https://llm.example.com/v1, auth_type: api_key, credential_ref: env://K, models: [llama]}
policy:
  - {name: batch, match: {clients: [batch]}, models: [opus], mfa: users}
  - {name: staff, match: {groups: [staff]}, models: [small, opus]}
  - {name: staff-large, match: {groups: [staff], scopes: [llm.large]}, models: [large], upstream_models: ["vendor.*"], mfa: always, log_payloads: true}
  - {name: bounded, match: {roles: [bounded]}, models: [small, llama], tools: [search, "db_*"], max_tokens: 100, log_payloads: false}
  - {name: no-tools, match: {roles: [talker]}, models: [small], tools: false}
  - {name: lister, match: {roles: [lister]}, models: [opus], routes: [models]}
  - {name: aws, match: {methods: [aws_iam]}, models: [opus]}
`

// people are the callers of the guarded gateway, by their token.
func people() map[string]*caller.Principal {
	of := func(p caller.Principal) *caller.Principal {
		if p.Method == "" {
			p.Method, p.Issuer = caller.OIDC, "https://idp.example.com"
		}
		p.Subject = "x"
		return &p
	}
	entra := func(contexts ...string) *caller.Principal {
		return of(caller.Principal{Method: caller.OIDC, Issuer: "https://login.microsoftonline.com/" + tenant + "/v2.0", Tenant: tenant, Groups: []string{"staff"}, Contexts: contexts, AuthTime: time.Now()})
	}
	staff := []string{"staff"}
	return map[string]*caller.Principal{
		"nobody":        of(caller.Principal{}),
		"staff":         of(caller.Principal{Groups: staff, Scopes: []string{"llm.large"}}),
		"staff-mfa":     of(caller.Principal{Groups: staff, Scopes: []string{"llm.large"}, ACR: "mfa", AuthTime: time.Now()}),
		"staff-amr":     of(caller.Principal{Groups: staff, AMR: []string{"mfa"}, AuthTime: time.Now()}),
		"staff-two":     of(caller.Principal{Groups: staff, AMR: []string{"pwd", "hwk"}, AuthTime: time.Now()}),
		"staff-one":     of(caller.Principal{Groups: staff, AMR: []string{"sms", "otp"}, AuthTime: time.Now()}),
		"staff-old":     of(caller.Principal{Groups: staff, ACR: "phr", AuthTime: time.Now().Add(-6 * time.Minute)}),
		"staff-undated": of(caller.Principal{Groups: staff, ACR: "phr"}),
		"staff-other":   of(caller.Principal{Groups: staff, ACR: "PHR", AuthTime: time.Now()}),
		"entra":         entra("c2"),
		"entra-c1":      entra("c2", "c1"),
		"other-c1":      of(caller.Principal{Groups: staff, Tenant: tenant, Contexts: []string{"c1"}, AuthTime: time.Now()}),
		"batch":         of(caller.Principal{Client: "batch", Kind: caller.Workload}),
		"batch-person":  of(caller.Principal{Client: "batch", Kind: caller.User}),
		"batch-unknown": of(caller.Principal{Client: "batch"}),
		"bounded":       of(caller.Principal{Roles: []string{"bounded"}}),
		"talker":        of(caller.Principal{Roles: []string{"talker"}}),
		"lister":        of(caller.Principal{Roles: []string{"lister"}}),
		"aws":           of(caller.Principal{Method: caller.AWSIAM, Issuer: caller.AWSIssuer}),
	}
}

type roster map[string]*caller.Principal

func (r roster) Authenticate(req *http.Request) (*caller.Principal, error) {
	p, ok := r[strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")]
	if !ok {
		return nil, &caller.Error{Code: caller.Missing, Public: "no credential was given"}
	}
	return p, nil
}

// guardedGateway returns a gateway whose model keeps what it is asked.
func guardedGateway(t *testing.T, log io.Writer, change func(*config.Document)) (*Gateway, *[]*chat.Request) {
	t.Helper()
	d, err := config.Load([]byte(guarded))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(d)
	}
	var asked []*chat.Request
	model := script{chat: func(_ context.Context, r *chat.Request) (*chat.Response, error) {
		asked = append(asked, r)
		return answer("ok"), nil
	}}
	g, err := New(Options{
		Document: d, Models: map[string]provider.Model{"main": model, "premium": model, "own": model},
		Callers: roster(people()), Policy: policy.Compile(d), Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, &asked
}

func ask(model, more string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"hello"}]` + more + `}`
}

const resourceHint = `, resource_metadata="https://llm.example.com/.well-known/oauth-protected-resource"`

// TestWhoIsRefusedWhatAndHow pins the status, the code and the challenge of every refusal.
func TestWhoIsRefusedWhatAndHow(t *testing.T) {
	t.Parallel()
	const (
		asks  = `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="phr mfa", max_age="300"` + resourceHint
		stale = `Bearer error="insufficient_user_authentication", error_description="More recent authentication is required", acr_values="phr mfa", max_age="300"` + resourceHint
		entra = `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`
		stepC = "insufficient_user_authentication"
	)
	search := `,"tools":[{"type":"function","function":{"name":"search"}}]`
	for _, c := range []struct {
		name, who, body string
		status          int
		code, param     string
		challenge       string
	}{
		{"nobody at all", "", ask("small", ""), 401, "invalid_api_key", "", `Bearer realm="postern"` + resourceHint},
		{"a caller whom no rule names", "nobody", ask("small", ""), 403, "model_not_allowed", "model", ""},
		{"a caller may use what its rule names", "staff", ask("small", ""), 200, "", "", ""},
		{"and nothing else", "staff", ask("llama", ""), 403, "model_not_allowed", "model", ""},
		{"an upstream that requires a second factor", "staff", ask("opus", ""), 401, stepC, "", asks},
		{"a rule that requires one", "staff", ask("large", ""), 401, stepC, "", asks},
		{"a level of authentication is enough", "staff-mfa", ask("opus", ""), 200, "", "", ""},
		{"for the rule too", "staff-mfa", ask("large", ""), 200, "", "", ""},
		{"a method is enough", "staff-amr", ask("opus", ""), 200, "", "", ""},
		{"methods of two kinds are enough", "staff-two", ask("opus", ""), 200, "", "", ""},
		{"two methods of one kind are not", "staff-one", ask("opus", ""), 401, stepC, "", asks},
		{"a level in other letters is another", "staff-other", ask("opus", ""), 401, stepC, "", asks},
		{"an authentication that is too old", "staff-old", ask("opus", ""), 401, stepC, "", stale},
		{"one that does not say how old it is", "staff-undated", ask("opus", ""), 401, stepC, "", stale},
		{"a caller of Entra in another context", "entra", ask("opus", ""), 401, "insufficient_claims", "", entra},
		{"a caller of Entra in the context", "entra-c1", ask("opus", ""), 200, "", "", ""},
		{"the context at another issuer", "other-c1", ask("opus", ""), 401, stepC, "", asks},
		{"a program that the rule excepts", "batch", ask("opus", ""), 200, "", "", ""},
		{"a person with the program's client", "batch-person", ask("opus", ""), 401, stepC, "", asks},
		{"a caller that may be either", "batch-unknown", ask("opus", ""), 401, stepC, "", asks},
		{"an identity of AWS that shows none", "aws", ask("opus", ""), 401, stepC, "", `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required"` + resourceHint},
		{"a part of the API that the rule does not name", "lister", ask("opus", ""), 403, "model_not_allowed", "model", ""},
		{"a tool that the rule names", "bounded", ask("small", search), 200, "", "", ""},
		{"a tool that a pattern names", "bounded", ask("small", `,"tools":[{"type":"custom","custom":{"name":"db_read"}}]`), 200, "", "", ""},
		{"another tool", "bounded", ask("small", `,"tools":[{"type":"function","function":{"name":"search"}},{"type":"function","function":{"name":"shell"}}]`), 403, "tool_not_allowed", "tools[1]", ""},
		{"another custom tool", "bounded", ask("small", `,"tools":[{"type":"custom","custom":{"name":"shell"}}]`), 403, "tool_not_allowed", "tools[0]", ""},
		{"another function of the older kind", "bounded", ask("small", `,"functions":[{"name":"shell"}]`), 403, "tool_not_allowed", "functions[0]", ""},
		{"functions that cannot be read", "bounded", ask("small", `,"functions":{"name":"search"}`), 403, "tool_not_allowed", "functions", ""},
		{"the upstream's own search", "bounded", ask("small", `,"web_search_options":{}`), 403, "tool_not_allowed", "web_search_options", ""},
		{"any tool where none is allowed", "talker", ask("small", search), 403, "tool_not_allowed", "tools[0]", ""},
		{"no tool where none is allowed", "talker", ask("small", ""), 200, "", "", ""},
		{"an answer within the bound", "bounded", ask("small", `,"max_tokens":100`), 200, "", "", ""},
		{"a longer answer", "bounded", ask("small", `,"max_tokens":101`), 403, "max_tokens_not_allowed", "max_tokens", ""},
		{"a longer answer by its other name", "bounded", ask("small", `,"max_completion_tokens":101`), 403, "max_tokens_not_allowed", "max_completion_tokens", ""},
		{"a limit that some servers take for none", "bounded", ask("llama", `,"max_tokens":-1`), 400, "invalid_value", "max_tokens", ""},
		{"more choices than tokens", "bounded", ask("small", `,"n":101`), 403, "max_tokens_not_allowed", "n", ""},
		{"choices that are too long together", "bounded", ask("small", `,"n":2,"max_tokens":51`), 403, "max_tokens_not_allowed", "max_tokens", ""},
		{"a bound under a name that is not known", "bounded", ask("llama", `,"n_predict":100000`), 403, "parameter_not_allowed", "n_predict", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, asked := guardedGateway(t, io.Discard, nil)
			r := post(t.Context(), c.who, c.body)
			r.Host = "llm.example.com"
			rec := httptest.NewRecorder()
			g.ServeHTTP(rec, r)
			if rec.Code != c.status {
				t.Fatalf("status %d, want %d: %s", rec.Code, c.status, rec.Body)
			}
			if reached := len(*asked) > 0; reached != (c.status == 200) {
				t.Errorf("the upstream was asked: %v", reached)
			}
			if got := rec.Header().Get("WWW-Authenticate"); got != c.challenge {
				t.Errorf("challenge\n%s\nwant\n%s", got, c.challenge)
			}
			if c.status == 200 {
				return
			}
			if e := envelopeOf(t, rec.Body.Bytes()); e.Code != c.code || e.Param != c.param {
				t.Errorf("code %q, param %q; want %q and %q", e.Code, e.Param, c.code, c.param)
			}
			if step := strings.HasPrefix(c.code, "insufficient"); step != (rec.Header().Get("Cache-Control") == "no-store") {
				t.Errorf("Cache-Control is %q", rec.Header().Get("Cache-Control"))
			}
		})
	}
}

func TestAWSIdentitiesAreAcceptedWhereIAMAsksForTheSecondFactor(t *testing.T) {
	t.Parallel()
	g, _ := guardedGateway(t, io.Discard, func(d *config.Document) { d.MFA.IAM = true })
	for who, want := range map[string]int{"aws": 200, "staff": 401} {
		rec := httptest.NewRecorder()
		g.ServeHTTP(rec, post(t.Context(), who, ask("opus", "")))
		if rec.Code != want {
			t.Errorf("%s: status %d, want %d", who, rec.Code, want)
		}
	}
}

func TestTheEntraChallengeAsksForTheContext(t *testing.T) {
	t.Parallel()
	text, err := base64.StdEncoding.DecodeString(entraClaims("c7"))
	if err != nil || string(text) != `{"access_token":{"acrs":{"essential":true,"value":"c7"}}}` {
		t.Errorf("%s, %v", text, err)
	}
	for issuer, want := range map[string]string{
		"https://sts.windows.net/t/":               "https://login.microsoftonline.com/common/oauth2/authorize",
		"https://login.microsoftonline.us/t/v2.0":  "https://login.microsoftonline.us/common/oauth2/authorize",
		"https://login.microsoftonline.com/t/v2.0": "https://login.microsoftonline.com/common/oauth2/authorize",
	} {
		if got := authorizeURI(issuer); got != want {
			t.Errorf("%s: %s", issuer, got)
		}
	}
}

func TestBoundsAreSentToTheUpstream(t *testing.T) {
	t.Parallel()
	number := func(n *int64) int64 {
		if n == nil {
			return 0
		}
		return *n
	}
	for _, c := range []struct {
		name, body              string
		maxTokens, maxCompleted int64
	}{
		{"a request without a bound gets the rule's", ask("small", ""), 0, 100},
		{"choices share it", ask("small", `,"n":3`), 0, 33},
		{"a lower one stays", ask("small", `,"max_tokens":7`), 7, 0},
		{"a server that is only like OpenAI's gets the older name", ask("llama", `,"max_completion_tokens":9`), 9, 0},
		{"also for the rule's", ask("llama", ""), 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, asked := guardedGateway(t, io.Discard, nil)
			rec := httptest.NewRecorder()
			g.ServeHTTP(rec, post(t.Context(), "bounded", c.body))
			if rec.Code != 200 || len(*asked) != 1 {
				t.Fatalf("status %d: %s", rec.Code, rec.Body)
			}
			if r := (*asked)[0]; number(r.MaxTokens) != c.maxTokens || number(r.MaxCompletionTokens) != c.maxCompleted {
				t.Errorf("the upstream got max_tokens %d and max_completion_tokens %d", number(r.MaxTokens), number(r.MaxCompletionTokens))
			}
		})
	}
}

func TestRulesSayWhetherBodiesAreLogged(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		var log bytes.Buffer
		g, _ := guardedGateway(t, &log, func(d *config.Document) { d.Logging.LogPayloads = on })
		for _, c := range []struct {
			who, model string
			want       bool
		}{{"staff-mfa", "large", true}, {"bounded", "small", false}, {"staff", "small", on}, {"staff", "opus", false}} {
			log.Reset()
			g.ServeHTTP(httptest.NewRecorder(), post(t.Context(), c.who, ask(c.model, "")))
			if got := strings.Contains(log.String(), "hello"); got != c.want {
				t.Errorf("log_payloads %v: the body of %s for %s is logged: %v", on, c.who, c.model, got)
			}
		}
	}
}

func TestModelsThatNeedASecondFactorAreListed(t *testing.T) {
	t.Parallel()
	g, _ := guardedGateway(t, io.Discard, nil)
	for who, want := range map[string][]string{"staff": {"small", "large", "opus"}, "lister": {"opus"}, "nobody": nil} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/models", nil)
		r.Header.Set("Authorization", "Bearer "+who)
		rec := httptest.NewRecorder()
		g.ServeHTTP(rec, r)
		var list struct{ Data []struct{ ID string } }
		if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range list.Data {
			ids = append(ids, m.ID)
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("%s (-want +got):\n%s", who, diff)
		}
	}
}

func TestMetadataSaysWhomToAskForAToken(t *testing.T) {
	t.Parallel()
	const body = `{"resource":"https://llm.example.com","authorization_servers":["https://idp.example.com","https://login.microsoftonline.com/` + tenant +
		`/v2.0"],"scopes_supported":["llm.large"],"bearer_methods_supported":["header"],"resource_name":"Postern"}`
	for _, c := range []struct {
		name, host, address string
		status              int
		body                string
	}{
		{"the host that the request was sent to", "llm.example.com", "", 200, body},
		{"the address of the document", "10.0.0.1:9999", "https://llm.example.com", 200, body},
		{"this machine has no https", "127.0.0.1:9101", "", 200, strings.Replace(body, "https://llm.example.com", "http://127.0.0.1:9101", 1)},
		{"a host that is none", `a"b`, "", 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, _ := guardedGateway(t, io.Discard, func(d *config.Document) { d.PublicURL = c.address })
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/.well-known/oauth-protected-resource", nil)
			r.Host = c.host
			rec := httptest.NewRecorder()
			g.ServeHTTP(rec, r)
			if rec.Code != c.status || c.body != "" && rec.Body.String() != c.body {
				t.Errorf("got %d %s", rec.Code, rec.Body)
			}
		})
	}
	t.Run("where no tokens are accepted there is none", func(t *testing.T) {
		t.Parallel()
		g, _ := guardedGateway(t, io.Discard, func(d *config.Document) { d.Callers = nil })
		rec := httptest.NewRecorder()
		g.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/.well-known/oauth-protected-resource", nil))
		if rec.Code != 404 {
			t.Errorf("got %d %s", rec.Code, rec.Body)
		}
	})
}

func TestMetadataSaysWhatTokensAreBoundTo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		first config.Caller // beside another that demands nothing
		alone bool
		want  string
	}{
		{"nothing", config.Caller{}, true, `"resource_name":"Postern"}`},
		{"a key, if the caller likes", config.Caller{DPoP: config.DPoPOptional}, true, `"resource_name":"Postern","dpop_signing_alg_values_supported":["RS256"`},
		{"a key, always", config.Caller{DPoP: config.DPoPRequired}, true, `"resource_name":"Postern","dpop_bound_access_tokens_required":true,"dpop_signing_alg_values_supported":["RS256"`},
		{"a key, for one issuer's tokens", config.Caller{DPoP: config.DPoPRequired}, false, `"resource_name":"Postern","dpop_signing_alg_values_supported":["RS256"`},
		{"a certificate", config.Caller{CertificateBound: true}, true, `"resource_name":"Postern","tls_client_certificate_bound_access_tokens":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, _ := guardedGateway(t, io.Discard, func(d *config.Document) {
				d.PublicURL = "https://llm.example.com"
				c.first.Issuer = "https://idp.example.com"
				d.Callers = append([]config.Caller{c.first}, d.Callers...)
				if c.alone {
					d.Callers = d.Callers[:1]
				}
			})
			rec := httptest.NewRecorder()
			g.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, pathResource, nil))
			if !strings.Contains(rec.Body.String(), c.want) {
				t.Errorf("got %s, want %s in it", rec.Body, c.want)
			}
		})
	}
}
