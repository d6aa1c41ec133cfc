package identity_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
)

// These are the faults that gateways and their libraries have had with cloud identities. Others that belong here are tested where they
// would arise: a session token that is dropped, and a key and a secret from two places (sigv4, stored keys); model ARNs whose slashes are
// signed otherwise than sent (sigv4, signatures); a metadata server that is asked although a key is configured (googleid, ambient); tokens
// that outlive their end, expired ones after a thaw, herds, and first callers who go away (every direction, above).

func TestTokensAreKeptApartByScopeAndAudience(t *testing.T) {
	azure(t)
	synctest.Test(t, func(t *testing.T) {
		w := bubbleWorld(t)
		models, vault := bearer(w.functionApp("")), bearer(w.functionApp("https://vault.azure.net/.default"))
		for range 3 {
			for resource, authorizer := range map[string]identity.Authorizer{inference: models, "https://vault.azure.net": vault} {
				request := upstream(t.Context())
				if err := authorizer.Authorize(request); err != nil || !w.managed.Valid(token(request), resource) {
					t.Errorf("%s: the token is for something else: %v", resource, err)
				}
			}
		}
		wide := bearer(w.cloudRun())
		narrow := bearer(googleid.New(googleid.Options{Getenv: nowhere, HTTP: over(w.metadata), Scopes: []string{"https://www.googleapis.com/auth/pubsub"}}))
		one, two := upstream(t.Context()), upstream(t.Context())
		if err := errors.Join(wide.Authorize(one), narrow.Authorize(two)); err != nil || token(one) == token(two) {
			t.Errorf("two scopes share a token: %v", err)
		}
	})
}

func TestATokensOwnEndCountsAndNoAssumedHour(t *testing.T) {
	for _, lifetime := range []time.Duration{40 * time.Second, 10 * time.Minute, 59 * time.Minute, 8 * time.Hour} {
		each(t, func(t *testing.T, w *world, d direction) {
			w.google.SetLifetime(lifetime)
			w.entra.SetLifetime(lifetime)
			w.metadata.SetLifetime(lifetime)
			// Tokens that are shown to others for another token have to last until they are seen.
			w.managed.SetLifetime(max(lifetime, 5*time.Minute))
			authorizer := d.authorizer()
			for range 200 {
				d.authorize(t, authorizer)
				time.Sleep(lifetime / 20)
			}
		})
	}
}

func TestASecondEndIsNoticedLikeTheFirst(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		authorizer := d.authorizer()
		seen := map[string]bool{}
		for range 5 {
			seen[d.authorize(t, authorizer).Header.Get("Authorization")] = true
			time.Sleep(25 * time.Hour)
		}
		if len(seen) != 5 {
			t.Errorf("%d credentials in five days", len(seen))
		}
	})
}

func TestARenewalGoesOnAfterANetworkFailure(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		if len(d.issuers) == 0 {
			return // The environment does not fail.
		}
		authorizer := d.authorizer()
		d.authorize(t, authorizer)
		last := d.issuers[len(d.issuers)-1]
		last.Set(fault.Fault{Hangup: true})
		time.Sleep(25 * time.Hour)
		for range 10 {
			if err := authorizer.Authorize(upstream(t.Context())); err == nil {
				t.Error("a dead credential was used")
			}
			time.Sleep(30 * time.Second)
		}
		last.Clear()
		time.Sleep(30 * time.Second)
		d.authorize(t, authorizer)
	})
}

// TestARefreshWorksDuringAFailover has the request to the first upstream end, as it does when the gateway gives up on it, in the middle of
// the fetch that the second upstream's request then needs.
func TestARefreshWorksDuringAFailover(t *testing.T) {
	each(t, func(t *testing.T, _ *world, d direction) {
		for _, issuer := range d.issuers {
			issuer.Set(fault.Fault{Delay: 300 * time.Millisecond})
		}
		authorizer := d.authorizer()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := authorizer.Authorize(upstream(ctx)); len(d.issuers) > 0 && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first upstream's request got %v", err)
		}
		d.authorize(t, authorizer)
	})
}

func TestAFunctionsOwnEndpointIsAskedAndNoVirtualMachines(t *testing.T) {
	azure(t)
	synctest.Test(t, func(t *testing.T) {
		w := bubbleWorld(t)
		asked := map[string]int{}
		source := entra.New(entra.Options{AllowInstanceMetadata: true, HTTP: over(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			asked[r.URL.Host]++
			w.managed.ServeHTTP(rw, r)
		}))})
		if _, err := source.Token(t.Context()); err != nil || asked["169.254.169.254"] != 0 || len(asked) != 1 {
			t.Errorf("asked %v: %v", asked, err)
		}
	})
}

