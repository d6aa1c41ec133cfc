package sigv4_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

// TestRequestsToSTSFitItsModel checks each request against the vendor's own description of the service.
func TestRequestsToSTSFitItsModel(t *testing.T) {
	t.Parallel()
	dir, ok := contract.Dir()
	if !ok {
		t.Skip("the vendors' descriptions are not here")
	}
	model, err := contract.AWS(dir, "sts")
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	checked := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			_, problems := model.Request(contract.Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header, Body: body})
			for _, problem := range problems {
				t.Error(problem)
			}
			form := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
			form.Header = r.Header
			actions = append(actions, form.FormValue("Action"))
			next.ServeHTTP(w, r)
		})
	}
	a := newAccount()
	options := a.options()
	options.HTTP = &http.Client{Transport: wire{checked(a.sts)}}
	if _, err := sign(t, a.assume(t, options, first(), sigv4.Role{ARN: writer})); err != nil {
		t.Error(err)
	}
	own := sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: a.env.getenv, HTTP: options.HTTP})
	if _, _, err := own.Who(t.Context(), ""); err != nil {
		t.Error(err)
	}
	web := webIdentity(t, sigv4.WebIdentityOptions{STSOptions: in(checked(federation())), RoleARN: federated, Token: tokens(t, "gateway")})
	if _, _, err := web.Who(t.Context(), ""); err != nil {
		t.Error(err)
	}
	platform := awscreds.New(awscreds.Options{})
	service := sts.NewWith(sts.Options{Keys: platform.Lookup, Region: "eu-central-1", Outbound: &sts.Outbound{Issuer: ownIssuer, RS256: awsKey}})
	where := in(checked(service))
	where.Getenv = environment(lambda(platform.Issue()))
	var outbound identity.TokenSource
	if outbound, err = sigv4.NewOutbound(sigv4.OutboundOptions{STSOptions: where, Audience: "a", Tags: map[string]string{"team": "ml"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := outbound.Token(t.Context()); err != nil {
		t.Error(err)
	}
	if want := []string{"AssumeRole", "AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity", "GetWebIdentityToken"}; !slices.Equal(slices.Sorted(slices.Values(actions)), want) {
		t.Errorf("asked for %v, want %v", actions, want)
	}
}
