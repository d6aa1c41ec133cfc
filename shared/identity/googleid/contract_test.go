package googleid_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/shared/identity/googleid"
)

// TestImpersonationFitsTheAPIsDescription checks both directions against the vendor's own description of the service. The other two speak
// OAuth 2.0, which is described elsewhere.
func TestImpersonationFitsTheAPIsDescription(t *testing.T) {
	t.Parallel()
	dir, ok := contract.Dir()
	if !ok {
		t.Skip("the vendors' descriptions are not here")
	}
	api, err := contract.Google(dir, "iamcredentials-v1")
	if err != nil {
		t.Fatal(err)
	}
	server := google(awscreds.New(awscreds.Options{}))
	calls := 0
	checked := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		exchange, problems := api.Request(contract.Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header, Body: body})
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, r)
		problems = append(problems, exchange.Response(contract.Response{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.Bytes()})...)
		for _, problem := range problems {
			t.Error(problem)
		}
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	})
	impersonation, err := googleid.NewImpersonation(googleid.ImpersonationOptions{
		Services: at(checked), ServiceAccount: target, Delegates: []string{middle}, Lifetime: 30 * time.Minute,
		Source: federation(t, func(o *googleid.FederationOptions) { o.Services = at(server) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := impersonation.Token(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := impersonation.IDToken(t.Context(), "audience"); err != nil {
		t.Error(err)
	}
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
}
