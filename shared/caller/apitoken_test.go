package caller_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-ai/postern/localdev/apitoken"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// register is a list of API tokens, and its key, in a store that can be away.
type register struct {
	key   secrets.Value
	lines []config.APIToken
	away  error
}

func newRegister() *register { return &register{key: secrets.NewValue(strings.Repeat("0b", 32))} }

func (r *register) make(t testing.TB, of apitoken.Request) string {
	t.Helper()
	token, lines, err := apitoken.Create(r.lines, r.key, of)
	if err != nil {
		t.Fatal(err)
	}
	r.lines = lines
	return token.Reveal()
}

func (r *register) read(context.Context) (secrets.Value, error) {
	text, err := config.FormatAPITokens(r.lines)
	return secrets.NewValue(string(text)), errors.Join(err, r.away)
}

func (r *register) readKey(context.Context) (secrets.Value, error) { return r.key, nil }

func TestAPITokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := newRegister()
		token := list.make(t, apitoken.Request{Name: "ci", Groups: []string{"build"}, Life: time.Hour})
		other := list.make(t, apitoken.Request{Name: "notebook", Life: 2 * time.Hour})
		tokens := caller.NewAPITokens(list.read, list.readKey)
		check := func(what, text string, code caller.Code) {
			t.Helper()
			r := request(t, "Authorization", "Bearer "+text)
			_, err := tokens.Authenticate(r)
			if code == "" && err == nil {
				return
			}
			refused(t, r, err, code)
			if len(text) > 60 && (strings.Contains(err.Error(), text[:20]) || strings.Contains(err.Error(), text[21:])) {
				t.Errorf("%s: the error holds the token: %v", what, err)
			}
		}
		principal, err := tokens.Authenticate(request(t, "Authorization", "Bearer "+token))
		if err != nil {
			t.Fatal(err)
		}
		want := &caller.Principal{
			Method: caller.APIToken, Issuer: "postern:api_token", Subject: "ci", Name: "api-token/ci", Kind: caller.Workload, Client: token[4:20], Groups: []string{"build"}, Expires: time.Now().Add(time.Hour),
		}
		if diff := cmp.Diff(want, principal, cmpopts.EquateApproxTime(0)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		id, secret := token[4:20], token[21:]
		flipped := strings.Map(func(r rune) rune { return map[bool]rune{true: 'b', false: 'a'}[r == 'a'] }, secret[len(secret)-1:])
		for what, text := range map[string]string{
			"the secret of another token": "pst_" + id + "_" + other[21:],
			"another last character":      token[:len(token)-1] + flipped,
			"an id that is not there":     "pst_" + strings.Repeat("a", 16) + "_" + secret,
		} {
			check(what, text, caller.UnknownToken)
		}
		for what, text := range map[string]string{
			"no secret": "pst_" + id + "_", "no id": "pst__" + secret, "a shorter one": token[:len(token)-1], "a longer one": token + "a", "capital letters": "pst_" + strings.ToUpper(token[4:]),
			"a path": "pst_../../../../../../_" + secret, "its beginning alone": "pst_", "a third part": token + "_a",
		} {
			check(what, text, caller.Malformed)
		}
		time.Sleep(time.Hour - time.Second)
		check("in its last second", token, "")
		time.Sleep(time.Second)
		check("when it has expired", token, caller.Expired)
		check("another one, until it is revoked", other, "")
		list.lines, _ = apitoken.Revoke(list.lines, "notebook")
		check("another one, when it has been revoked", other, caller.UnknownToken)
		newer := list.make(t, apitoken.Request{Name: "notebook", Life: time.Hour})
		check("a new one", newer, "")
		list.key = secrets.NewValue(strings.Repeat("0c", 32))
		check("under another key", newer, caller.UnknownToken)
		list.key = secrets.NewValue("short")
		check("under a key that is none", newer, caller.Unavailable)
		list.away = errors.New("the store is away")
		check("while the list cannot be read", newer, caller.Unavailable)
	})
}

func TestAPITokensLeaveOtherCredentialsAlone(t *testing.T) {
	t.Parallel()
	list := newRegister()
	tokens := caller.NewAPITokens(list.read, list.readKey)
	for name, value := range map[string]string{"no credential": "", "a JWT": "Bearer a.b.c", "a provider's key": "Bearer sk-abc", "another prefix": "Bearer PST_abc", "another scheme": "Basic pst_abc"} {
		r := request(t)
		if value != "" {
			r = request(t, "Authorization", value)
		}
		if _, err := tokens.Authenticate(r); !errors.Is(err, caller.ErrNoCredential) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tokens.Authenticate(request(t, "Authorization", "Bearer pst_x", "Authorization", "Bearer a.b.c")); errors.Is(err, caller.ErrNoCredential) {
		t.Errorf("two headers: %v", err)
	}
}

func TestADocumentWithAPITokensWantsThem(t *testing.T) {
	t.Parallel()
	list := newRegister()
	token := list.make(t, apitoken.Request{Name: "ci", Life: time.Hour})
	document := &config.Document{Callers: accepting(), APITokens: &config.APITokens{}}
	by := caller.New(document, caller.Options{APITokens: list.read, APITokenKey: list.readKey})
	if principal, err := by.Authenticate(request(t, "Authorization", "Bearer "+token)); err != nil || principal.Subject != "ci" {
		t.Errorf("got %+v, %v", principal, err)
	}
	without := caller.New(&config.Document{Callers: accepting()}, caller.Options{APITokens: list.read, APITokenKey: list.readKey})
	if _, err := without.Authenticate(request(t, "Authorization", "Bearer "+token)); err == nil {
		t.Error("a document without API tokens lets one in")
	}
}
