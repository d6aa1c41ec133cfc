package caller_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
)

func TestTokensOfEveryAlgorithmAreAccepted(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	algorithms := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	bearer := caller.NewBearer(accepting(algorithms...), direct{issuer})
	for _, algorithm := range algorithms { // their keys first, since fetches are rate-limited
		mint(t, issuer, oidc.Token{Algorithm: algorithm})
	}
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			text := mint(t, issuer, oidc.Token{Algorithm: algorithm, Groups: []string{"staff", "llm"}})
			for range 2 { // verified, then remembered
				principal, err := bearer.Authenticate(request(t, "Authorization", "Bearer "+text))
				if err != nil {
					t.Fatal(err)
				}
				want := &caller.Principal{
					Method: caller.OIDC, Issuer: issuerURL, Subject: "alice", Name: "idp/alice", Groups: []string{"staff", "llm"}, Expires: principal.Expires,
				}
				if diff := cmp.Diff(want, principal); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if left := time.Until(principal.Expires); left < 59*time.Minute || left > time.Hour {
					t.Errorf("the principal ends in %s, want the token's hour", left)
				}
			}
		})
	}
	if n := issuer.Fetches(oidc.KeysPath); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestTokensThatMayDifferAreAccepted(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	bearer := caller.NewBearer(accepting(), direct{issuer})
	tests := []struct {
		name   string
		token  oidc.Token
		scheme string
	}{
		{name: "one of several audiences", token: oidc.Token{Audience: []string{"x", "other-name"}}},
		{name: "the audience as a text", token: oidc.Token{Claims: map[string]any{"aud": audience}}},
		{name: "a group as a text", token: oidc.Token{Claims: map[string]any{"groups": "staff"}}},
		{name: "groups that are null", token: oidc.Token{Claims: map[string]any{"groups": nil}}},
		{name: "an access token by RFC 9068", token: oidc.Token{Header: map[string]any{"typ": "at+jwt"}}},
		{name: "a type in its long form", token: oidc.Token{Header: map[string]any{"typ": "application/AT+JWT"}}},
		{name: "no type", token: oidc.Token{Header: map[string]any{"typ": ""}}},
		{name: "an issuer's clock that is 50 s ahead", token: oidc.Token{Claims: map[string]any{"nbf": time.Now().Unix() + 50, "iat": time.Now().Unix() + 50}}},
		{name: "an end 50 s ago", token: oidc.Token{Lifetime: -50 * time.Second}},
		{name: "dates with fractions", token: oidc.Token{Claims: map[string]any{"exp": float64(time.Now().Unix()) + 600.5}}},
		{name: "no iat", token: oidc.Token{Claims: map[string]any{"iat": nil}}},
		{name: "headers that point to other keys are not followed", token: oidc.Token{Header: map[string]any{"jku": "https://evil.example.com/keys", "x5u": "https://evil.example.com/cert"}}},
		{name: "claims of any other shape", token: oidc.Token{Claims: map[string]any{"email": []int{1}, "email_verified": map[string]any{}, "x": nil}}},
		{name: "the scheme in other letters", scheme: "bearer"},
		{name: "more than one space", scheme: "Bearer  "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.scheme == "" {
				test.scheme = "Bearer"
			}
			principal, err := bearer.Authenticate(request(t, "Authorization", test.scheme+" "+mint(t, issuer, test.token)))
			if err != nil || principal.Subject != "alice" {
				t.Errorf("got %+v, %v", principal, err)
			}
		})
	}
}

// raw builds a token out of any texts and any signature.
func raw(header, payload string, sign func(signed string) []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	if sign == nil {
		return signed + "."
	}
	return signed + "." + encode(sign(signed))
}

// publicKey returns the issuer's newest public key of an algorithm as the issuer publishes it.
func publicKey(t *testing.T, issuer *oidc.Issuer, algorithm string) jose.JSONWebKey {
	t.Helper()
	mint(t, issuer, oidc.Token{Algorithm: algorithm})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, issuerURL+oidc.KeysPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := direct{issuer}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		if key.Algorithm == algorithm {
			return key
		}
	}
	t.Fatalf("no %s key in %v", algorithm, set)
	return jose.JSONWebKey{}
}

