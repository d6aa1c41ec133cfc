package caller_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/fake/proof"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// holder has a key and makes proofs with it.
type holder struct{ *proof.Holder }

func newHolder(t testing.TB, algorithm string) holder {
	t.Helper()
	h, err := proof.New(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return holder{h}
}

func (h holder) thumbprint(t testing.TB) string {
	t.Helper()
	text, err := h.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// prove makes a proof for a call of the gateway with the token, with some claims changed.
func (h holder) prove(t testing.TB, token string, change ...any) string {
	t.Helper()
	return h.sign(t, proof.Proof{Method: http.MethodPost, Address: gatewayURL + "/v1/chat/completions", Token: token, Claims: with(nil, change...)})
}

func (h holder) sign(t testing.TB, p proof.Proof) string {
	t.Helper()
	text, err := h.Prove(p)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const gatewayURL = "https://llm.example.com"

// demanding are the callers of a document whose issuer's tokens may be, or have to be, bound to a key.
func demanding(issuer http.Handler, dpop string) caller.Authenticator {
	callers := accepting()
	callers[0].DPoP = dpop
	return caller.New(&config.Document{Callers: callers, PublicURL: gatewayURL}, caller.Options{Transport: direct{issuer}})
}

// boundTo mints a token that is bound to the holder's key.
func boundTo(t testing.TB, issuer *oidc.Issuer, h holder) string {
	t.Helper()
	return mint(t, issuer, oidc.Token{Claims: map[string]any{"cnf": map[string]any{"jkt": h.thumbprint(t)}}})
}

func TestProofsOfEveryKindOfKeyCount(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	by := demanding(issuer, config.DPoPRequired)
	for _, algorithm := range []string{"ES256", "RS256", "PS256", "EdDSA"} {
		h := newHolder(t, algorithm)
		token := boundTo(t, issuer, h)
		for range 2 { // verified, then remembered
			principal, err := by.Authenticate(request(t, "Authorization", "DPoP "+token, "DPoP", h.prove(t, token)))
			if err != nil || principal.Subject != "alice" {
				t.Errorf("%s: got %+v, %v", algorithm, principal, err)
			}
		}
	}
}

// TestAProofCountsOnceForAllInstances has two instances that tell each other.
func TestAProofCountsOnceForAllInstances(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	used := map[string]time.Duration{}
	instance := func() caller.Authenticator {
		callers := accepting()
		callers[0].DPoP = config.DPoPRequired
		return caller.New(&config.Document{Callers: callers, PublicURL: gatewayURL}, caller.Options{
			Transport: direct{issuer},
			FirstUse: func(_ context.Context, proof string, span time.Duration) bool {
				_, again := used[proof]
				used[proof] = span
				return !again
			},
		})
	}
	h := newHolder(t, "ES256")
	token := boundTo(t, issuer, h)
	proof := h.prove(t, token)
	if _, err := instance().Authenticate(request(t, "Authorization", "DPoP "+token, "DPoP", proof)); err != nil {
		t.Fatal(err)
	}
	_, err := instance().Authenticate(request(t, "Authorization", "DPoP "+token, "DPoP", proof))
	if refused, ok := errors.AsType[*caller.Error](err); !ok || refused.Code != caller.BadProof || !strings.Contains(err.Error(), "used before") {
		t.Errorf("got %v", err)
	}
	if _, err := instance().Authenticate(request(t, "Authorization", "DPoP "+token, "DPoP", h.prove(t, token))); err != nil {
		t.Errorf("another proof: %v", err)
	}
	for proof, span := range used {
		if span < 2*time.Minute || strings.Contains(proof, token) {
			t.Errorf("%q is remembered for %v", proof, span)
		}
	}
	if len(used) != 2 {
		t.Errorf("%d proofs are known", len(used))
	}
}

func TestTokensThatAreBoundToAKey(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	mine, yours := newHolder(t, "ES256"), newHolder(t, "ES256")
	token, plain := boundTo(t, issuer, mine), mint(t, issuer, oidc.Token{})
	other := mint(t, issuer, oidc.Token{Subject: "bob", Claims: map[string]any{"cnf": map[string]any{"jkt": mine.thumbprint(t)}}})
	twice := mine.prove(t, token)
	private, public, err := mine.Keys()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]caller.Authenticator{}
	for _, dpop := range []string{"", config.DPoPOptional, config.DPoPRequired} {
		by[dpop] = demanding(issuer, dpop)
	}
	if _, err := by[config.DPoPOptional].Authenticate(request(t, "Authorization", "DPoP "+token, "DPoP", twice)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		dpop  string // optional unless said
		token string
		proof []string
		code  caller.Code
	}{
		{"a bearer token where proofs are optional", "", "Bearer " + plain, nil, ""},
		{"a bearer token where proofs are required", config.DPoPRequired, "Bearer " + plain, nil, caller.Unproven},
		{"the scheme in other letters", "", "dpop " + token, []string{mine.prove(t, token)}, ""},
		{"the address in another spelling", "", "DPoP " + token, []string{mine.prove(t, token, "htu", "HTTPS://LLM.example.com:443/v1/chat/completions?x=1#y")}, ""},
		{"a clock that is 50 s behind", "", "DPoP " + token, []string{mine.prove(t, token, "iat", time.Now().Unix()-50)}, ""},
		{"claims that nobody asked for", "", "DPoP " + token, []string{mine.prove(t, token, "nonce", "x", "more", []int{1})}, ""},

		{"a stolen token as a bearer token", "", "Bearer " + token, nil, caller.Unproven},
		{"a stolen token as a bearer token, with a proof", "", "Bearer " + token, []string{mine.prove(t, token)}, caller.Unproven},
		{"a stolen token without a proof", "", "DPoP " + token, nil, caller.Unproven},
		{"a stolen token with the thief's proof", "", "DPoP " + token, []string{yours.prove(t, token)}, caller.BadProof},
		{"a token that is not bound, in that scheme", "", "DPoP " + plain, []string{mine.prove(t, plain)}, caller.Unproven},
		{"a proof that has been used", "", "DPoP " + token, []string{twice}, caller.BadProof},
		{"two proofs", "", "DPoP " + token, []string{mine.prove(t, token), mine.prove(t, token)}, caller.BadProof},
		{"a proof for another token of the same holder", "", "DPoP " + token, []string{mine.prove(t, other)}, caller.BadProof},
		{"a proof for another method", "", "DPoP " + token, []string{mine.prove(t, token, "htm", "GET")}, caller.BadProof},
		{"a proof for the method in other letters", "", "DPoP " + token, []string{mine.prove(t, token, "htm", "post")}, caller.BadProof},
		{"the path in another spelling", "", "DPoP " + token, []string{mine.prove(t, token, "htu", gatewayURL+"/v1/%63hat/completions")}, ""},
		{"a proof for another path", "", "DPoP " + token, []string{mine.prove(t, token, "htu", gatewayURL+"/v1/models")}, caller.BadProof},
		{"a proof for another path that means the same", "", "DPoP " + token, []string{mine.prove(t, token, "htu", gatewayURL+"/v1//chat/completions")}, caller.BadProof},
		{"a proof for another host", "", "DPoP " + token, []string{mine.prove(t, token, "htu", "https://evil.example.com/v1/chat/completions")}, caller.BadProof},
		{"a proof for another scheme", "", "DPoP " + token, []string{mine.prove(t, token, "htu", "http://llm.example.com/v1/chat/completions")}, caller.BadProof},
		{"a proof for another port", "", "DPoP " + token, []string{mine.prove(t, token, "htu", "https://llm.example.com:8443/v1/chat/completions")}, caller.BadProof},
		{"a proof for the host after a user", "", "DPoP " + token, []string{mine.prove(t, token, "htu", "https://evil@llm.example.com/v1/chat/completions")}, caller.BadProof},
		{"a proof for no address", "", "DPoP " + token, []string{mine.prove(t, token, "htu", nil)}, caller.BadProof},
		{"a proof of an hour ago", "", "DPoP " + token, []string{mine.prove(t, token, "iat", time.Now().Unix()-3600)}, caller.BadProof},
		{"a proof for later", "", "DPoP " + token, []string{mine.prove(t, token, "iat", time.Now().Unix()+3600)}, caller.BadProof},
		{"a proof without a time", "", "DPoP " + token, []string{mine.prove(t, token, "iat", nil)}, caller.BadProof},
		{"a proof of a time beyond all", "", "DPoP " + token, []string{mine.prove(t, token, "iat", 1e300)}, caller.BadProof},
		{"a proof without an id", "", "DPoP " + token, []string{mine.prove(t, token, "jti", nil)}, caller.BadProof},
		{"a proof with an id that is too long", "", "DPoP " + token, []string{mine.prove(t, token, "jti", strings.Repeat("x", 257))}, caller.BadProof},
		{"a proof for no token", "", "DPoP " + token, []string{mine.prove(t, token, "ath", nil)}, caller.BadProof},
		{"a proof of another type", "", "DPoP " + token, []string{mine.sign(t, proof.Proof{Type: "JWT"})}, caller.BadProof},
		{"the token as its own proof", "", "DPoP " + token, []string{token}, caller.BadProof},
		{"a proof without a signature", "", "DPoP " + token, []string{strings.TrimRightFunc(mine.prove(t, token), func(r rune) bool { return r != '.' })}, caller.BadProof},
		{"a proof by algorithm none", "", "DPoP " + token, []string{raw(`{"typ":"dpop+jwt","alg":"none","jwk":`+string(public)+`}`, "{}", nil)}, caller.BadProof},
		{"a proof that shows its private key", "", "DPoP " + token, []string{raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+string(private)+`}`, "{}", nil)}, caller.BadProof},
		{"a proof with a shared secret", "", "DPoP " + token, []string{raw(`{"typ":"dpop+jwt","alg":"HS256","jwk":{"kty":"oct","k":"AA"}}`, "{}", nil)}, caller.BadProof},
		{"a proof without a key", "", "DPoP " + token, []string{raw(`{"typ":"dpop+jwt","alg":"ES256"}`, "{}", nil)}, caller.BadProof},
		{"a proof with a key that is none", "", "DPoP " + token, []string{raw(`{"typ":"dpop+jwt","alg":"ES256","jwk":7}`, "{}", nil)}, caller.BadProof},
		{"a proof that demands an extension", "", "DPoP " + token, []string{raw(`{"typ":"dpop+jwt","alg":"ES256","crit":["x"],"jwk":`+string(public)+`}`, "{}", nil)}, caller.BadProof},
		{"what is no proof", "", "DPoP " + token, []string{"proof"}, caller.BadProof},
		{"9 KiB", "", "DPoP " + token, []string{strings.Repeat("A", 9<<10)}, caller.BadProof},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.dpop == "" {
				test.dpop = config.DPoPOptional
			}
			r := request(t, "Authorization", test.token)
			for _, proof := range test.proof {
				r.Header.Add("DPoP", proof)
			}
			principal, err := by[test.dpop].Authenticate(r)
			if test.code != "" {
				refused(t, r, err, test.code)
				return
			}
			if err != nil || principal.Subject != "alice" {
				t.Errorf("got %+v, %v", principal, err)
			}
		})
	}
	r := request(t, "Authorization", "Bearer "+token)
	if _, err := by[""].Authenticate(r); caller.CodeOf(err) != caller.Unproven {
		t.Errorf("where proofs are not checked, a bound token gives %v", err)
	}
	if _, err := by[""].Authenticate(request(t, "Authorization", "DPoP "+token)); caller.CodeOf(err) != caller.Missing {
		t.Errorf("where proofs are not checked, the scheme gives %v", err)
	}
}

