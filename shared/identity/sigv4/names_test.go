package sigv4_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

// named returns an authorizer whose questions for a name go to the given STS.
func named(t *testing.T, env map[string]string, service http.Handler) *sigv4.Authorizer {
	t.Helper()
	return authorizer(t, sigv4.IdentityOptions{Getenv: environment(env), HTTP: &http.Client{Transport: wire{service}}})
}

func lambdaOf(issuer *awscreds.Server) map[string]string { return lambda(issuer.Issue()) }

func TestTheRolesNameIsLearnedBesideTheFirstRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := awscreds.New(awscreds.Options{Role: "gateway"})
		service := sts.New(issuer.Lookup, "eu-central-1")
		service.Faults.Set(fault.Fault{Delay: time.Second})
		env := lambdaOf(issuer)
		signer := named(t, env, service)
		ctx, report := identity.WithReport(t.Context())
		request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", nil)
		start := time.Now()
		if err := signer.Authorize(request); err != nil || time.Since(start) != 0 {
			t.Fatalf("got %v after %v, want no delay", err, time.Since(start))
		}
		if got := report.Principal(); got != (identity.Principal{Name: "access key " + env["AWS_ACCESS_KEY_ID"], Source: "lambda environment"}) {
			t.Errorf("noted %+v at first", got)
		}
		time.Sleep(2 * time.Second)
		want := identity.Principal{Name: "arn:aws:sts::123456789012:assumed-role/gateway/local", Source: "lambda environment"}
		if got := report.Principal(); got != want {
			t.Errorf("noted %+v in the end", got)
		}
		for range 100 {
			ctx, later := identity.WithReport(t.Context())
			if err := signer.Authorize(httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", nil)); err != nil || later.Principal() != want {
				t.Fatalf("noted %+v later: %v", later.Principal(), err)
			}
		}
		if got := service.Faults.Calls(); got != 1 {
			t.Errorf("%d questions, want 1", got)
		}
	})
}

func TestANameThatCannotBeLearnedIsAskedForThreeTimesAndNeverInTheWay(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]fault.Fault{
		"it does not answer":        {Delay: time.Hour},
		"it refuses":                {Status: 403, Body: "canary"},
		"it answers something else": {Status: 200, Body: "canary"},
		"it answers another name":   {Status: 200, Body: "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>canary\n</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"},
		"it redirects":              {Status: 307, Header: http.Header{"Location": {"https://evil.example/canary"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				issuer := awscreds.New(awscreds.Options{})
				service := sts.New(issuer.Lookup, "eu-central-1")
				service.Faults.Set(broken)
				env := lambdaOf(issuer)
				signer := named(t, env, service)
				for range 10 {
					ctx, report := identity.WithReport(t.Context())
					start := time.Now()
					if err := signer.Authorize(httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", nil)); err != nil || time.Since(start) != 0 {
						t.Fatalf("got %v after %v", err, time.Since(start))
					}
					time.Sleep(3 * time.Second)
					if got := report.Principal().Name; got != "access key "+env["AWS_ACCESS_KEY_ID"] {
						t.Errorf("noted %q", got)
					}
				}
				if got := service.Faults.Calls(); got > 3 && name != "it redirects" {
					t.Errorf("%d questions, want 3", got)
				}
			})
		})
	}
}

func TestTheQuestionForANameEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := awscreds.New(awscreds.Options{})
		ended := make(chan struct{})
		signer := named(t, lambdaOf(issuer), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(ended)
		}))
		reported, _ := identity.WithReport(t.Context())
		ctx, cancel := context.WithCancel(reported)
		if err := signer.Authorize(httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", nil)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("the question outlived the request")
		}
	})
}

func TestNobodyIsAskedForANameThatNobodyWantsToKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := awscreds.New(awscreds.Options{})
		service := sts.New(issuer.Lookup, "eu-central-1")
		if _, err := sign(t, named(t, lambdaOf(issuer), service)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := service.Faults.Calls(); got != 0 {
			t.Errorf("%d questions", got)
		}
	})
}

func TestTheQuestionGoesToTheRegionOrWhereItIsTold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, region, variable, endpoint, want string
	}{
		{"the region's endpoint", "eu-central-1", "", "", "https://sts.eu-central-1.amazonaws.com/"},
		{"a region in China", "cn-north-1", "", "", "https://sts.cn-north-1.amazonaws.com.cn/"},
		{"an endpoint for STS", "eu-central-1", "AWS_ENDPOINT_URL_STS", "http://127.0.0.1:4566", "http://127.0.0.1:4566/"},
		{"an endpoint for everything", "eu-central-1", "AWS_ENDPOINT_URL", "https://aws.example/", "https://aws.example/"},
		{"an endpoint that would carry the token over the network in the clear", "eu-central-1", "AWS_ENDPOINT_URL_STS", "http://sts.example", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				env := lambda(session)
				env[test.variable] = test.endpoint
				var got string
				who := sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: environment(env), HTTP: &http.Client{Transport: wire{http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					got = r.URL.String()
				})}}})
				signer, err := sigv4.New(sigv4.Options{Service: "bedrock", Region: test.region, Identity: who})
				if err != nil {
					t.Fatal(err)
				}
				ctx, _ := identity.WithReport(t.Context())
				if err := signer.Authorize(httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", nil)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got != test.want {
					t.Errorf("asked %q, want %q", got, test.want)
				}
			})
		})
	}
}
