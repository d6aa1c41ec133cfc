package kit

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/localdev/fake/openai"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
)

// door is a whole gateway on AWS before a server that takes the OAuth server's
// tokens, or one stored key.
type door struct {
	*world
	gateway http.Handler
	log     *lockedBuffer
}

const document = `platform_callers: true
upstreams:
- {name: tokens, provider: custom-openai, base_url: '{llm}/v1', auth_type: oauth2, token_endpoint: '{oauth}/token', credential_ref: client}
- {name: keys, provider: custom-openai, base_url: '{llm}/v1', auth_type: api_key, credential_ref: key}
`

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{world: newWorld(t), log: &lockedBuffer{}}
	d.serve(t, "llm", httptest.NewServer(&openai.Server{Brain: brain.Echo{}, Authorize: func(token string) (string, bool) {
		return "somebody", token == "key-2" || d.oauth.Valid(token, oauth.Need{})
	}}))
	d.secrets.Seed(secretsmanager.Secret{Name: "client", Text: `{"client_id": "basic", "client_secret": "` + clientPass + `"}`})
	d.secrets.Seed(secretsmanager.Secret{Name: "key", Text: "key-2"})
	env := d.variables(config.AWS)
	maps.Copy(env, map[string]string{"POSTERN_CONFIG": d.fill(config.AWS, document)})
	getenv := func(name string) string { return env[name] }
	store, err := awssecrets.New(awssecrets.Options{
		Region: region, Endpoint: d.urls["secrets"], Credentials: sigv4.NewProvider(sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: getenv})),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.gateway, err = Kit{
		Cloud: config.AWS, Getenv: getenv, Log: slog.New(slog.NewTextHandler(d.log, nil)),
		Platform: caller.Lambda(func(*http.Request) (string, bool) { return "arn:aws:iam::123456789012:user/alice", true }),
		Secrets:  secrets.Stores{secrets.StoreOwn: store},
	}.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// chat asks an upstream of the gateway, and returns what the caller sees.
func (d *door) chat(t *testing.T, upstream string) (status int, code, text string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://gateway.example.com/v1/chat/completions",
		strings.NewReader(`{"model":"`+upstream+`/gpt-4o-mini","messages":[{"role":"user","content":"hello"}]}`))
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	d.gateway.ServeHTTP(recorder, r)
	body, err := io.ReadAll(recorder.Body)
	if err != nil {
		t.Fatal(err)
	}
	var reply struct {
		Error struct{ Code string }
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return recorder.Code, reply.Error.Code, string(body)
}

// TestFaultsOfCredentials breaks what a credential comes from, in each of the
// ways in which it breaks, and pins what the caller sees and what the log says.
// A caller never waits longer than for a fetch to give up, and never gets to
// see whose fault it is.
func TestFaultsOfCredentials(t *testing.T) {
	t.Parallel()
	const most = 4 * time.Second
	tests := []struct {
		name, upstream string
		breakIt        func(*door)
		status         int
		code, log      string
	}{
		{"nothing is broken", "tokens", func(*door) {}, 200, "", "upstream=tokens"},
		{"the token endpoint is slow", "tokens", func(d *door) { d.oauth.Tokens.Set(fault.Fault{Delay: 3500 * time.Millisecond}) }, 503, "upstream_auth_failed", "does not answer"},
		{"the token endpoint breaks off", "tokens", func(d *door) { d.oauth.Tokens.Set(fault.Fault{Hangup: true}) }, 503, "upstream_auth_failed", "cannot be reached: connection closed"},
		{"the token endpoint is too busy", "tokens", func(d *door) {
			d.oauth.Tokens.Set(fault.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}})
		}, 503, "upstream_auth_failed", "status 429"},
		{"the token endpoint fails", "tokens", func(d *door) { d.oauth.Tokens.Set(fault.Fault{Status: 503, Body: "canary-body"}) }, 503, "upstream_auth_failed", "status 503"},
		{"the token endpoint talks nonsense", "tokens", func(d *door) { d.oauth.Tokens.Set(fault.Fault{Status: 200, Body: "<html>canary-body"}) }, 503, "upstream_auth_failed", "the token endpoint at"},
		{"the client's secret is not accepted", "tokens", func(d *door) { d.oauth.SetSecret("basic", "another") }, 502, "upstream_auth_failed", "invalid_client"},
		{"the secret is gone", "keys", func(d *door) {
			d.secrets.Faults.Before("GetSecretValue").Set(fault.Fault{Status: 400, Body: `{"__type":"ResourceNotFoundException","Message":"canary-body"}`})
		}, 502, "upstream_auth_failed", `read secret \"key\"`},
		{"the store is down", "keys", func(d *door) { d.secrets.Faults.Before("GetSecretValue").Set(fault.Fault{Status: 500, Body: "{}"}) }, 503, "upstream_auth_failed", `read secret \"key\"`},
		{"the store is slow", "keys", func(d *door) {
			d.secrets.Faults.Before("GetSecretValue").Set(fault.Fault{Delay: 3500 * time.Millisecond})
		}, 503, "upstream_auth_failed", `read secret \"key\"`},
		{"the function's own credentials are not known", "keys", func(d *door) {
			for _, key := range d.keyIDs() {
				d.creds.Revoke(key)
			}
		}, 503, "upstream_auth_failed", `read secret \"key\"`},
		{"the key was rotated in the store and at the upstream", "keys", func(d *door) {
			d.secrets.Seed(secretsmanager.Secret{Name: "key", Text: "key-1"})
			d.chat(t, "keys")
			d.secrets.Seed(secretsmanager.Secret{Name: "key", Text: "key-2"})
		}, 200, "", "upstream=keys"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDoor(t)
			test.breakIt(d)
			began := time.Now()
			status, code, text := d.chat(t, test.upstream)
			if took := time.Since(began); took > most {
				t.Errorf("the caller waited %v", took)
			}
			if status != test.status || code != test.code {
				t.Errorf("the caller sees %d %q, want %d %q: %s", status, code, test.status, test.code, text)
			}
			log := d.log.String()
			if !strings.Contains(log, test.log) {
				t.Errorf("the log does not say %q:\n%s", test.log, log)
			}
			for _, canary := range []string{"canary-body", clientPass, "key-2"} {
				if strings.Contains(log+text, canary) {
					t.Errorf("%q is shown:\n%s\n%s", canary, text, log)
				}
			}
		})
	}
}