// respell changes the bits of the last character that hold nothing: 64 bytes take 86 characters of which the last has 4 such.
func respell(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + alphabet[last^1:last^1+1]
}

// TestForgedAndForeignTokensAreRefused is the list of what must never get through, each with the reason that the caller is told.
func TestForgedAndForeignTokensAreRefused(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	bearer := caller.NewBearer(accepting(), direct{issuer})
	valid := mint(t, issuer, oidc.Token{})
	parts := strings.Split(valid, ".")
	rsaKey, ecKey := publicKey(t, issuer, "RS256"), publicKey(t, issuer, "ES256")

	payload := func(change ...any) string {
		claims := map[string]any{"iss": issuerURL, "sub": "alice", "aud": audience, "exp": time.Now().Unix() + 600}
		for i := 0; i < len(change); i += 2 {
			claims[change[i].(string)] = change[i+1]
		}
		text, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	signed := func(payload string) string {
		text, err := issuer.Sign(oidc.Token{Algorithm: "ES256"}, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	with := func(token oidc.Token) string { return mint(t, issuer, token) }
	claim := func(name string, value any) string { return with(oidc.Token{Claims: map[string]any{name: value}}) }
	head := func(name string, value any) string { return with(oidc.Token{Header: map[string]any{name: value}}) }
	fakeHeader := func(algorithm, kid string) string { return fmt.Sprintf(`{"alg":%q,"kid":%q}`, algorithm, kid) }
	hmacWith := func(secret []byte) func(string) []byte {
		return func(s string) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(s))
			return mac.Sum(nil)
		}
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	byStranger := func(s string) []byte {
		digest := sha256.Sum256([]byte(s))
		r, v, err := ecdsa.Sign(rand.Reader, stranger, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	}
	strangerKey, err := json.Marshal(jose.JSONWebKey{Key: stranger.Public(), KeyID: ecKey.KeyID})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Key)
	if err != nil {
		t.Fatal(err)
	}
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	otherPayload := base64.RawURLEncoding.EncodeToString([]byte(payload("sub", "mallory")))

	tests := []struct {
		name  string
		token string
		code  caller.Code
	}{
		{"no signature by algorithm none", raw(fakeHeader("none", ecKey.KeyID), payload(), nil), caller.BadSignature},
		{"no signature by algorithm None", raw(fakeHeader("None", ecKey.KeyID), payload(), nil), caller.BadSignature},
		{"no algorithm", raw(`{"typ":"JWT"}`, payload(), nil), caller.BadSignature},
		{"an HMAC with the public key in PEM", raw(fakeHeader("HS256", rsaKey.KeyID), payload(), hmacWith(pemText)), caller.BadSignature},
		{"an HMAC with the public key in DER", raw(fakeHeader("HS256", rsaKey.KeyID), payload(), hmacWith(der)), caller.BadSignature},
		{"an algorithm that is not configured", with(oidc.Token{Algorithm: "ES384"}), caller.BadSignature},
		{"the id of a key of another kind", raw(fakeHeader("RS256", ecKey.KeyID), payload(), byStranger), caller.BadSignature},
		{"a stranger's key under the issuer's key id", raw(fakeHeader("ES256", ecKey.KeyID), payload(), byStranger), caller.BadSignature},
		{"a stranger's key without a key id", raw(`{"alg":"ES256"}`, payload(), byStranger), caller.BadSignature},
		{"a key that the token brings along", raw(`{"alg":"ES256","kid":"`+ecKey.KeyID+`","jwk":`+string(strangerKey)+`}`, payload(), byStranger), caller.BadSignature},
		{"a key that the issuer does not publish", head("kid", "unknown"), caller.BadSignature},
		{"a key id that is a path", head("kid", "../../../../dev/null"), caller.BadSignature},
		{"a key id that is a query", head("kid", "' OR 1=1 --"), caller.BadSignature},
		{"a key id that is too long", head("kid", strings.Repeat("k", 513)), caller.Malformed},
		{"a key id of 10 MB", head("kid", strings.Repeat("k", 10<<20)), caller.Malformed},
		{"a key id that is no text", head("kid", 7), caller.Malformed},
		{"other claims under a true signature", parts[0] + "." + otherPayload + "." + parts[2], caller.BadSignature},
		{"another header under a true signature", base64.RawURLEncoding.EncodeToString([]byte(`{"kid":"`+ecKey.KeyID+`","alg":"ES256"}`)) + "." + parts[1] + "." + parts[2], caller.BadSignature},
		{"an empty signature", parts[0] + "." + parts[1] + ".", caller.BadSignature},
		{"a shortened signature", valid[:len(valid)-2], caller.BadSignature},
		{"a lengthened signature", valid + "AA", caller.BadSignature},
		{"a padded signature", valid + "==", caller.BadSignature},
		{"a signature in another spelling of the same bytes", respell(valid), caller.BadSignature},
		{"a signature of zeros", raw(fakeHeader("ES256", ecKey.KeyID), payload(), func(string) []byte { return make([]byte, 64) }), caller.BadSignature},
		{"a signature that Cloud Run removed", parts[0] + "." + parts[1] + ".SIGNATURE_REMOVED_BY_GOOGLE", caller.Malformed},

		{"no JWT", "sk-1234567890", caller.Malformed},
		{"two parts", parts[0] + "." + parts[1], caller.Malformed},
		{"four parts", valid + ".x", caller.Malformed},
		{"an encrypted token", "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d", caller.Malformed},
		{"an encryption in three parts", raw(`{"alg":"ES256","enc":"A256GCM"}`, payload(), byStranger), caller.Malformed},
		{"16 KiB and more", valid + strings.Repeat("A", 16<<10), caller.Malformed},
		{"an empty header", "." + parts[1] + "." + parts[2], caller.Malformed},
		{"a header that is null", raw("null", payload(), byStranger), caller.Malformed},
		{"claims that are null", raw(fakeHeader("ES256", ecKey.KeyID), "null", byStranger), caller.Malformed},
		{"claims that are a list", signed("[]"), caller.Malformed},
		{"claims that are no JSON", signed("hello"), caller.Malformed},
		{"claims given twice", signed(`{"iss":"` + issuerURL + `","sub":"alice","aud":"` + audience + `","exp":9999999999,"sub":"mallory"}`), caller.Malformed},
		{"a header field given twice", raw(`{"alg":"ES256","alg":"none"}`, payload(), byStranger), caller.Malformed},
		{"claims in another case", signed(strings.Replace(payload(), `"iss"`, `"ISS"`, 1)), caller.Malformed},
		{"claims with invalid UTF-8", signed(strings.Replace(payload(), "alice", "al\xffce", 1)), caller.Malformed},
		{"something after the claims", signed(payload() + " {}"), caller.Malformed},
		{"padding within", parts[0] + "=." + parts[1] + "." + parts[2], caller.Malformed},
		{"the other base64", strings.Replace(valid, parts[0], base64.RawStdEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"???>>>"}`)), 1), caller.Malformed},

		{"a demand for an extension", raw(`{"alg":"ES256","crit":["b64"],"b64":false}`, payload(), byStranger), caller.Malformed},
		{"an empty demand for extensions", raw(`{"alg":"ES256","crit":null}`, payload(), byStranger), caller.Malformed},
		{"a logout token", head("typ", "logout+jwt"), caller.Malformed},
		{"a proof of possession", head("typ", "dpop+jwt"), caller.Malformed},
		{"a nested token", head("cty", "JWT"), caller.Malformed},

		{"another issuer", claim("iss", "https://evil.example.com"), caller.WrongIssuer},
		{"the issuer with a slash more", claim("iss", issuerURL+"/"), caller.WrongIssuer},
		{"the issuer in other letters", claim("iss", strings.ToUpper(issuerURL)), caller.WrongIssuer},
		{"an issuer that looks alike", claim("iss", "https://іdp.example.com"), caller.WrongIssuer},
		{"an issuer that begins alike", claim("iss", issuerURL+".evil.example.com"), caller.WrongIssuer},
		{"no issuer", claim("iss", nil), caller.Malformed},
		{"an issuer that is a list", claim("iss", []string{issuerURL}), caller.Malformed},

		{"another audience", with(oidc.Token{Audience: []string{"https://other.example.com"}}), caller.WrongAudience},
		{"an audience that begins alike", with(oidc.Token{Audience: []string{audience + ".evil.example.com"}}), caller.WrongAudience},
		{"no audience", claim("aud", nil), caller.WrongAudience},
		{"an empty audience", with(oidc.Token{Audience: []string{}}), caller.WrongAudience},
		{"an audience that is an object", claim("aud", map[string]any{audience: true}), caller.Malformed},

		{"an end a minute ago", with(oidc.Token{Lifetime: -61 * time.Second}), caller.Expired},
		{"no end", claim("exp", nil), caller.Malformed},
		{"an end that is a text", claim("exp", "9999999999"), caller.Malformed},
		{"an end beyond all time", claim("exp", 1e300), caller.Malformed},
		{"an end before all time", claim("exp", -1), caller.Malformed},
		{"a beginning in two minutes", claim("nbf", time.Now().Unix()+120), caller.NotYetValid},
		{"made in two minutes", claim("iat", time.Now().Unix()+120), caller.NotYetValid},
		{"no subject", claim("sub", nil), caller.Malformed},
		{"an empty subject", claim("sub", ""), caller.Malformed},
		{"a subject that is too long", claim("sub", strings.Repeat("a", 1025)), caller.Malformed},
		{"groups that are no texts", claim("groups", []any{"staff", 7}), caller.Malformed},
		{"groups that are an object", claim("groups", map[string]any{"staff": true}), caller.Malformed},
	}
	if _, err := bearer.Authenticate(request(t, "Authorization", "Bearer "+valid)); err != nil {
		t.Fatal(err) // the keys are there, so no refusal below is for the lack of them
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, "Authorization", "Bearer "+test.token)
			principal, err := bearer.Authenticate(r)
			if principal != nil {
				t.Errorf("the principal is %+v", principal)
			}
			refused(t, r, err, test.code)
		})
	}
}

func TestHeadersThatHoldNoBearerTokenAreRefused(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	bearer := caller.NewBearer(accepting(), direct{issuer})
	valid := mint(t, issuer, oidc.Token{})
	tests := []struct {
		name    string
		headers []string
		code    caller.Code
	}{
		{"no header", nil, caller.Missing},
		{"an empty header", []string{"Authorization", ""}, caller.Missing},
		{"the scheme alone", []string{"Authorization", "Bearer"}, caller.Missing},
		{"the scheme and spaces", []string{"Authorization", "Bearer   "}, caller.Missing},
		{"another scheme", []string{"Authorization", "Basic " + valid}, caller.Missing},
		{"no scheme", []string{"Authorization", valid}, caller.Missing},
		{"the token in another header", []string{"X-Authorization", "Bearer " + valid, "Api-Key", valid}, caller.Missing},
		{"the header twice", []string{"Authorization", "Bearer " + valid, "Authorization", "Bearer " + valid}, caller.Malformed},
		{"two tokens in one header", []string{"Authorization", "Bearer " + valid + ", Bearer " + valid}, caller.Malformed},
		{"two tokens joined by a comma", []string{"Authorization", "Bearer " + valid + "," + valid}, caller.Malformed},
		{"a line break within", []string{"Authorization", "Bearer " + valid[:20] + "\r\n" + valid[20:]}, caller.Malformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.headers...)
			principal, err := bearer.Authenticate(r)
			if principal != nil {
				t.Errorf("the principal is %+v", principal)
			}
			refused(t, r, err, test.code)
		})
	}
}

// TestTokensWithEqualPrefixesAreDifferentCallers would fail with a cache key made of a part of the token.
func TestTokensWithEqualPrefixesAreDifferentCallers(t *testing.T) {
	t.Parallel()
	issuer := oidc.New(issuerURL)
	bearer := caller.NewBearer(accepting(), direct{issuer})
	for _, subject := range []string{"alice", "alicf", "alice"} {
		token := mint(t, issuer, oidc.Token{Subject: subject})
		principal, err := bearer.Authenticate(request(t, "Authorization", "Bearer "+token))
		if err != nil || principal.Subject != subject {
			t.Errorf("the token of %s is %+v, %v", subject, principal, err)
		}
		forged := token[:len(token)-6] + "AAAAAA"
		if _, err := bearer.Authenticate(request(t, "Authorization", "Bearer "+forged)); caller.CodeOf(err) != caller.BadSignature {
			t.Errorf("a token with another end gives %v", err)
		}
	}
}