// TestAProofIsForThePathThatWasAskedFor is about paths that are written in a way of their own.
func TestAProofIsForThePathThatWasAskedFor(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	h := newHolder(t, "ES256")
	token := boundTo(t, issuer, h)
	by := demanding(issuer, config.DPoPRequired)
	for path, admitted := range map[string]bool{
		"/v1/models/a%2Fb": true, "/v1/models/a%2fb": true, "/v1/models/%61%2Fb": true,
		"/v1/models/a/b": false, "/v1/models/a%252Fb": false, "/v1/models/A%2Fb": false,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", h.prove(t, token, "htm", "GET", "htu", gatewayURL+"/v1/models/a%2Fb"))
		if _, err := by.Authenticate(r); (err == nil) != admitted {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAProofCountsOnceForAsLongAsItCouldCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := oidc.New(issuerURL)
		h := newHolder(t, "ES256")
		token := mint(t, issuer, oidc.Token{Lifetime: 24 * time.Hour, Claims: map[string]any{"cnf": map[string]any{"jkt": h.thumbprint(t)}}})
		by := demanding(issuer, config.DPoPRequired)
		for range 50 {
			proof := h.prove(t, token, "iat", time.Now().Add(time.Minute).Unix()) // as early as it may be used
			for wait := range 2 * 60 / 13 {
				_, err := by.Authenticate(request(t, "Authorization", "DPoP "+token, "DPoP", proof))
				if (err == nil) != (wait == 0) {
					t.Fatalf("after %d times 13 s: %v", wait, err)
				}
				time.Sleep(13 * time.Second)
			}
		}
	})
}
