package sigv4_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

const admin = "arn:aws:iam::444455556666:role/admin"

// account is a function's role gateway that may assume reader, and reader, which may assume writer and admin.
type account struct {
	platform *awscreds.Server
	sts      *sts.Server
	env      *process
}

func newAccount() *account {
	a := &account{platform: awscreds.New(awscreds.Options{Role: "gateway", Lifetime: 48 * time.Hour})}
	a.sts = sts.NewWith(sts.Options{Keys: a.platform.Lookup, Region: "eu-central-1", Roles: []sts.Role{
		{ARN: reader, Trust: []sts.Trust{{Principals: []string{"arn:aws:iam::123456789012:role/gateway"}, ExternalID: "external-1", TagSession: true, SetSourceIdentity: true}}},
		{ARN: writer, Trust: []sts.Trust{{Principals: []string{"arn:aws:iam::111122223333:role/reader"}, TagSession: true, SetSourceIdentity: true}}},
		{ARN: admin, Trust: []sts.Trust{{Principals: []string{"arn:aws:iam::111122223333:role/reader"}, TagSession: true, SetSourceIdentity: true}}},
	}})
	a.env = &process{values: lambda(a.platform.Issue())}
	return a
}

func (a *account) options() sigv4.RolesOptions {
	return sigv4.RolesOptions{STSOptions: sigv4.STSOptions{Getenv: a.env.getenv, HTTP: &http.Client{Transport: wire{a.sts}}}}
}

func (a *account) assume(t *testing.T, options sigv4.RolesOptions, chain ...sigv4.Role) *sigv4.Authorizer {
	t.Helper()
	roles, err := sigv4.NewRoles(options)
	if err != nil {
		t.Fatal(err)
	}
	return assume(t, roles, chain...)
}

func assume(t *testing.T, roles *sigv4.Roles, chain ...sigv4.Role) *sigv4.Authorizer {
	t.Helper()
	who, err := roles.Assume(chain...)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := sigv4.New(sigv4.Options{Service: "bedrock", Region: "eu-central-1", Identity: who})
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// session is what STS knows of who signed a request.
func (a *account) session(t *testing.T, request *http.Request) sts.Session {
	t.Helper()
	key, err := verifyWith(t, request, a.sts.Lookup)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := a.sts.Session(key.AccessKeyID)
	if !ok {
		t.Fatalf("signed by %s, which is no session of STS", key.ARN)
	}
	return got
}

func first() sigv4.Role {
	return sigv4.Role{ARN: reader, ExternalID: "external-1", SessionName: "one", SourceIdentity: "alice",
		Tags: map[string]string{"team": "ml ops", "stage": ""}, TransitiveTags: []string{"team"}}
}

func bubble(t *testing.T, run func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, run)
}

func TestAChainOfRolesSignsAsItsLastRole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		signer := a.assume(t, a.options(), first(), sigv4.Role{ARN: writer, Tags: map[string]string{"job": "chat"}})
		ctx, report := identity.WithReport(t.Context())
		request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", strings.NewReader("body"))
		if err := signer.Authorize(request); err != nil {
			t.Fatal(err)
		}
		got := a.session(t, request)
		if got.RoleARN != writer || got.SourceIdentity != "alice" || fmt.Sprint(got.Tags) != "map[job:chat team:ml ops]" || got.Name != "postern" {
			t.Errorf("signed by %+v", got)
		}
		if left := time.Until(got.Expires); left != time.Hour {
			t.Errorf("the session lasts %v", left)
		}
		// The answer of STS names the role, so nobody has to be asked.
		want := identity.Principal{Name: "arn:aws:sts::444455556666:assumed-role/writer/postern", Source: "assumed role"}
		synctest.Wait()
		if report.Principal() != want || a.sts.Calls("GetCallerIdentity") != 0 {
			t.Errorf("noted %+v after %d questions", report.Principal(), a.sts.Calls("GetCallerIdentity"))
		}
	})
}

func TestEachHopIsAssumedOnceForAllWhoShareIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		roles, err := sigv4.NewRoles(a.options())
		if err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		for range 500 {
			for _, last := range []string{writer, admin} {
				wait.Go(func() {
					request, err := sign(t, assume(t, roles, first(), sigv4.Role{ARN: last}))
					if err != nil {
						t.Error(err)
						return
					}
					if got := a.session(t, request).RoleARN; got != last {
						t.Errorf("signed as %s, want %s", got, last)
					}
				})
			}
		}
		wait.Wait()
		if got := a.sts.Calls("AssumeRole"); got != 3 {
			t.Errorf("%d roles were assumed for 1,000 cold requests, want 3", got)
		}
		// An hour later each is renewed, once.
		time.Sleep(time.Hour)
		for _, last := range []string{writer, admin} {
			if _, err := sign(t, assume(t, roles, first(), sigv4.Role{ARN: last})); err != nil {
				t.Error(err)
			}
		}
		if got := a.sts.Calls("AssumeRole"); got != 6 {
			t.Errorf("%d roles were assumed after an hour, want 6", got)
		}
	})
}

