package caller_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/apitoken"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

func TestExamineSaysWhatCallersAreCheckedWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := oidc.New(issuerURL)
		mint(t, issuer, oidc.Token{})
		list := newRegister()
		token := list.make(t, apitoken.Request{Name: "ci", Life: time.Hour})
		document := &config.Document{Callers: accepting(), APITokens: &config.APITokens{}, Fronts: config.Fronts{IAP: &config.IAP{Audiences: []string{"/projects/1"}}}}
		options := caller.Options{Cloud: config.AWS, APITokens: list.read, APITokenKey: list.readKey, Transport: direct{issuer}}
		look := func(want ...string) {
			t.Helper()
			findings := caller.Examine(t.Context(), document, options, 3*time.Second)
			if len(findings) != len(want) {
				t.Fatalf("got %+v", findings)
			}
			for i, f := range findings {
				text := f.Issuer + ": " + f.Have
				if f.Err != nil {
					text += f.Err.Error()
				}
				if !strings.HasPrefix(text, want[i]) || (f.Err == nil) != (f.Have != "") || strings.Contains(text, token) {
					t.Errorf("got %s, want %s", text, want[i])
				}
			}
		}
		look(issuerURL+": 1 keys", "postern:api_token: 1 tokens")
		issuer.Break(oidc.KeysPath, slow(time.Minute))
		list.away = errors.New("the store is away")
		start := time.Now()
		look(issuerURL+": keys of "+issuerURL+": context deadline exceeded", "postern:api_token: the store is away")
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("it took %s", took)
		}
		options.Cloud, document.APITokens = config.GCP, nil
		issuer.Break(oidc.KeysPath, down(503))
		look(issuerURL+": keys of "+issuerURL+": status 503", config.IAPIssuer+": keys of "+config.IAPIssuer+": status 404")
	})
}
