package ledgertest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/ledger"
)

// losses are the ways in which a reply does not arrive, or says nothing.
var losses = map[string]Broken{
	"the connection breaks":    {Hangup: true},
	"the store does not reply": {},
	"an internal error":        {Status: 500, Body: Canary},
	"an unavailable service":   {Status: 503, Body: "<html>" + Canary},
	"a gateway's timeout":      {Status: 504},
	"a request timeout":        {Status: 408},
	"a page of somebody else":  {Status: 200, Body: "<html>" + Canary},
}

func testLostReplies(t *testing.T, w World) {
	last := save(t, w.Ledger, ledger.Record{Data: content("0")})
	n := 0
	for name, loss := range losses {
		for _, after := range []bool{false, true} {
			for _, times := range []int{1, 2} {
				for _, on := range []Operation{Read, Write, Remove} {
					if loss.Status == 200 && on == Remove {
						continue // whoever answers a deletion with success has answered it
					}
					n++
					loss.On, loss.After, loss.Times = on, after, times
					last = survive(t, w, survival{loss: loss, last: last, name: name, n: n})
				}
			}
		}
	}
}

type survival struct {
	loss Broken
	last ledger.Record
	name string
	n    int
}

// survive goes through one loss and returns the record as it is then.
func survive(t *testing.T, w World, s survival) ledger.Record {
	t.Helper()
	data := content(strconv.Itoa(s.n))
	w.Break(s.loss)
	switch s.loss.On {
	case Remove:
		if err := w.Ledger.Delete(t.Context(), "key", s.last); err != nil {
			t.Fatalf("%s, after %v: delete: %v", s.name, s.loss.After, err)
		}
		w.Mend()
		return save(t, w.Ledger, ledger.Record{Data: data})
	case Read:
		want(t, w.Ledger, s.last)
		return save(t, w.Ledger, ledger.Record{Data: data, Revision: s.last.Revision})
	}
	saved, err := w.Ledger.Save(t.Context(), "key", ledger.Record{Data: data, Revision: s.last.Revision})
	if err != nil {
		t.Fatalf("%s, after %v, %d times: save: %v", s.name, s.loss.After, s.loss.Times, err)
	}
	want(t, w.Another, saved)
	return saved
}

func testUncertain(t *testing.T, w World) {
	first := save(t, w.Ledger, ledger.Record{Data: content("one")})
	for name, loss := range losses {
		if loss.Status == 200 {
			continue
		}
		for _, after := range []bool{false, true} {
			first, _ = w.Another.Load(t.Context(), "key")
			loss.On, loss.After, loss.Times = Write, after, 0
			w.Break(loss)
			w.Break(Broken{On: Read, Status: 503})
			_, err := w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("two"), Revision: first.Revision})
			if !errors.Is(err, ledger.ErrUncertain) || errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("%s: got %v", name, err)
			}
			wantTold(t, err)
			w.Mend()
			got, err := w.Another.Load(t.Context(), "key")
			if err != nil || (got.Revision != first.Revision) != after {
				t.Errorf("%s: the record went from %q to %q, error %v", name, first.Revision, got.Revision, err)
			}
		}
	}
	// What is certain to have had no effect is not in doubt.
	w.LoseIdentity(errors.New(Canary))
	_, err := w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("two"), Revision: first.Revision})
	wantPlain(t, err)
}

func testThrottled(t *testing.T, w World) {
	throttled := w.Throttled
	throttled.Times = 2
	last := ledger.Record{}
	for range 3 {
		throttled.On = Write
		w.Break(throttled)
		last = save(t, w.Ledger, ledger.Record{Data: content("one"), Revision: last.Revision})
		throttled.On = Read
		w.Break(throttled)
		want(t, w.Ledger, last)
	}
	throttled.On, throttled.Times = Write, 0
	w.Break(throttled)
	before := w.Calls()
	start := time.Now()
	_, err := w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("two"), Revision: last.Revision})
	if err == nil || errors.Is(err, ledger.ErrConflict) || errors.Is(err, ledger.ErrNotFound) || !strings.Contains(err.Error(), "throttl") {
		t.Fatalf("the error does not say why: %v", err)
	}
	wantTold(t, err)
	if calls, took := w.Calls()-before, time.Since(start); calls > 10 || took > 10*time.Second || took < time.Second {
		t.Errorf("it took %d requests and %v", calls, took)
	}
}

