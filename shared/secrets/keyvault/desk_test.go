package keyvault_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/fake/fault"
	fake "github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/keyvault"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

var key = secrets.Ref{Name: "key"}

// watched calls a function after each request of a store.
type watched struct {
	next  http.RoundTripper
	after func(*http.Request)
}

func (w watched) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	w.after(request)
	return response, err
}

func candidate(n int, text string) secrets.Candidate {
	return secrets.Candidate{Cycle: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Value: secrets.NewValue(text)}
}

func (w *world) plain() *keyvault.Store { return w.store(w.options.Transport, 0) }

// turn stages a version and promotes it.
func (w *world) turn(store *keyvault.Store, candidate secrets.Candidate) secrets.Version {
	w.t.Helper()
	staged, err := store.Stage(w.t.Context(), key, candidate)
	if err != nil {
		w.t.Fatal(err)
	}
	now, err := store.Inspect(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	promoted, err := store.Promote(w.t.Context(), key, secrets.Promotion{To: staged.ID, From: now.Current.ID})
	if err != nil {
		w.t.Fatal(err)
	}
	return promoted
}

func TestNoReaderSeesAStagedVersionAtAnyTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(fake.Secret{Name: "key", Text: "one"})
	w.put(fake.Secret{Name: "key", Text: "two"})
	store := w.store(watched{w.options.Transport, func(r *http.Request) { w.want("after "+r.Method+" "+r.URL.Path, "key", "two one") }}, 0)
	for n := range 2 {
		staged, err := store.Stage(t.Context(), key, candidate(n, "three"))
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Drop(t.Context(), key, staged.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestThePreviousVersionIsTheOneThatWasReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const none = "(there is no previous version)"
	store := w.plain()
	w.put(fake.Secret{Name: "key", Text: "one"})
	two := w.put(fake.Secret{Name: "key", Text: "two"})
	// All that follows happens in one second, of which the service tells no parts.
	three := w.turn(store, candidate(3, "three"))
	w.want("a first rotation", "key", "three two")
	w.turn(store, candidate(4, "four"))
	w.want("a second one", "key", "four three")
	w.turn(store, candidate(5, "five"))
	w.want("a third one", "key", "five four")
	if err := store.Drop(t.Context(), key, three.ID); err != nil {
		t.Error(err)
	}
	w.want("when an older one is dropped", "key", "five four")
	now, err := store.Inspect(t.Context(), key)
	if err != nil || now.Previous.Cycle != candidate(4, "").Cycle {
		t.Fatalf("the inventory is %+v, error %v", now, err)
	}
	if err := store.Drop(t.Context(), key, now.Previous.ID); err != nil {
		t.Error(err)
	}
	// The one before that still works in the vault, but for all that anybody knows its credential is long gone.
	w.want("when the previous one is dropped", "key", "five "+none)
	w.operate("PATCH", "key/"+two+` {"attributes":{"enabled":true}}`)
	w.want("with an old one enabled", "key", "five "+none)
}

func TestOfTwoVersionsOfOneSecondBothSeeTheSame(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		w, now := newWorld(t), time.Now()
		one := w.server.Seed(fake.Secret{Name: "key", Text: "one", Created: now})
		current := w.server.Seed(fake.Secret{Name: "key", Text: "two", Created: now})
		if n%2 == 1 {
			w.operate("PATCH", "key/"+current+` {"attributes":{"enabled":false}}`)
			current = one
		}
		got, err := w.plain().Inspect(t.Context(), key)
		read, readErr := w.reader.Current(t.Context(), key)
		if err != nil || readErr != nil || got.Current.ID != current || read.Version != current {
			t.Errorf("the store has %q and the reader %q, want %q, errors %v and %v", got.Current.ID, read.Version, current, err, readErr)
		}
	}
}

func TestTheTagsOfOthersStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := w.enter("key", `{"value":"one","contentType":"text/plain","tags":{"team":"a","cost":"b"}}`)
	store := w.plain()
	promoted := w.turn(store, candidate(1, "two"))
	got := w.tell("GET", "key", "")
	staged := got.Tags["postern-from"]
	want := map[string]string{"team": "a", "cost": "b", "postern-cycle": candidate(1, "").Cycle, "postern-from": staged, "postern-previous": from}
	if diff := cmp.Diff(want, got.Tags); diff != "" || got.Value != "two" || got.ContentType != "text/plain" || !strings.HasPrefix(staged, "pending/") {
		t.Errorf("got %+v: %s", got, diff)
	}
	// Back to a version that somebody else has made.
	if _, err := store.Promote(t.Context(), key, secrets.Promotion{To: from, From: promoted.ID}); err != nil {
		t.Error(err)
	}
	want = map[string]string{"team": "a", "cost": "b", "postern-from": from, "postern-previous": promoted.ID}
	if got := w.tell("GET", "key", ""); got.Value != "one" || cmp.Diff(want, got.Tags) != "" {
		t.Errorf("got %+v: %s", got, cmp.Diff(want, got.Tags))
	}

	var tags []string
	for n := range 13 {
		tags = append(tags, fmt.Sprintf(`"t%d":""`, n))
	}
	current := w.enter("key", `{"value":"three","tags":{`+strings.Join(tags, ",")+`}}`)
	waiting, err := store.Stage(t.Context(), key, candidate(2, "four"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Promote(t.Context(), key, secrets.Promotion{To: waiting.ID, From: current})
	if want := `promote secret "key": it has 13 tags, and a rotation needs 3 of the 15 that there can be; remove some`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := w.tell("GET", "key", ""); got.Value != "three" {
		t.Errorf("got %+v", got)
	}
}

func TestWhatAnOperatorStagesIsPromotedAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from, store := w.enter("key", `{"value":"one","tags":{"team":"a"}}`), w.plain()
	expires := time.Now().Add(time.Hour).Unix()
	w.enter("key--pending", `{"value":"late","attributes":{"nbf":9999999999}}`)
	w.enter("key--pending", fmt.Sprintf(`{"value":"two","contentType":"x","tags":{"by":"me"},"attributes":{"exp":%d}}`, expires))
	now, err := store.Inspect(t.Context(), key)
	if err != nil || now.Staged.ID == "" || now.Staged.Cycle != "" {
		t.Fatalf("the inventory is %+v, error %v", now, err)
	}
	if value, err := store.Value(t.Context(), key, now.Staged.ID); err != nil || value.Reveal() != "two" {
		t.Errorf("its value is %q, error %v", value.Reveal(), err)
	}
	promoted, err := store.Promote(t.Context(), key, secrets.Promotion{To: now.Staged.ID, From: from})
	if err != nil || promoted.Cycle != "" {
		t.Errorf("got %+v and error %v", promoted, err)
	}
	got := w.tell("GET", "key", "")
	want := map[string]string{"team": "a", "by": "me", "postern-from": now.Staged.ID, "postern-previous": from}
	if got.Value != "two" || got.Attributes.Expires != expires || got.ContentType != "x" || cmp.Diff(want, got.Tags) != "" {
		t.Errorf("got %+v", got)
	}
	if now, err = store.Inspect(t.Context(), key); err != nil || now.Staged.ID != "" {
		t.Errorf("the inventory is %+v, error %v", now, err)
	}
}

func TestASlowRequestLeavesNothingStaged(t *testing.T) {
	t.Parallel()
	for n := range 8 { // which of two versions of one second is the first, only chance says
		end := []string{"promote", "drop"}[n%2]
		w := newWorld(t)
		from := w.put(fake.Secret{Name: "key", Text: "one"})
		store := w.plain()
		staged, err := store.Stage(t.Context(), key, candidate(1, "two"))
		if err != nil {
			t.Fatal(err)
		}
		// The same request arrives a second time, and then a stranger's.
		w.enter("key--pending", `{"value":"two","tags":{"postern-cycle":"`+candidate(1, "").Cycle+`"}}`)
		stranger := w.enter("key--pending", `{"value":"three"}`)
		if end == "drop" {
			err = store.Drop(t.Context(), key, staged.ID)
		} else {
			_, err = store.Promote(t.Context(), key, secrets.Promotion{To: staged.ID, From: from})
		}
		now, inspectErr := store.Inspect(t.Context(), key)
		if err != nil || inspectErr != nil || now.Staged.ID != "pending/"+stranger {
			t.Errorf("%s: the inventory is %+v, errors %v and %v", end, now, err, inspectErr)
		}
	}
}

func TestAPromotionThatWasCutOffIsEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := w.put(fake.Secret{Name: "key", Text: "one"})
	store := w.plain()
	staged, err := store.Stage(t.Context(), key, candidate(1, "two"))
	if err != nil {
		t.Fatal(err)
	}
	promotion := secrets.Promotion{To: staged.ID, From: from}
	w.server.Faults.Before("UpdateSecret").Set(fault.Fault{Hangup: true, Times: 1})
	if _, err := store.Promote(t.Context(), key, promotion); err == nil {
		t.Error("what is left to do is no error")
	}
	now, err := store.Inspect(t.Context(), key)
	if err != nil || now.Staged.ID != "" || now.Current.Cycle != candidate(1, "").Cycle {
		t.Errorf("the inventory is %+v, error %v", now, err)
	}
	// It is what the current version was made of.
	if err := store.Drop(t.Context(), key, staged.ID); !errors.Is(err, secrets.ErrConflict) {
		t.Errorf("dropping it gives %v", err)
	}
	again, err := store.Promote(t.Context(), key, promotion)
	if err != nil || again.ID != now.Current.ID {
		t.Errorf("got %+v and error %v", again, err)
	}
	if _, err := store.Value(t.Context(), key, staged.ID); !errors.Is(err, secrets.ErrUnusable) {
		t.Errorf("the staged version gives %v", err)
	}
	// The cycle has its version, wherever that is now.
	if version, err := store.Stage(t.Context(), key, candidate(1, "two")); err != nil || version.ID != now.Current.ID {
		t.Errorf("staged again it is %+v, error %v", version, err)
	}
}