// TestSessionsDifferInEveryPartOfTheirIdentity has a row for each part, so that none can be left out of the key.
func TestSessionsDifferInEveryPartOfTheirIdentity(t *testing.T) {
	t.Parallel()
	a := newAccount()
	roles, err := sigv4.NewRoles(a.options())
	if err != nil {
		t.Fatal(err)
	}
	same := func(change func(*sigv4.Role)) *sigv4.Identity {
		t.Helper()
		role := first()
		if change != nil {
			change(&role)
		}
		who, err := roles.Assume(role)
		if err != nil {
			t.Fatal(err)
		}
		return who
	}
	asItIs := same(nil)
	if again := same(func(r *sigv4.Role) { r.Duration = time.Hour }); again != asItIs {
		t.Error("the same role twice has two sessions")
	}
	seen := map[*sigv4.Identity]string{asItIs: "the role as it is"}
	for name, change := range map[string]func(*sigv4.Role){
		"another role":                func(r *sigv4.Role) { r.ARN = writer },
		"another external id":         func(r *sigv4.Role) { r.ExternalID = "external-2" },
		"another session name":        func(r *sigv4.Role) { r.SessionName = "two" },
		"another source identity":     func(r *sigv4.Role) { r.SourceIdentity = "bob" },
		"another duration":            func(r *sigv4.Role) { r.Duration = 30 * time.Minute },
		"another value of a tag":      func(r *sigv4.Role) { r.Tags["team"] = "ml" },
		"another tag":                 func(r *sigv4.Role) { r.Tags["more"] = "" },
		"no transitive tag":           func(r *sigv4.Role) { r.TransitiveTags = nil },
		"another transitive tag":      func(r *sigv4.Role) { r.TransitiveTags = []string{"stage"} },
		"parts that join to the same": func(r *sigv4.Role) { r.ExternalID, r.SessionName = "external-1one", "on" },
	} {
		who := same(change)
		if before, ok := seen[who]; ok {
			t.Errorf("%s shares its session with %s", name, before)
		}
		seen[who] = name
	}
}

func TestARejectedSessionIsAssumedAnewAndTheHopsBeforeItStay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		var replaced []string
		options := a.options()
		options.OnReplace = func(_ context.Context, r identity.Replacement[identity.Principal]) {
			replaced = append(replaced, r.New.Name+" "+string(r.Reason))
		}
		signer := a.assume(t, options, first(), sigv4.Role{ARN: writer})
		old, err := sign(t, signer)
		if err != nil {
			t.Fatal(err)
		}
		a.sts.Revoke(keyOf(old))
		signer.Rejected(old)
		renewed, err := sign(t, signer)
		if err != nil || keyOf(renewed) == keyOf(old) || a.sts.Calls("AssumeRole") != 3 {
			t.Errorf("got key %s after %d calls: %v", keyOf(renewed), a.sts.Calls("AssumeRole"), err)
		}
		if want := "[arn:aws:sts::444455556666:assumed-role/writer/postern (access key " + keyOf(renewed) + ") rejected]"; fmt.Sprint(replaced) != want {
			t.Errorf("replaced %v, want %s", replaced, want)
		}
	})
}

func TestCredentialsThatEndedUnderAChainAreFetchedAnewOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		signer := a.assume(t, a.options(), first(), sigv4.Role{ARN: writer})
		one, err := sign(t, signer)
		if err != nil {
			t.Fatal(err)
		}
		// The platform's credentials and the middle of the chain die together, without having said so.
		a.platform.Revoke(a.env.getenv("AWS_ACCESS_KEY_ID"))
		for _, key := range a.keys(reader) {
			a.sts.Revoke(key)
		}
		a.env.set(lambda(a.platform.Issue()))
		signer.Rejected(one)
		two, err := sign(t, signer)
		if err != nil || a.session(t, two).RoleARN != writer {
			t.Fatalf("got %v", err)
		}
		// Without new credentials it is an error, and says which step failed.
		a.platform.Revoke(a.env.getenv("AWS_ACCESS_KEY_ID"))
		for _, key := range a.keys(reader) {
			a.sts.Revoke(key)
		}
		signer.Rejected(two)
		_, err = sign(t, signer)
		wantPublic(t, err, "cannot assume role "+reader)
		wantPublic(t, err, "InvalidClientTokenId")
	})
}

