package redistokens

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

func testKeys(t testing.TB) keys {
	t.Helper()
	keys, err := parseKey(secrets.NewValue(strings.Repeat("ab", keyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func sample() entry {
	return entry{issued: time.UnixMilli(1_000_000), token: identity.Token{
		Value: secrets.NewValue("token"), Type: "Bearer", Expires: time.UnixMilli(4_600_000),
		Principal: identity.Principal{Name: "name", Source: "source"},
	}}
}

func TestASealedTokenOpensUnchanged(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	box, err := keys.seal("name", sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.open("name", box)
	if err != nil {
		t.Fatal(err)
	}
	equal := cmp.Comparer(func(a, b secrets.Value) bool { return a.Equal(b) })
	if diff := cmp.Diff(sample().token, got.token, equal); diff != "" || !got.issued.Equal(sample().issued) {
		t.Errorf("issued %v, and:\n%s", got.issued, diff)
	}
	again, err := keys.seal("name", sample())
	if err != nil || again == box {
		t.Errorf("sealed twice it is the same; error %v", err)
	}
}

func TestAnyOtherByteMakesASealedTokenUnusable(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	box, err := keys.seal("name", sample())
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(box) {
		changed := []byte(box)
		changed[i] ^= 1
		if _, err := keys.open("name", string(changed)); err == nil {
			t.Errorf("byte %d does not matter", i)
		}
		if _, err := keys.open("name", box[:i]); err == nil {
			t.Errorf("%d bytes of it are enough", i)
		}
	}
}

func TestASealedTokenThatFitsIntoNoHeaderIsUnusable(t *testing.T) {
	t.Parallel()
	keys, e := testKeys(t), sample()
	e.token.Value = secrets.NewValue("a\r\nb")
	box, err := keys.seal("name", e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.open("name", box); err == nil {
		t.Error("it opens")
	}
}

// FuzzOpen proves that nothing opens but what was sealed. Each process of a fuzz test seals its own box, which another takes for a seed, so what
// opens is known by what is in it.
func FuzzOpen(f *testing.F) {
	keys, want := testKeys(f), sample()
	box, err := keys.seal("name", want)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(box)
	f.Add(box[1:])
	f.Add("\x01")
	f.Fuzz(func(t *testing.T, data string) {
		e, err := keys.open("name", data)
		if err == nil && (!e.token.Value.Equal(want.token.Value) || e.token.Principal != want.token.Principal || !e.token.Expires.Equal(want.token.Expires)) {
			t.Errorf("%q opens, and holds %v", data, e.token.Principal)
		}
	})
}
