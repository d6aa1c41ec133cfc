package gcpsecrets_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/gcpsecretmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/gcpsecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// watched calls a function before and after each request of a store.
type watched struct {
	before, after func(*http.Request)
}

func (w watched) RoundTrip(request *http.Request) (*http.Response, error) {
	if w.before != nil {
		w.before(request)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if w.after != nil {
		w.after(request)
	}
	return response, err
}

func candidate(n int, text string) secrets.Candidate {
	return secrets.Candidate{Cycle: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Value: secrets.NewValue(text)}
}

// stage stages a version that can be, and returns its id.
func (w *world) stage(store *gcpsecrets.Store, name string, candidate secrets.Candidate) string {
	w.t.Helper()
	version, err := store.Stage(w.t.Context(), secrets.Ref{Name: name}, candidate)
	if err != nil {
		w.t.Fatal(err)
	}
	return version.ID
}

// states returns the states of all versions, the newest first.
func (w *world) states(name string) string {
	w.t.Helper()
	var list struct {
		Versions []struct{ State string }
	}
	w.call("GET", name+"/versions", &list)
	var states []string
	for _, v := range list.Versions {
		states = append(states, v.State)
	}
	return strings.Join(states, " ")
}

func TestNoReaderSeesAStagedVersionAtAnyTime(t *testing.T) {
	t.Parallel()
	const none = "(there is no previous version)"
	for _, test := range []struct {
		name string
		put  func(w *world)
		want string
	}{
		{"one version", func(w *world) { w.put("key", "one") }, "1=one " + none},
		{"two versions", func(w *world) { w.put("key", "one"); w.put("key", "two") }, "2=two 1=one"},
		{"a newest version that is disabled", func(w *world) {
			w.put("key", "one")
			w.put("key", "two")
			w.operate("POST", "key/versions/2:disable {}")
		}, "1=one " + none},
		{"aliases", func(w *world) {
			w.put("key", "one")
			w.put("key", "two")
			w.put("key", "three")
			w.point("key", "2", "1")
			w.operate("POST", "key/versions/3:destroy {}")
		}, "2=two 1=one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gcpsecretmanager.Options{})
			test.put(w)
			w.want("at first", "key", test.want)
			store := w.store(watched{after: func(r *http.Request) { w.want("after "+r.Method+" "+r.URL.Path, "key", test.want) }}, 0)
			id := w.stage(store, "key", candidate(1, "staged"))
			// Another process may be cut off anywhere and begin anew.
			w.server.Faults.After("patch").Set(fault.Fault{Hangup: true, Times: 1})
			if err := store.Drop(t.Context(), secrets.Ref{Name: "key"}, id); err == nil {
				t.Error("a lost reply is no error")
			}
			if err := store.Drop(t.Context(), secrets.Ref{Name: "key"}, id); err != nil {
				t.Error(err)
			}
			w.want("at last", "key", test.want)
		})
	}
}

func TestTheFirstVersionOfASecretIsStagedToo(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"addVersion", "patch"} {
		for times := range 3 {
			w := newWorld(t, gcpsecretmanager.Options{})
			w.make("key")
			unread := func(when string) {
				t.Helper()
				for _, read := range []func() (secrets.Secret, error){
					func() (secrets.Secret, error) { return w.reader.Current(t.Context(), secrets.Ref{Name: "key"}) },
					func() (secrets.Secret, error) { return w.reader.Previous(t.Context(), secrets.Ref{Name: "key"}) },
				} {
					if got, err := read(); !errors.Is(err, secrets.ErrNotFound) {
						t.Errorf("%s a reader gets %q and error %v", when, got.Value.Reveal(), err)
					}
				}
			}
			store := w.store(watched{after: func(r *http.Request) { unread("after " + r.Method + " " + r.URL.Path) }}, 0)
			for range times {
				// A reply is lost, each time one request later.
				w.server.Faults.After(method).Set(fault.Fault{Hangup: true, Times: 1})
				_, _ = store.Stage(t.Context(), secrets.Ref{Name: "key"}, candidate(1, "first"))
			}
			w.server.Faults.After(method).Clear()
			id := w.stage(store, "key", candidate(1, "first"))
			got, err := store.Inspect(t.Context(), secrets.Ref{Name: "key"})
			if err != nil || got.Current.ID != "" || got.Previous.ID != "" || got.Staged.ID != id {
				t.Errorf("the inventory is %+v, error %v", got, err)
			}
			store = w.store(nil, 0)
			if _, err := store.Promote(t.Context(), secrets.Ref{Name: "key"}, secrets.Promotion{To: id}); err != nil {
				t.Error(err)
			}
			w.want("when promoted", "key", id+"=first (there is no previous version)")
		}
	}
}