// keys lists the sessions of a role that have not been revoked.
func (a *account) keys(role string) []string {
	var keys []string
	for _, session := range a.sts.Sessions() {
		if session.RoleARN == role {
			keys = append(keys, session.AccessKeyID)
		}
	}
	return keys
}

func TestLongSessionsAreForThoseWhoAreNoRoleThemselves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		user := awsauth.Key{AccessKeyID: "AKIAUSER", SecretAccessKey: "user-secret", ARN: "arn:aws:iam::123456789012:user/alice", Account: "123456789012"}
		temporary := awsauth.Key{AccessKeyID: "ASIAUSER", SecretAccessKey: "s", SessionToken: "t", ARN: user.ARN, Account: user.Account}
		service := sts.NewWith(sts.Options{Region: "eu-central-1", Keys: func(id string) (awsauth.Key, bool) {
			return user, id == user.AccessKeyID
		}, Roles: []sts.Role{{ARN: reader, MaxSession: 12 * time.Hour, Trust: []sts.Trust{{Principals: []string{user.ARN}}}}}})
		where := sigv4.STSOptions{Getenv: environment(map[string]string{"AWS_REGION": "eu-central-1"}), HTTP: &http.Client{Transport: wire{service}}}
		from := func(key awsauth.Key) *sigv4.Identity {
			return sigv4.NewIdentity(sigv4.IdentityOptions{Credentials: static(key), Getenv: where.Getenv, HTTP: where.HTTP})
		}
		signer := (&account{}).assume(t, sigv4.RolesOptions{STSOptions: where, From: from(user)}, sigv4.Role{ARN: reader, Duration: 12 * time.Hour})
		if _, err := sign(t, signer); err != nil {
			t.Error(err)
		}
		signer = (&account{}).assume(t, sigv4.RolesOptions{STSOptions: where, From: from(temporary)}, sigv4.Role{ARN: reader, Duration: 12 * time.Hour})
		before := service.Faults.Calls()
		_, err := sign(t, signer)
		wantPublic(t, err, "with temporary credentials a session lasts at most 1 hour")
		if service.Faults.Calls() != before {
			t.Error("STS was asked")
		}
	})
}

func TestAChainThatCannotBeAssumedIsAClearErrorInTime(t *testing.T) {
	t.Parallel()
	refused := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: "<ErrorResponse><Error><Code>" + code + "</Code><Message>canary</Message></Error></ErrorResponse>"}
	}
	tests := []struct {
		name      string
		fault     fault.Fault
		want      string
		retryable bool
		calls     int
	}{
		{"it does not answer", fault.Fault{Delay: time.Hour}, "AWS STS does not answer: timed out", true, 1},
		{"it hangs up", fault.Fault{Hangup: true}, "AWS STS does not answer", true, 2},
		{"it is broken", refused(500, "InternalFailure"), "status 500, InternalFailure", true, 2},
		{"it is overloaded", refused(400, "Throttling"), "status 400, Throttling", true, 2},
		{"it limits the rate", refused(429, "TooManyRequests"), "status 429", true, 2},
		{"it refuses", refused(403, "AccessDenied"), "status 403, AccessDenied; the role's trust policy and the caller's own policy must both allow sts:AssumeRole, sts:TagSession, sts:SetSourceIdentity, and the trust policy must name this external id", false, 1},
		{"it finds the session too long", refused(400, "ValidationError"), "the role's maximum session duration must be at least 1h0m0s", false, 1},
		{"it is switched off", refused(403, "RegionDisabledException"), "switch it on or set another region", false, 1},
		{"its code is a message", refused(403, "canary message"), "answered with status 403", false, 1},
		{"it answers something else", fault.Fault{Status: 200, Body: "canary"}, "holds no credentials with an expiry", true, 1},
		{"its answer has no end", fault.Fault{Status: 200, Body: strings.Repeat("canary", 20<<10)}, "AnswerTooLarge", false, 1},
		{"its answer has no expiry", fault.Fault{Status: 200, Body: "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>canary</AccessKeyId><SecretAccessKey>canary</SecretAccessKey><SessionToken>canary</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>"}, "holds no credentials with an expiry", true, 1},
		{"its answer has no session token", fault.Fault{Status: 200, Body: "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>canary</AccessKeyId><SecretAccessKey>canary</SecretAccessKey><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"}, "holds no credentials with an expiry", true, 1},
		{"its session has ended", fault.Fault{Status: 200, Body: "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>canary</AccessKeyId><SecretAccessKey>canary</SecretAccessKey><SessionToken>canary</SessionToken><Expiration>1999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"}, "already expired", true, 1},
		{"it redirects", fault.Fault{Status: 307, Header: http.Header{"Location": {"https://evil.example/canary"}}}, "status 307", false, 1},
		{"this clock is ahead", fault.Fault{Status: 403, Body: "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>", Header: http.Header{"Date": {"Fri, 31 Dec 1999 23:50:00 GMT"}}}, "SignatureDoesNotMatch; this machine's clock is 10 minutes ahead of the service's", false, 1},
		{"this clock is behind", fault.Fault{Status: 403, Body: "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>", Header: http.Header{"Date": {"Sat, 01 Jan 2000 00:10:00 GMT"}}}, "this machine's clock is 10 minutes behind the service's", false, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := newAccount()
				a.sts.Faults.Set(test.fault)
				options := a.options()
				options.HTTP.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				signer := a.assume(t, options, first())
				start := time.Now()
				_, err := sign(t, signer)
				if took := time.Since(start); took >= 3*time.Second {
					t.Errorf("took %v", took)
				}
				if failure := wantPublic(t, err, test.want); failure.Retryable != test.retryable {
					t.Errorf("retryable is %v", failure.Retryable)
				}
				if got := a.sts.Faults.Calls(); got != test.calls {
					t.Errorf("%d attempts, want %d", got, test.calls)
				}
				time.Sleep(3 * time.Second)
			})
		})
	}
}