func TestSTSIsAskedInTheUpstreamsRegionAndNeverGlobally(t *testing.T) {
	t.Parallel()
	for want, where := range map[string]sigv4.STSOptions{
		"sts.eu-central-1.amazonaws.com": {Region: "eu-central-1", Getenv: nowhere},
		"sts.us-west-2.amazonaws.com":    {Getenv: func(name string) string { return map[string]string{"AWS_REGION": "us-west-2"}[name] }},
	} {
		var got string
		where.HTTP = over(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			got = r.Host
			rw.WriteHeader(http.StatusForbidden)
		}))
		provider := must(sigv4.NewWebIdentity(sigv4.WebIdentityOptions{STSOptions: where, RoleARN: fromGoogle, Token: identity.TokenFunc(func(context.Context) (identity.Token, error) {
			return identity.Token{Value: secrets.NewValue("t")}, nil
		})}))
		if _, err := provider.Retrieve(t.Context()); err == nil || got != want {
			t.Errorf("asked %s, want %s: %v", got, want, err)
		}
	}
}

// TestNoErrorHoldsWhatWasSent has token services that repeat the whole request in their refusal, in every field that a client might show.
func TestNoErrorHoldsWhatWasSent(t *testing.T) {
	azure(t)
	synctest.Test(t, func(t *testing.T) {
		w := bubbleWorld(t)
		var sent []string
		echo := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			said := string(body) + r.Header.Get("Authorization") + r.Header.Get("X-Amz-Security-Token") + r.Header.Get("X-Identity-Header")
			sent = append(sent, said)
			if form, err := url.ParseQuery(string(body)); err == nil {
				for _, name := range []string{"client_secret", "client_assertion", "subject_token", "assertion", "WebIdentityToken", "refresh_token"} {
					sent = append(sent, form.Get(name))
				}
			}
			quoted := strings.NewReplacer(`"`, `'`, `\`, ``, "<", "", ">", "", "&", "").Replace(said)
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(rw, `{"error":"`+quoted+`","error_description":"`+quoted+`","error_codes":[1],"message":"`+quoted+`"}`)
		})
		stored := func(context.Context) (secrets.Value, error) { return secrets.NewValue("canary-secret-of-an-app"), nil }
		assertion := w.cloudRun().IDTokens("a")
		roles := must(sigv4.NewRoles(sigv4.RolesOptions{STSOptions: sigv4.STSOptions{Getenv: w.getenv, HTTP: over(echo)}}))
		signer := must(sigv4.New(sigv4.Options{Service: "sts", Region: region, Identity: w.lambda()}))
		for name, authorizer := range map[string]identity.Authorizer{
			"an app with a secret":       bearer(must(entra.NewApp(entra.AppOptions{Tenant: managedid.Tenant, ClientID: appID, Secret: stored, HTTP: over(echo)}))),
			"an app with an assertion":   bearer(must(entra.NewApp(entra.AppOptions{Tenant: managedid.Tenant, ClientID: appID, Assertion: assertion, HTTP: over(echo)}))),
			"a managed identity":         bearer(entra.New(entra.Options{HTTP: over(echo)})),
			"federation with a token":    bearer(must(googleid.NewFederation(googleid.FederationOptions{Services: googleid.Services{HTTP: over(echo)}, Audience: azurePool, Subject: assertion}))),
			"federation from AWS":        bearer(must(googleid.NewFederation(googleid.FederationOptions{Services: googleid.Services{HTTP: over(echo)}, Audience: awsPool, AWS: signer, AWSRegion: region}))),
			"impersonation":              bearer(must(googleid.NewImpersonation(googleid.ImpersonationOptions{Services: googleid.Services{HTTP: over(echo)}, Source: w.cloudRun(), ServiceAccount: "a@b.iam.gserviceaccount.com"}))),
			"a chain of roles":           w.bedrock(must(roles.Assume(sigv4.Role{ARN: gateway}))),
			"a role by another's token":  w.bedrock(sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: nowhere, Credentials: must(sigv4.NewWebIdentity(sigv4.WebIdentityOptions{STSOptions: sigv4.STSOptions{Region: region, HTTP: over(echo)}, RoleARN: fromGoogle, Token: assertion}))})),
			"a token of AWS for another": bearer(must(sigv4.NewOutbound(sigv4.OutboundOptions{STSOptions: sigv4.STSOptions{Getenv: w.getenv, HTTP: over(echo)}, Audience: "a"}))),
		} {
			sent = nil
			err := authorizer.Authorize(upstream(t.Context()))
			if err == nil || len(sent) == 0 {
				t.Errorf("%s: got %v after %d requests", name, err, len(sent))
				continue
			}
			for _, secret := range sent {
				for len(secret) >= 16 {
					if strings.Contains(err.Error(), secret[:16]) {
						t.Errorf("%s: the error holds a part of what was sent: %v", name, err)
						break
					}
					secret = secret[16:]
				}
			}
		}
	})
}
