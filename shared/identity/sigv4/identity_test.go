package sigv4_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

// clean gives the test a process environment without any AWS setting. Such a test does not run in parallel.
func clean(t *testing.T) {
	t.Helper()
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	t.Setenv("AWS_REGION", "eu-central-1")
}

// container gives the test the settings of a container with a credentials endpoint.
func container(t *testing.T, token string) {
	t.Helper()
	clean(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/v1/credentials")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", token)
}

func sign(t *testing.T, signer *sigv4.Authorizer) (*http.Request, error) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://host/p", strings.NewReader("body"))
	return request, signer.Authorize(request)
}

func keyOf(request *http.Request) string {
	_, rest, _ := strings.Cut(request.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(rest, "/")
	return id
}

func wantPublic(t *testing.T, err error, want string) *identity.Error {
	t.Helper()
	failure, ok := errors.AsType[*identity.Error](err)
	if !ok || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want an identity error with %q", err, want)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the error quotes what the source answered: %v", err)
	}
	return failure
}

func TestHalfAKeyInTheEnvironmentIsAnErrorAndNotSkipped(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		env := lambda(session)
		delete(env, missing)
		_, err := sign(t, authorizer(t, sigv4.IdentityOptions{Getenv: environment(env), HTTP: silent(t)}))
		wantPublic(t, err, "without "+missing)
	}
}

func TestKeysThatDoNotFitIntoAHeaderAreRefused(t *testing.T) {
	t.Parallel()
	env := lambda(session)
	env["AWS_SESSION_TOKEN"] = "canary\nX-Evil: 1"
	_, err := sign(t, authorizer(t, sigv4.IdentityOptions{Getenv: environment(env), HTTP: silent(t)}))
	wantPublic(t, err, "do not fit into a header")
}

// process is an environment that changes.
type process struct {
	mu     sync.Mutex
	values map[string]string
}

func (p *process) getenv(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.values[name]
}

func (p *process) set(values map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.values = values
}

func TestRejectedKeysAreReadAgainFromTheEnvironment(t *testing.T) {
	t.Parallel()
	env := &process{values: lambda(session)}
	signer := authorizer(t, sigv4.IdentityOptions{Getenv: env.getenv})
	old, err := sign(t, signer)
	if err != nil {
		t.Fatal(err)
	}
	fresh := awsauth.Key{AccessKeyID: "ASIAFRESH", SecretAccessKey: "fresh-secret", SessionToken: "fresh-token"}
	env.set(lambda(fresh))
	if again, _ := sign(t, signer); keyOf(again) != session.AccessKeyID {
		t.Error("keys were read again although nobody rejected them")
	}
	signer.Rejected(old)
	renewed, err := sign(t, signer)
	if err != nil || keyOf(renewed) != fresh.AccessKeyID {
		t.Fatalf("got key %s and error %v, want the new key", keyOf(renewed), err)
	}
	if _, err := verify(t, renewed, fresh); err != nil {
		t.Error(err)
	}
	// A late answer to the old keys leaves the new ones alone.
	signer.Rejected(old)
	signer.Rejected(httptest.NewRequest(http.MethodGet, "/", nil))
	if again, _ := sign(t, signer); keyOf(again) != fresh.AccessKeyID {
		t.Error("the new keys were dropped")
	}
}

func TestContainerCredentialsAreFetchedOnceAndRenewedInTime(t *testing.T) {
	container(t, "letmein")
	synctest.Test(t, func(t *testing.T) {
		issuer := awscreds.New(awscreds.Options{AuthorizationToken: "letmein"})
		signer := authorizer(t, sigv4.IdentityOptions{HTTP: &http.Client{Transport: wire{credentialsOnly(issuer)}}})
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() {
				request, err := sign(t, signer)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := verifyWith(t, request, issuer.Lookup); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if got := issuer.Faults.Calls(); got != 1 {
			t.Errorf("%d calls for 1,000 cold requests, want 1", got)
		}

		first, _ := sign(t, signer)
		time.Sleep(56 * time.Minute)
		issuer.Faults.Set(fault.Fault{Status: 500, Body: "canary"})
		still, err := sign(t, signer)
		if err != nil || keyOf(still) != keyOf(first) {
			t.Errorf("got key %s and error %v, want the key that is still valid", keyOf(still), err)
		}
		issuer.Faults.Clear()
		time.Sleep(31 * time.Second)
		if renewed, err := sign(t, signer); err != nil || keyOf(renewed) == keyOf(first) {
			t.Errorf("got key %s and error %v, want a new key", keyOf(renewed), err)
		}
		// A day in the freezer.
		time.Sleep(24 * time.Hour)
		thawed, err := sign(t, signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifyWith(t, thawed, issuer.Lookup); err != nil {
			t.Error(err)
		}
		issuer.Revoke(keyOf(thawed))
		signer.Rejected(thawed)
		after, err := sign(t, signer)
		if err != nil || keyOf(after) == keyOf(thawed) {
			t.Errorf("got key %s and error %v, want one that was not revoked", keyOf(after), err)
		}
	})
}

// credentialsOnly answers for the credentials endpoint and refuses the question for a name.
func credentialsOnly(issuer http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Hostname() != "127.0.0.1" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		issuer.ServeHTTP(w, r)
	})
}

