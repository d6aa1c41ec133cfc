package caller_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/apitoken"
	"github.com/postern-ai/postern/localdev/fake/authority"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// BenchmarkSignature is the check of a token's signature alone, apart from everything that is done around it.
func BenchmarkSignature(b *testing.B) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(algorithm, func(b *testing.B) {
			issuer := oidc.New(issuerURL)
			bearer := caller.NewBearer(accepting(algorithm), direct{issuer})
			verify, err := caller.Signature(bearer, request(b, "Authorization", "Bearer "+mint(b, issuer, oidc.Token{Algorithm: algorithm})))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if !verify() {
					b.Fatal("the signature does not verify")
				}
			}
		})
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		issuer := oidc.New(issuerURL)
		groups := []string{"11111111-2222-3333-4444-555555555555", "22222222-3333-4444-5555-666666666666"}
		r := request(b, "Authorization", "Bearer "+mint(b, issuer, oidc.Token{Algorithm: algorithm, Groups: groups}))
		bearer := caller.NewBearer(accepting("RS256", "ES256", "EdDSA"), direct{issuer})
		b.Run(algorithm+"/verified before", func(b *testing.B) { authenticate(b, bearer, r) })
		b.Run(algorithm+"/verified each time", func(b *testing.B) { authenticate(b, caller.Forgetful(bearer), r) })
	}
	list := newRegister()
	token := list.make(b, apitoken.Request{Name: "ci", Life: time.Hour})
	for range 499 {
		list.make(b, apitoken.Request{Name: "other", Life: time.Hour})
	}
	value, err := list.read(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	tokens := caller.NewAPITokens(caller.Fixed(value), list.readKey)
	b.Run("an API token of 500", func(b *testing.B) { authenticate(b, tokens, request(b, "Authorization", "Bearer "+token)) })

	issuer, h := oidc.New(issuerURL), newHolder(b, "ES256")
	bound := boundTo(b, issuer, h)
	by := demanding(issuer, config.DPoPRequired)
	b.Run("a proof of possession", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			r := request(b, "Authorization", "DPoP "+bound, "DPoP", h.prove(b, bound))
			b.StartTimer()
			if _, err := by.Authenticate(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	ca := newAuthority(b, "ca")
	certificate := authority.PEM(ca.client(b, nil))
	certificates := caller.New(&config.Document{Fronts: config.Fronts{APIGateway: &config.CertificateFront{Admit: true, ClientCA: ca.PEM()}}},
		caller.Options{Cloud: config.AWS, Certificate: func(*http.Request) (string, bool) { return certificate, true }})
	b.Run("a client certificate", func(b *testing.B) { authenticate(b, certificates, request(b)) })
}

func authenticate(b *testing.B, by caller.Authenticator, r *http.Request) {
	if _, err := by.Authenticate(r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := by.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGuard is what deleting headers costs a request with as many as a client and its fronts send.
func BenchmarkGuard(b *testing.B) {
	header := http.Header{}
	for name, value := range map[string]string{
		"Accept": "application/json", "Accept-Encoding": "gzip", "Authorization": "Bearer x", "Connection": "keep-alive", "Content-Length": "100", "Content-Type": "application/json",
		"User-Agent": "OpenAI/Python 2.0", "X-Stainless-Arch": "x64", "X-Stainless-Async": "false", "X-Stainless-Lang": "python", "X-Stainless-Os": "Linux",
		"X-Stainless-Package-Version": "2.0", "X-Stainless-Retry-Count": "0", "X-Stainless-Runtime": "CPython", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Amzn-Trace-Id": "Root=1",
	} {
		header.Set(name, value)
	}
	guard := caller.Guard(&config.Document{Callers: accepting()}, caller.Options{Cloud: config.AWS}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := request(b)
	b.ReportAllocs()
	for b.Loop() {
		r.Header = header.Clone()
		guard.ServeHTTP(nil, r)
	}
}
