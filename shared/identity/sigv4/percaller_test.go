package sigv4_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

// perCaller assumes reader for each caller.
func (a *account) perCaller(t *testing.T, role sigv4.Role) *sigv4.PerCaller {
	t.Helper()
	role.ARN, role.ExternalID = reader, "external-1"
	p, err := sigv4.NewPerCaller(sigv4.PerCallerOptions{
		Options: sigv4.Options{Service: "bedrock", Region: "eu-central-1"}, Roles: a.options(), Role: role,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func requestFor(t *testing.T, caller identity.Caller) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(identity.WithCaller(t.Context(), caller), http.MethodPost, "https://bedrock.eu-central-1.example/x", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEachCallerHasASessionOfItsOwn(t *testing.T) {
	t.Parallel()
	a := newAccount()
	p := a.perCaller(t, sigv4.Role{Tags: map[string]string{"team": "platform"}})
	for _, c := range []struct {
		caller       identity.Caller
		origin, tags string
	}{
		{identity.Caller{ID: "0123abcd"}, "0123abcd", "map[postern_caller_id:0123abcd team:platform]"},
		{identity.Caller{ID: "4567"}, "4567", "map[postern_caller_id:4567 team:platform]"},
		{identity.Caller{ID: "89", Name: "idp/Alice <a@example.com>"}, "idp_Alice__a@example.com_", "map[postern_caller:idp/Alice _a@example.com_ postern_caller_id:89 team:platform]"},
		{identity.Caller{ID: "8a", Name: "ü"}, "___", "map[postern_caller:_ postern_caller_id:8a team:platform]"},
		{identity.Caller{}, "postern", "map[team:platform]"},
	} {
		for range 2 { // the second time by the session that is kept
			r := requestFor(t, c.caller)
			if err := p.Authorize(r); err != nil {
				t.Fatal(err)
			}
			if got := a.session(t, r); got.SourceIdentity != c.origin || got.Name != c.origin || fmt.Sprint(got.Tags) != c.tags || got.RoleARN != reader {
				t.Errorf("%+v signed as %+v", c.caller, got)
			}
		}
	}
	if n := a.sts.Calls("AssumeRole"); n != 5 {
		t.Errorf("the role was assumed %d times for 5 callers", n)
	}
}

func TestARejectedSessionIsItsCallersAlone(t *testing.T) {
	t.Parallel()
	a := newAccount()
	p := a.perCaller(t, sigv4.Role{SessionName: "gateway"})
	one, two := requestFor(t, identity.Caller{ID: "11"}), requestFor(t, identity.Caller{ID: "22"})
	for _, r := range []*http.Request{one, two} {
		if err := p.Authorize(r); err != nil {
			t.Fatal(err)
		}
	}
	p.Rejected(one)
	for _, caller := range []identity.Caller{{ID: "11"}, {ID: "22"}} {
		r := requestFor(t, caller)
		if err := p.Authorize(r); err != nil {
			t.Fatal(err)
		}
		if got := a.session(t, r); got.Name != "gateway" || got.SourceIdentity != caller.ID {
			t.Errorf("%s signed as %+v", caller.ID, got)
		}
	}
	if n := a.sts.Calls("AssumeRole"); n != 3 {
		t.Errorf("the role was assumed %d times", n)
	}
}

func TestTheSessionsOfCallersAreBounded(t *testing.T) {
	t.Parallel()
	a := newAccount()
	p := a.perCaller(t, sigv4.Role{})
	sign := func(id int) {
		t.Helper()
		if err := p.Authorize(requestFor(t, identity.Caller{ID: fmt.Sprint("caller", id)})); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		sign(i)
		sign(0) // who is there all the time
	}
	if n := sigv4.Kept(p); n > 256 {
		t.Errorf("%d sessions are kept", n)
	}
	before := a.sts.Calls("AssumeRole")
	sign(0)
	if a.sts.Calls("AssumeRole") != before {
		t.Error("the session that is used most was dropped")
	}
	sign(1)
	if a.sts.Calls("AssumeRole") != before+1 {
		t.Error("the session that was used longest ago was not dropped")
	}
}

func TestRolesForCallersAreChecked(t *testing.T) {
	t.Parallel()
	for _, role := range []sigv4.Role{{ARN: reader, SourceIdentity: "alice"}, {ARN: "reader"}} {
		if _, err := sigv4.NewPerCaller(sigv4.PerCallerOptions{Options: sigv4.Options{Service: "bedrock", Region: "eu-central-1"}, Roles: newAccount().options(), Role: role}); err == nil {
			t.Errorf("%+v is accepted", role)
		}
	}
}