func verifyWith(t *testing.T, request *http.Request, lookup awsauth.Lookup) (awsauth.Key, error) {
	t.Helper()
	body, err := io.ReadAll(request.Body)
	if err != nil {
		t.Fatal(err)
	}
	return awsauth.Verifier{Service: "bedrock", Region: "eu-central-1", Keys: lookup}.Verify(request, body)
}

func TestShortLivedContainerCredentialsAreNotFetchedForEachRequest(t *testing.T) {
	container(t, "")
	synctest.Test(t, func(t *testing.T) {
		issuer := awscreds.New(awscreds.Options{Lifetime: 2 * time.Minute})
		signer := authorizer(t, sigv4.IdentityOptions{HTTP: &http.Client{Transport: wire{credentialsOnly(issuer)}}})
		for range 100 {
			if _, err := sign(t, signer); err != nil {
				t.Fatal(err)
			}
		}
		if got := issuer.Faults.Calls(); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

func TestAFailingCredentialsEndpointIsAClearErrorInTime(t *testing.T) {
	tests := []struct {
		name      string
		fault     fault.Fault
		lifetime  time.Duration
		want      string
		retryable bool
	}{
		{"it refuses", fault.Fault{Status: 401, Body: `{"code":"canary body","message":"canary"}`, Header: http.Header{"Content-Type": {"application/json"}}}, 0, "status 401", false},
		{"it refuses with a code", fault.Fault{Status: 403, Body: `{"code":"AccessDenied","message":"canary"}`, Header: http.Header{"Content-Type": {"application/json"}}}, 0, "AccessDenied", false},
		{"it is overloaded", fault.Fault{Status: 429, Body: "canary"}, 0, "status 429", true},
		{"it is broken", fault.Fault{Status: 500, Body: "canary"}, 0, "status 500", true},
		{"it answers something else", fault.Fault{Status: 200, Body: "<canary>"}, 0, "cannot be fetched", true},
		{"it answers half", fault.Fault{Status: 200, Body: `{"AccessKeyId":"canary"}`}, 0, "incomplete", false},
		{"it redirects", fault.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/canary"}}}, 0, "cannot be fetched", true},
		{"it does not answer", fault.Fault{Delay: time.Hour}, 0, "timed out", true},
		{"its credentials have expired", fault.Fault{}, -time.Minute, "already expired", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			container(t, "")
			synctest.Test(t, func(t *testing.T) {
				issuer := awscreds.New(awscreds.Options{Lifetime: test.lifetime})
				issuer.Faults.Set(test.fault)
				signer := authorizer(t, sigv4.IdentityOptions{HTTP: &http.Client{Transport: wire{credentialsOnly(issuer)}, Timeout: 2500 * time.Millisecond,
					CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}})
				start := time.Now()
				_, err := sign(t, signer)
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("took %v", took)
				}
				if failure := wantPublic(t, err, test.want); failure.Retryable != test.retryable {
					t.Errorf("retryable is %v", failure.Retryable)
				}
				if got := issuer.Faults.Calls(); got != 1 {
					t.Errorf("%d attempts, want 1: trying again is for the next request", got)
				}
				// What is left of the SDK's own attempt has ended by now.
				time.Sleep(3 * time.Second)
			})
		})
	}
}

func TestAMissingIdentityNamesWhatWasLookedForWithoutTouchingTheNetwork(t *testing.T) {
	clean(t)
	signer := authorizer(t, sigv4.IdentityOptions{HTTP: silent(t)})
	for range 10 {
		_, err := sign(t, signer)
		failure := wantPublic(t, err, "AWS_ACCESS_KEY_ID")
		for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "role"} {
			if !strings.Contains(failure.Public, name) {
				t.Errorf("%q does not name %s", failure.Public, name)
			}
		}
	}
}

func TestTheInstanceMetadataServiceIsAskedOnlyWhenThatIsSpelledOut(t *testing.T) {
	for value, want := range map[string]bool{"": false, "true": false, "false": true} {
		t.Run(fmt.Sprintf("AWS_EC2_METADATA_DISABLED=%s", value), func(t *testing.T) {
			clean(t)
			t.Setenv("AWS_EC2_METADATA_DISABLED", value)
			asked := false
			transport := wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = asked || r.URL.Hostname() == "169.254.169.254"
				w.WriteHeader(http.StatusServiceUnavailable)
			})}
			_, err := sign(t, authorizer(t, sigv4.IdentityOptions{HTTP: &http.Client{Transport: transport}}))
			text := "asked only when AWS_EC2_METADATA_DISABLED=false"
			if want {
				text = "the AWS credentials cannot be fetched (ec2imds GetMetadata), status 503"
			}
			if failure := wantPublic(t, err, text); failure.Retryable != want {
				t.Errorf("retryable is %v", failure.Retryable)
			}
			if asked != want {
				t.Errorf("asked: %v, want %v", asked, want)
			}
		})
	}
}