func testBroken(t *testing.T, w World) {
	save(t, w.Ledger, ledger.Record{Data: content("one")})
	for _, status := range []int{200, 301, 400, 401, 403, 404, 409, 412, 418, 429, 500, 503} {
		for _, body := range []string{"", "<html>" + Canary, `{"error":"` + Canary + `"}`, "null"} {
			w.Break(Broken{On: Read, Status: status, Body: body})
			_, err := w.Ledger.Load(t.Context(), "key")
			if err == nil {
				t.Errorf("%d %q is no error", status, body)
				continue
			}
			wantPlain(t, err)
		}
	}
	for _, status := range []int{301, 400, 401, 403, 404, 405, 418} {
		w.Mend()
		w.Break(Broken{On: Write, Status: status, Body: "<html>" + Canary})
		_, err := w.Ledger.Save(t.Context(), "other", ledger.Record{Data: content("one")})
		if err == nil {
			t.Errorf("%d is no error", status)
			continue
		}
		wantPlain(t, err)
	}
}

func testPlanted(t *testing.T, w World) {
	w.Plant("key")
	_, err := w.Ledger.Load(t.Context(), "key")
	wantPlain(t, err)
	if !strings.Contains(err.Error(), "not a record of this ledger") {
		t.Errorf("got %v", err)
	}
	if _, err = w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("one")}); err == nil {
		t.Error("it was overwritten")
	}
}

func testRedirect(t *testing.T, w World) {
	before := w.Calls()
	w.Break(Broken{On: Read, Status: 307, Header: http.Header{"Location": {"https://elsewhere.example/"}}})
	_, err := w.Ledger.Load(t.Context(), "key")
	wantPlain(t, err)
	if calls := w.Calls() - before; calls != 1 {
		t.Errorf("it took %d requests", calls)
	}
}

func testDenied(t *testing.T, w World) {
	saved := save(t, w.Ledger, ledger.Record{Data: content("one")})
	for _, on := range []Operation{Remove, Write, Read} {
		w.Deny(on)
		before := w.Calls()
		var err error
		switch on {
		case Read:
			_, err = w.Ledger.Load(t.Context(), "key")
		case Write:
			_, err = w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("two"), Revision: saved.Revision})
		case Remove:
			err = w.Ledger.Delete(t.Context(), "key", saved)
		}
		if err == nil || !strings.Contains(err.Error(), w.Permission[on]) {
			t.Errorf("got %v, want an error that names %s", err, w.Permission[on])
			continue
		}
		wantPlain(t, err)
		if calls := w.Calls() - before; calls != 1 {
			t.Errorf("it took %d requests", calls)
		}
	}
}

func testRejected(t *testing.T, w World) {
	saved := save(t, w.Ledger, ledger.Record{Data: content("one")})
	for range 3 {
		w.Expire()
		before := w.Calls()
		saved = save(t, w.Ledger, ledger.Record{Data: content("one"), Revision: saved.Revision})
		if calls := w.Calls() - before; calls != 2 {
			t.Errorf("it took %d requests", calls)
		}
		w.Expire()
		want(t, w.Another, saved)
	}
	w.Expire()
	if err := w.Ledger.Delete(t.Context(), "key", saved); err != nil {
		t.Error(err)
	}
}

func testNoIdentity(t *testing.T, w World) {
	w.LoseIdentity(errors.New("no identity " + Canary))
	_, err := w.Ledger.Load(t.Context(), "key")
	wantPlain(t, err)
	if !strings.Contains(err.Error(), "no credential of its own") || w.Calls() != 0 {
		t.Errorf("got %v after %d requests", err, w.Calls())
	}
}

func testGone(t *testing.T, w World) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Ledger.Load(ctx, "key")
	wantError(t, err, context.Canceled)
	_, err = w.Ledger.Save(ctx, "key", ledger.Record{Data: content("one")})
	wantError(t, err, context.Canceled)
	wantPlain(t, err)
	err = w.Ledger.Delete(ctx, "key", ledger.Record{Revision: "1"})
	wantError(t, err, context.Canceled)
	wantPlain(t, err)
	if n := w.Calls(); n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
}

func testGoes(t *testing.T, w World) {
	saved := save(t, w.Ledger, ledger.Record{Data: content("one")})
	for _, on := range []Operation{Read, Write, Remove} {
		w.Break(Broken{On: on, After: true})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		var err error
		switch on {
		case Read:
			_, err = w.Ledger.Load(ctx, "key")
		case Write:
			_, err = w.Ledger.Save(ctx, "key", ledger.Record{Data: content("two"), Revision: saved.Revision})
			wantError(t, err, ledger.ErrUncertain)
		case Remove:
			err = w.Ledger.Delete(ctx, "key", saved)
			wantError(t, err, ledger.ErrUncertain)
		}
		cancel()
		wantError(t, err, context.DeadlineExceeded)
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("the caller went after 100ms and was held up for %v", took)
		}
		w.Mend()
		saved, _ = w.Another.Load(t.Context(), "key")
	}
	synctest.Wait()
}
