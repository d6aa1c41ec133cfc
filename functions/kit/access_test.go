package kit

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/release"
	"github.com/postern-ai/postern/shared/secrets"
)

// TestTokensAreRefreshedAheadOfRequests has the scheduled function, which is
// another one than the gateway, fetch the token that the gateway then finds in
// the cache that both share.
func TestTokensAreRefreshedAheadOfRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := miniredis.RunT(t)
	document := "platform_callers: true\ncache: {redis: {url: 'redis://" + server.Addr() + "', key_ref: env://KEY}}\nupstreams:\n" +
		"- {provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oidc, issuer: '{oauth}', client_id: basic, credential_ref: env://C, refresh_policy: proactive}\n" +
		"- {provider: vertex}\n"
	as := func(service, deployment string) (*wiring, *config.Document) {
		t.Helper()
		wiring, d, err := w.wiring(t, config.GCP, document, map[string]string{
			"KEY": strings.Repeat("0f", 32), "C": clientPass, "K_SERVICE": service, "POSTERN_DEPLOYMENT": deployment,
		})
		if err != nil {
			t.Fatal(err)
		}
		return wiring, d
	}
	rotator, d := as("rotate", "one")
	for _, want := range []bool{true, false} {
		got, err := rotator.Refresh(t.Context(), d)
		if err != nil || len(got) != 1 || got[0].Upstream != "custom-openai" || got[0].Replaced != want {
			t.Errorf("got %+v and %v, want a new token: %v", got, err, want)
		}
	}
	ask := func(service, deployment string) {
		t.Helper()
		gateway, d := as(service, deployment)
		auth, err := gateway.authorizer(&d.Upstreams[0])
		if err != nil {
			t.Fatal(err)
		}
		w.sign(t, auth)
	}
	ask("gateway", "one")
	if calls := w.oauth.Tokens.Calls(); calls != 1 {
		t.Errorf("%d tokens were fetched, want the one that was refreshed ahead", calls)
	}
	ask("gateway", "another")
	if calls := w.oauth.Tokens.Calls(); calls != 2 {
		t.Errorf("%d tokens were fetched, want one more for another deployment", calls)
	}
	server.Close()
	if _, err := rotator.Refresh(t.Context(), d); err == nil || !strings.Contains(err.Error(), "the tokens of 1 upstreams could not be refreshed") {
		t.Errorf("without the shared cache: got %v", err)
	}
}

func TestAProposedCredentialProvesItselfAsTheGatewayWouldUseIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wiring, d, err := w.wiring(t, config.AWS, "platform_callers: true\nupstreams:\n"+
		"- {provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oidc, issuer: '{oauth}', client_id: basic, credential_ref: client}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	access, err := wiring.Access(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := access.Prove(t.Context(), &d.Upstreams[0], secrets.NewValue(clientPass)); err != nil {
		t.Errorf("the right secret: %v", err)
	}
	err = access.Prove(t.Context(), &d.Upstreams[0], secrets.NewValue("another canary secret"))
	known, ok := errors.AsType[*identity.Error](err)
	if !ok || known.Retryable || strings.Contains(err.Error(), "canary") {
		t.Errorf("another secret: got %v", err)
	}
}

// TestTheUseOfAPreviousKeyIsTold has an upstream reject the current version of a
// key whose previous version is still there.
func TestTheUseOfAPreviousKeyIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log, events lockedBuffer
	w.log, w.audit = slog.New(slog.NewTextHandler(&log, nil)), audit.NewLines(&events)
	w.secrets.Seed(secretsmanager.Secret{Name: "openai", Text: "key-1"})
	w.secrets.Seed(secretsmanager.Secret{Name: "openai", Text: "key-2"})
	auth := w.authorizer(t, config.AWS, "provider: openai\nauth_type: api_key\ncredential_ref: openai\n", nil)
	r, _ := w.sign(t, auth)
	auth.Rejected(r)
	for range 3 {
		if _, got := w.sign(t, auth); got["Authorization"] != "Bearer key-1" {
			t.Fatalf("got %v, want the previous key", got)
		}
	}
	if n := strings.Count(events.String(), `"type":"`+string(audit.KeyFallbackUsedType)); n != 1 {
		t.Errorf("%d events, want one: %s", n, events.String())
	}
	if !strings.Contains(events.String(), `"version":"`+release.Version+`"`) {
		t.Errorf("the event does not say what told it: %s", events.String())
	}
	if !strings.Contains(log.String(), "metric=upstream_auth_fallback") {
		t.Errorf("the log says %s", log.String())
	}
	for _, text := range []string{log.String(), events.String()} {
		if strings.Contains(text, "key-1") || strings.Contains(text, "key-2") {
			t.Errorf("a key is in %s", text)
		}
	}
}