func TestTheMetadataServiceIsAskedAsTheEnvironmentSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, asked, err string }{
		{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6", "PUT fd00:ec2::254 GET fd00:ec2::254", "status 403"},
		{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "canary", "", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE has to be IPv4 or IPv6"},
		{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1", "PUT 127.0.0.1 GET 127.0.0.1", "status 403"},
		{"AWS_EC2_METADATA_V1_DISABLED", "true", "PUT 169.254.169.254", "ec2imds"},
	} {
		asked := ""
		client := &http.Client{Transport: wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = strings.TrimSpace(asked + " " + r.Method + " " + r.URL.Hostname())
			w.WriteHeader(http.StatusForbidden)
		})}}
		_, err := sign(t, authorizer(t, sigv4.IdentityOptions{Getenv: environment(map[string]string{"AWS_EC2_METADATA_DISABLED": "false", c.name: c.value}), HTTP: client}))
		wantPublic(t, err, c.err)
		if asked != c.asked {
			t.Errorf("%s=%s: asked %q, want %q", c.name, c.value, asked, c.asked)
		}
	}
}

func TestSharedFilesAreUsedAndTheirErrorsAreNotQuoted(t *testing.T) {
	clean(t)
	file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = AKIASHARED\naws_secret_access_key = shared-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, report := identity.WithReport(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", nil)
	if err := authorizer(t, sigv4.IdentityOptions{}).Authorize(request); err != nil {
		t.Fatal(err)
	}
	if got := report.Principal(); got != (identity.Principal{Name: "access key AKIASHARED", Source: "shared config"}) {
		t.Errorf("noted %+v", got)
	}
	t.Setenv("AWS_PROFILE", "canary-profile")
	_, err := sign(t, authorizer(t, sigv4.IdentityOptions{HTTP: silent(t)}))
	wantPublic(t, err, "AWS_PROFILE")
}

func TestReplacedCredentialsAreReportedByTheirKeyIDs(t *testing.T) {
	t.Parallel()
	var got []string
	env := &process{values: lambda(session)}
	signer := authorizer(t, sigv4.IdentityOptions{Getenv: env.getenv,
		OnReplace: func(_ context.Context, r identity.Replacement[identity.Principal]) {
			got = append(got, fmt.Sprint(r))
		}, HTTP: offline()})
	old, _ := sign(t, signer)
	env.set(lambda(awsauth.Key{AccessKeyID: "ASIAFRESH", SecretAccessKey: "s", SessionToken: "t"}))
	signer.Rejected(old)
	if _, err := sign(t, signer); err != nil {
		t.Fatal(err)
	}
	want := "[{{access key ASIASESSION lambda environment} {access key ASIAFRESH lambda environment} rejected}]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestUpstreamsShareOneIdentity(t *testing.T) {
	t.Parallel()
	var calls int
	who := sigv4.NewIdentity(sigv4.IdentityOptions{HTTP: offline(), Getenv: environment(nil), Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		calls++
		return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "s"}, nil
	})})
	for _, region := range []string{"eu-central-1", "us-east-1"} {
		signer, err := sigv4.New(sigv4.Options{Service: "bedrock", Region: region, Identity: who})
		if err != nil {
			t.Fatal(err)
		}
		request, err := sign(t, signer)
		if err != nil || !strings.Contains(request.Header.Get("Authorization"), "/"+region+"/bedrock/") {
			t.Errorf("got %q and error %v", request.Header.Get("Authorization"), err)
		}
	}
	if calls != 1 {
		t.Errorf("%d fetches for one identity, want 1", calls)
	}
}