func TestOfTwoThatStageFirstOnePlaceIsLeft(t *testing.T) {
	t.Parallel()
	for at := 1; at < 16; at++ {
		w := newWorld(t, gcpsecretmanager.Options{})
		w.make("key")
		requests, ref := 0, secrets.Ref{Name: "key"}
		store := w.store(watched{before: func(*http.Request) {
			if requests++; requests == at {
				w.stage(w.store(nil, 0), "key", candidate(1, "first"))
			}
		}}, 0)
		id := w.stage(store, "key", candidate(1, "first"))
		if _, err := store.Promote(t.Context(), ref, secrets.Promotion{To: id}); err != nil {
			t.Error(err)
		}
		got, err := store.Inspect(t.Context(), ref)
		if err != nil || got.Current.ID != id || got.Previous.ID != "" || got.Staged.ID != "" {
			t.Errorf("when the other one stages before request %d, the inventory is %+v, error %v, and the versions are %s", at, got, err, w.states("key"))
		}
	}
}

func TestAStoreAsksNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("key", "one")
	var asked []string
	store, ref := w.store(watched{before: func(r *http.Request) {
		_, what, _ := strings.Cut(r.URL.Path, "/secrets/key")
		asked = append(asked, strings.TrimSpace(r.Method+" "+what))
	}}, 0), secrets.Ref{Name: "key"}
	want := func(step, want string) {
		t.Helper()
		if got := strings.Join(asked, ", "); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", step, got, want)
		}
		asked = nil
	}
	for range 2 {
		if _, err := store.Inspect(t.Context(), ref); err != nil {
			t.Error(err)
		}
		want("inspect", "GET /versions, GET")
	}
	id := w.stage(store, "key", candidate(1, "two"))
	want("stage", "GET /versions, GET, GET /versions, GET /versions/2, PATCH, POST :addVersion, PATCH")
	if _, err := store.Promote(t.Context(), ref, secrets.Promotion{To: id, From: "1"}); err != nil {
		t.Error(err)
	}
	want("promote", "GET /versions, GET, PATCH")
	if err := store.Drop(t.Context(), ref, "1"); err != nil {
		t.Error(err)
	}
	want("drop", "GET /versions, GET, PATCH, GET /versions/1, POST /versions/1:destroy")
}

func TestWhatBelongsToOthersStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("key", "one")
	w.operate("PATCH", `key?updateMask=labels,annotations,versionAliases {"labels":{"team":"a"},"annotations":{"owner":"b"},"versionAliases":{"stable":"1"}}`)
	store, ref := w.store(nil, 0), secrets.Ref{Name: "key"}
	from := "1"
	for n := range 30 {
		id := w.stage(store, "key", candidate(n, fmt.Sprintf("text %d", n)))
		if _, err := store.Promote(t.Context(), ref, secrets.Promotion{To: id, From: from}); err != nil {
			t.Fatal(err)
		}
		from = id
	}
	var got struct{ Labels, Annotations, VersionAliases map[string]string }
	w.call("GET", "key", &got)
	want := got
	want.Labels = map[string]string{"team": "a"}
	want.VersionAliases = map[string]string{"stable": "1", "current": "31", "previous": "30"}
	want.Annotations = map[string]string{
		"owner": "b", "postern-seen": "31",
		"postern-version-31": "00000000-0000-4000-8000-000000000029", "postern-version-30": "00000000-0000-4000-8000-000000000028",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.operate("PATCH", `key?updateMask=annotations {"annotations":{"owner":"`+strings.Repeat("b", 16<<10-20)+`"}}`)
	_, err := store.Stage(t.Context(), ref, candidate(99, "next"))
	if err == nil || err.Error() != `stage secret "key": its annotations have no room for those of a rotation; remove some` {
		t.Errorf("got %v", err)
	}
}

func TestAChangeOfSomebodyElseIsNotInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("key", "one")
	changes := 0
	store := w.store(watched{before: func(r *http.Request) {
		if r.Method == http.MethodPatch && changes%2 == 0 {
			w.operate("PATCH", fmt.Sprintf(`key?updateMask=labels {"labels":{"n":"%d"}}`, changes))
		}
		changes++
	}}, 0)
	ref := secrets.Ref{Name: "key"}
	id := w.stage(store, "key", candidate(1, "two"))
	if _, err := store.Promote(t.Context(), ref, secrets.Promotion{To: id, From: "1"}); err != nil {
		t.Error(err)
	}
	w.want("at last", "key", "2=two 1=one")
	if got := w.states("key"); got != "ENABLED ENABLED" {
		t.Errorf("the versions are %s", got)
	}
	store = w.store(watched{before: func(r *http.Request) {
		if r.Method == http.MethodPatch {
			w.operate("PATCH", `key?updateMask=labels {"labels":{}}`)
		}
	}}, 0)
	_, err := store.Promote(t.Context(), ref, secrets.Promotion{To: "1", From: "2"})
	if !errors.Is(err, secrets.ErrConflict) || !strings.Contains(err.Error(), "somebody else keeps changing it") {
		t.Errorf("got %v", err)
	}
}