func TestAChainThatFailsWhileItsSessionIsValidGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		signer := a.assume(t, a.options(), first(), sigv4.Role{ARN: writer})
		old, err := sign(t, signer)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(57 * time.Minute)
		a.sts.Faults.Set(fault.Fault{Status: 500})
		if still, err := sign(t, signer); err != nil || keyOf(still) != keyOf(old) {
			t.Errorf("got key %s and error %v", keyOf(still), err)
		}
		a.sts.Faults.Clear()
		time.Sleep(time.Minute)
		if renewed, err := sign(t, signer); err != nil || keyOf(renewed) == keyOf(old) {
			t.Errorf("got key %s and error %v", keyOf(renewed), err)
		}
		// A night in the freezer.
		time.Sleep(9 * time.Hour)
		thawed, err := sign(t, signer)
		if err != nil {
			t.Fatal(err)
		}
		a.session(t, thawed)
	})
}

func TestAChainNeedsNoMoreThanItsFirstCallersTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		a.sts.Faults.Set(fault.Fault{Delay: 200 * time.Millisecond})
		signer := a.assume(t, a.options(), first(), sigv4.Role{ARN: writer})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		request := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://host/p", nil)
		start := time.Now()
		if err := signer.Authorize(request); err == nil || time.Since(start) != 300*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		// The chain was being assumed all the same, and is there for the next caller.
		time.Sleep(200 * time.Millisecond)
		if _, err := sign(t, signer); err != nil || time.Since(start) != 500*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if got := a.sts.Calls("AssumeRole"); got != 2 {
			t.Errorf("%d roles were assumed, want 2", got)
		}
	})
}

func TestWhoTellsTheNameAndTheEndOfAnIdentity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAccount()
		roles, err := sigv4.NewRoles(a.options())
		if err != nil {
			t.Fatal(err)
		}
		who, err := roles.Assume(first())
		if err != nil {
			t.Fatal(err)
		}
		principal, expires, err := who.Who(t.Context(), "")
		if err != nil || principal.Name != "arn:aws:sts::111122223333:assumed-role/reader/one" || time.Until(expires) != time.Hour {
			t.Errorf("got %+v until %v: %v", principal, expires, err)
		}
		own := sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: a.env.getenv, HTTP: a.options().HTTP})
		principal, expires, err = own.Who(t.Context(), "eu-central-1")
		if err != nil || principal != (identity.Principal{Name: "arn:aws:sts::123456789012:assumed-role/gateway/local", Source: "lambda environment"}) || !expires.IsZero() {
			t.Errorf("got %+v until %v: %v", principal, expires, err)
		}
		a.sts.Faults.Set(fault.Fault{Status: 403})
		if principal, _, err = own.Who(t.Context(), ""); err != nil || !strings.HasPrefix(principal.Name, "access key ASIA") {
			t.Errorf("got %+v: %v", principal, err)
		}
		none := sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: environment(map[string]string{"AWS_ACCESS_KEY_ID": "AKIA"}), HTTP: silent(t)})
		_, _, err = none.Who(t.Context(), "")
		wantPublic(t, err, "without AWS_SECRET_ACCESS_KEY")
	})
}