func TestAnErrorOfAStoreSaysWhatToDo(t *testing.T) {
	t.Parallel()
	stage := func(w *world, ref secrets.Ref, text string) error {
		_, err := w.plain().Stage(t.Context(), ref, candidate(1, text))
		return err
	}
	for _, test := range []struct {
		name string
		do   func(w *world) error
		want string
	}{
		{"no right", func(w *world) error {
			w.denied.Store(setSecret, true)
			return stage(w, key, "two")
		}, `stage secret "key": this function's identity may not replace it; it needs Microsoft.KeyVault/vaults/secrets/setSecret/action, which the role Key Vault Secrets Officer on the vault has`},
		{"a name without room", func(w *world) error {
			return stage(w, secrets.Ref{Name: strings.Repeat("k", 119)}, "two")
		}, `stage secret "` + strings.Repeat("k", 119) + `": its name is too long to be rotated: --pending has to fit in after it, within 127 characters`},
		{"a value that is too large", func(w *world) error {
			return stage(w, key, strings.Repeat("x", 25<<10+1))
		}, `stage secret "key": the new version is larger than 25 KB, and Key Vault takes no more`},
		{"a deleted secret beside it", func(w *world) error {
			w.put(fake.Secret{Name: "key--pending", Text: "old"})
			w.operate("DELETE", "key--pending")
			return stage(w, key, "two")
		}, `stage secret "key": a deleted secret still has the name key--pending; recover or purge that`},
		{"a refusal", func(w *world) error {
			w.server.Faults.Before("SetSecret").Set(fault.Fault{Status: 400, Body: `{"error":{"code":"BadParameter","message":"` + secretstest.Canary + `"}}`})
			return stage(w, key, "two")
		}, `stage secret "key": Key Vault does not take this value or these tags`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.put(fake.Secret{Name: "key", Text: "one"})
			if err := test.do(w); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func FuzzStore(f *testing.F) {
	f.Add(200, `{"value":[{"id":"https://v/secrets/key/0123456789abcdef0123456789abcdef","attributes":{"created":1},"tags":{"postern-cycle":"x","postern-previous":"y"}}]}`)
	f.Add(200, `{"id":"https://v/secrets/key/0123456789abcdef0123456789abcdef","value":"one","attributes":{"enabled":true}}`)
	f.Add(403, `{"error":{"code":"Forbidden","message":"x","innererror":{"code":"SecretDisabled"}}}`)
	f.Add(409, `{"error":{"code":"Conflict","message":"x","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 || status == http.StatusTooManyRequests {
			return
		}
		store, err := keyvault.NewStore(keyvault.Options{Vault: "https://v", Authorizer: &issuer{}, Transport: canned{status, body}})
		if err != nil {
			t.Fatal(err)
		}
		const id = "0123456789abcdef0123456789abcdef"
		_, inspected := store.Inspect(t.Context(), key)
		_, staged := store.Stage(t.Context(), key, candidate(1, "one"))
		_, promoted := store.Promote(t.Context(), key, secrets.Promotion{To: "pending/" + id, From: id})
		for _, err := range []error{inspected, staged, promoted, store.Drop(t.Context(), key, id)} {
			if told, ok := errors.AsType[*secrets.Error](err); err != nil && (!ok || told.Op == "" || len(body) > 12 && strings.Contains(err.Error(), body)) {
				t.Errorf("got %v", err)
			}
		}
	})
}