func TestWhatALostReplyLeavesIsToldFromAStrangersVersion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// meanwhile happens between the loss and the second call.
		meanwhile func(w *world)
		candidate secrets.Candidate
		want      string // what is staged, or the error
		states    string
	}{
		{"nothing else", func(*world) {}, candidate(1, "two"), "2", "ENABLED ENABLED"},
		{"the value arrives a second time", func(w *world) { w.put("key", "two") }, candidate(1, "two"), "2", "DESTROYED ENABLED ENABLED"},
		{"somebody adds another", func(w *world) { w.put("key", "other") }, candidate(1, "two"), "2", "ENABLED ENABLED ENABLED"},
		{"another value is staged", func(*world) {}, candidate(1, "three"), secrets.ErrConflict.Error(), "ENABLED ENABLED"},
		{"another cycle stages", func(*world) {}, candidate(2, "two"), secrets.ErrOccupied.Error(), "ENABLED ENABLED"},
		{"somebody takes it back", func(w *world) { w.operate("POST", "key/versions/2:destroy {}") }, candidate(1, "two"), "3", "ENABLED DESTROYED ENABLED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gcpsecretmanager.Options{})
			w.put("key", "one")
			store, ref := w.store(nil, 0), secrets.Ref{Name: "key"}
			w.server.Faults.After("addVersion").Set(fault.Fault{Status: 503, Times: 1})
			if _, err := store.Stage(t.Context(), ref, candidate(1, "two")); err == nil {
				t.Fatal("a lost reply is no error")
			}
			got, err := store.Inspect(t.Context(), ref)
			if err != nil || got.Staged.ID != "2" || got.Staged.Cycle != candidate(1, "").Cycle {
				t.Errorf("the inventory is %+v, error %v", got, err)
			}
			test.meanwhile(w)
			staged, err := store.Stage(t.Context(), ref, test.candidate)
			if err != nil {
				staged.ID = errors.Unwrap(err).Error()
			}
			if states := w.states("key"); staged.ID != test.want || states != test.states {
				t.Errorf("got %s, and the versions are %s", staged.ID, states)
			}
			w.want("for readers", "key", "1=one (there is no previous version)")
		})
	}
}

func TestAListThatLagsBehindHidesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("key", "one")
	ref := secrets.Ref{Name: "key"}
	w.server.Faults.After("addVersion").Set(fault.Fault{Hangup: true, Times: 1})
	if _, err := w.store(nil, 0).Stage(t.Context(), ref, candidate(1, "two")); err == nil {
		t.Fatal("a lost reply is no error")
	}
	w.server.Faults.Before("list").Set(fault.Fault{Status: 200, Body: `{"versions":[{"name":"projects/1/secrets/key/versions/1","state":"ENABLED"}]}`})
	store := w.store(nil, 0)
	if id := w.stage(store, "key", candidate(1, "two")); id != "2" {
		t.Errorf("it is added again, as version %s", id)
	}
	if _, err := store.Promote(t.Context(), ref, secrets.Promotion{To: "2", From: "1"}); err != nil {
		t.Error(err)
	}
	got, err := store.Inspect(t.Context(), ref)
	if err != nil || got.Current.ID != "2" || got.Previous.ID != "1" || got.Staged.ID != "" {
		t.Errorf("the inventory is %+v, error %v", got, err)
	}
	if id := w.stage(store, "key", candidate(2, "three")); id != "3" {
		t.Errorf("the next one is version %s", id)
	}
}

func TestOldVersionsAreNotStagedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	store, ref := w.store(nil, 0), secrets.Ref{Name: "key"}
	w.put("key", "one")
	staged := func(when, want string) {
		t.Helper()
		if got, err := store.Inspect(t.Context(), ref); err != nil || got.Staged.ID != want {
			t.Errorf("%s %q is staged, error %v, want %q", when, got.Staged.ID, err, want)
		}
	}
	promote := func(to, from string) {
		t.Helper()
		if _, err := store.Promote(t.Context(), ref, secrets.Promotion{To: to, From: from}); err != nil {
			t.Error(err)
		}
	}
	promote(w.stage(store, "key", candidate(2, "two")), "1")
	promote("1", "2") // back
	promote(w.stage(store, "key", candidate(3, "three")), "1")
	promote("1", "3") // back again
	staged("with 2 out of use and 3 before it", "")
	if err := store.Drop(t.Context(), ref, "3"); err != nil {
		t.Error(err)
	}
	staged("when 3 has been dropped", "")
	if got := w.states("key"); got != "DESTROYED ENABLED ENABLED" {
		t.Errorf("the versions are %s", got)
	}
	// An operator goes on by hand, and then puts one there for us to promote.
	w.put("key", "four")
	w.point("key", "4", "1")
	staged("with 4 in use", "")
	w.put("key", "five")
	w.put("key", "six")
	staged("with two new ones", "6")
}

func TestADestructionCanWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("key", "one")
	w.operate("PATCH", `key?updateMask=versionDestroyTtl {"versionDestroyTtl":"86400s"}`)
	store, ref := w.store(nil, 0), secrets.Ref{Name: "key"}
	id := w.stage(store, "key", candidate(1, "two"))
	for range 2 {
		if err := store.Drop(t.Context(), ref, id); err != nil {
			t.Error(err)
		}
	}
	if calls := w.server.Faults.Before("destroy").Calls(); calls != 1 || w.states("key") != "DISABLED ENABLED" {
		t.Errorf("after %d calls the versions are %s", calls, w.states("key"))
	}
	if got, err := store.Inspect(t.Context(), ref); err != nil || got.Staged.ID != "" {
		t.Errorf("the inventory is %+v, error %v", got, err)
	}
}

// direct hands requests to a handler without a network.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(request *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	d.handler.ServeHTTP(recorder, request)
	return recorder.Result(), nil
}

func TestARotationStaysWithinTheQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		server := gcpsecretmanager.New(gcpsecretmanager.Options{Quota: true, Member: i.member})
		server.Seed(gcpsecretmanager.Secret{Name: "key", Text: "one"})
		store, err := gcpsecrets.NewStore(gcpsecrets.Options{Project: "local-project", Authorizer: i, Transport: direct{server}})
		if err != nil {
			t.Fatal(err)
		}
		start, ref, from := time.Now(), secrets.Ref{Name: "key"}, "1"
		for n := range 5 {
			staged, err := store.Stage(t.Context(), ref, candidate(n, "text"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Promote(t.Context(), ref, secrets.Promotion{To: staged.ID, From: from}); err != nil {
				t.Fatal(err)
			}
			if err := store.Drop(t.Context(), ref, from); err != nil {
				t.Fatal(err)
			}
			from = staged.ID
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAnErrorOfAStoreNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gcpsecretmanager.Options{})
	w.put("key", "one")
	w.denied.Store("secretmanager.versions.add", true)
	_, err := w.store(nil, 0).Stage(t.Context(), secrets.Ref{Name: "key"}, candidate(1, secretstest.Canary))
	const want = `stage secret "key": this function's service account may not replace it; it needs secretmanager.versions.add on this secret`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func FuzzStore(f *testing.F) {
	f.Add(200, `{"etag":"\"1\"","versionAliases":{"current":"2"},"annotations":{"postern-intent":"00000000-0000-4000-8000-000000000001 2","postern-version-2":"x","postern-seen":"2"}}`)
	f.Add(200, `{"versions":[{"name":"projects/1/secrets/key/versions/2","state":"ENABLED","createTime":"2026-01-01T00:00:00Z"}],"nextPageToken":"1"}`)
	f.Add(200, `{"name":"projects/1/secrets/key/versions/3","state":"ENABLED","payload":{"data":"b25l","dataCrc32c":"1"}}`)
	f.Add(400, `{"error":{"code":400,"status":"FAILED_PRECONDITION","message":"x"}}`)
	f.Add(404, `{"error":{"code":404,"status":"NOT_FOUND","message":"x"}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 || status == http.StatusTooManyRequests {
			return
		}
		store, err := gcpsecrets.NewStore(gcpsecrets.Options{Project: "p", Authorizer: &issuer{}, Transport: canned{status, body}})
		if err != nil {
			t.Fatal(err)
		}
		ref, ctx := secrets.Ref{Name: "key"}, t.Context()
		_, inspected := store.Inspect(ctx, ref)
		_, staged := store.Stage(ctx, ref, candidate(1, "one"))
		_, promoted := store.Promote(ctx, ref, secrets.Promotion{To: "3", From: "2"})
		for _, err := range []error{inspected, staged, promoted, store.Drop(ctx, ref, "2")} {
			if told, ok := errors.AsType[*secrets.Error](err); err != nil && (!ok || told.Op == "" || len(body) > 12 && strings.Contains(err.Error(), body)) {
				t.Errorf("got %v", err)
			}
		}
	})
}
