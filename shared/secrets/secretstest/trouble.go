package secretstest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

// losses are the ways in which a reply does not arrive, or says nothing.
func losses() map[string]trouble {
	json := http.Header{"Content-Type": {"application/json"}}
	return map[string]trouble{
		"the connection breaks":                        {lost: &Reply{Hangup: true}},
		"the connection breaks after the effect":       {lost: &Reply{Hangup: true}, after: true},
		"an internal error":                            {lost: &Reply{Status: 500, Header: json, Body: `{"error":{"message":"` + Canary + `"}}`}},
		"an internal error after the effect":           {lost: &Reply{Status: 500, Header: json, Body: `{"error":{"message":"` + Canary + `"}}`}, after: true},
		"a gateway's page":                             {lost: &Reply{Status: 502, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>" + Canary}},
		"a gateway's timeout after the effect":         {lost: &Reply{Status: 504}, after: true},
		"an unavailable service":                       {lost: &Reply{Status: 503, Header: json}},
		"a reply that is cut off, after the effect":    {lost: &Reply{Status: 200, Header: json, Body: `{"value":"` + Canary}, after: true},
		"a page of somebody else, after the effect":    {lost: &Reply{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>" + Canary}, after: true},
		"a reply without an end, after the effect":     {lost: &Reply{Status: 200, Header: json, Body: `{"value":"` + strings.Repeat(Canary, 1<<20/len(Canary))}, after: true},
		"a throttle of somebody else's, in plain text": {lost: &Reply{Status: 429, Header: http.Header{"Retry-After": {"0"}}, Body: Canary}},
	}
}

// perRequest goes through all requests of all steps: each time with a new secret, and with the trouble at that request.
func (w *world) perRequest(t *testing.T, coming trouble, test func(s step, name string, do call)) {
	t.Helper()
	for _, s := range steps() {
		_, do := s.prepare(t, w)
		w.line.plan(trouble{})
		if err := do(t.Context(), w.Store); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for at := range w.line.requests() {
			name, do := s.prepare(t, w)
			coming.at = at + 1
			w.line.plan(coming)
			test(s, name, do)
			w.line.plan(trouble{})
		}
	}
}

func testLost(t *testing.T, w *world) {
	for what, loss := range losses() {
		w.perRequest(t, loss, func(s step, name string, do call) {
			if err := do(t.Context(), w.Store); err != nil {
				wantOp(t, err, s.op)
				wantNothing(t, err)
			} else if !loss.after && loss.lost.Status != http.StatusTooManyRequests && w.line.met() {
				t.Errorf("%s: %s is no error", s.name, what)
			}
			w.line.plan(trouble{})
			if err := do(t.Context(), w.Store); err != nil {
				t.Errorf("%s, again after %s: %v", s.name, what, err)
			}
			w.see(t, name, s.after)
		})
	}
}

func testLostInTurn(t *testing.T, w *world) {
	for _, s := range steps() {
		for _, after := range []bool{false, true} {
			name, do := s.prepare(t, w)
			for at := 1; ; at++ {
				w.line.plan(trouble{at: at, lost: &Reply{Hangup: true}, after: after})
				err := do(t.Context(), w.Store)
				if err == nil {
					break
				}
				wantNothing(t, err)
				if at > 20 {
					t.Fatalf("%s comes to no end: %v", s.name, err)
				}
			}
			w.line.plan(trouble{})
			w.see(t, name, s.after)
		}
	}
}

func testThrottled(t *testing.T, w *world) {
	wantThrottled := func(s step, err error) {
		wantOp(t, err, s.op)
		wantError(t, err, "throttl", secrets.ErrThrottled)
		if err != nil {
			wantNothing(t, err)
		}
	}
	w.perRequest(t, trouble{lost: &w.Throttled}, func(s step, name string, do call) {
		// A store may also wait, and ask again: a throttled request had no effect.
		if err := do(t.Context(), w.Store); err != nil {
			wantThrottled(s, err)
		}
		w.line.plan(trouble{})
		if err := do(t.Context(), w.Store); err != nil {
			t.Errorf("%s, again: %v", s.name, err)
		}
		w.see(t, name, s.after)
	})
	var waiting []func()
	for _, s := range steps() {
		_, do := s.prepare(t, w)
		waiting = append(waiting, func() { wantThrottled(s, do(t.Context(), w.Store)) })
	}
	w.line.plan(trouble{lost: &w.Throttled})
	var group sync.WaitGroup
	for _, wait := range waiting {
		group.Go(wait)
	}
	group.Wait()
}

func testHangingStore(t *testing.T, w *world) {
	for _, s := range steps() {
		if !s.early {
			continue // its preparation could be given up
		}
		_, do := s.prepare(t, w)
		w.line.plan(trouble{lost: &Reply{Hang: true}})
		err := do(t.Context(), w.Store)
		wantOp(t, err, s.op)
		wantError(t, err, "timed out", context.DeadlineExceeded)
	}
}

func testStoreContext(t *testing.T, w *world) {
	for _, s := range steps() {
		name, do := s.prepare(t, w)
		before, err := w.Another.Inspect(t.Context(), w.Ref(name))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = do(ctx, w.Store)
		wantOp(t, err, s.op)
		wantError(t, err, "", context.Canceled)
		if after, err := w.Another.Inspect(t.Context(), w.Ref(name)); err != nil || after != before {
			t.Errorf("%s without a caller has an effect: %+v, error %v", s.name, after, err)
		}
	}
	// A caller may also go while the service is being asked.
	w.perRequest(t, trouble{}, func(s step, name string, do call) {
		ctx, cancel := context.WithCancel(t.Context())
		w.line.plan(trouble{at: w.line.trouble.at, meanwhile: cancel, lost: &Reply{Hang: true}})
		err := do(ctx, w.Store)
		if w.line.met() {
			wantOp(t, err, s.op)
			wantError(t, err, "", context.Canceled)
		}
		w.line.plan(trouble{})
		if err := do(t.Context(), w.Store); err != nil {
			t.Errorf("%s, again: %v", s.name, err)
		}
		w.see(t, name, s.after)
	})
}

// testStoreRedirect matters most where the request carries the new value.
func testStoreRedirect(t *testing.T, w *world) {
	elsewhere := Reply{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"https://elsewhere.example/"}}}
	w.perRequest(t, trouble{lost: &elsewhere}, func(s step, _ string, do call) {
		at := w.line.trouble.at
		err := do(t.Context(), w.Store)
		if !w.line.met() {
			return
		}
		wantOp(t, err, s.op)
		if n := w.line.requests(); n != at {
			t.Errorf("%s is redirected at request %d, and makes %d", s.name, at, n)
		}
	})
}

func testPermissions(t *testing.T, w *world) {
	if w.Deny == nil {
		t.Skip("rights cannot be taken away here")
	}
	for _, permission := range w.Permissions {
		refused := 0
		for _, s := range steps() {
			w.Deny()
			name, do := s.prepare(t, w)
			w.Deny(permission)
			err := do(t.Context(), w.Store)
			if err == nil {
				continue
			}
			refused++
			wantOp(t, err, s.op)
			wantError(t, err, permission, secrets.ErrDenied)
			wantNothing(t, err)
			w.Deny()
			if err := do(t.Context(), w.Store); err != nil {
				t.Errorf("%s, again with all rights: %v", s.name, err)
			}
			w.see(t, name, s.after)
		}
		if refused == 0 {
			t.Errorf("nothing needs %s", permission)
		}
	}
}

func testStoreExpired(t *testing.T, w *world) {
	if w.Expire == nil {
		t.Skip("credentials cannot be revoked here")
	}
	w.perRequest(t, trouble{meanwhile: w.Expire}, func(s step, name string, do call) {
		if err := do(t.Context(), w.Store); err != nil {
			t.Errorf("%s, with credentials that are revoked at request %d: %v", s.name, w.line.trouble.at, err)
		}
		w.see(t, name, s.after)
	})
	for _, s := range steps() {
		_, do := s.prepare(t, w)
		w.line.plan(trouble{meanwhile: w.Expire})
		err := do(t.Context(), w.Store)
		w.line.plan(trouble{})
		wantOp(t, err, s.op)
		if err != nil {
			wantNothing(t, err)
		}
	}
}

func testStoreNoIdentity(t *testing.T, w *world) {
	if w.LoseIdentity == nil {
		t.Skip("the identity cannot be lost here")
	}
	r := w.rotated()
	lost := errors.New("no identity " + Canary)
	w.LoseIdentity(lost)
	w.line.plan(trouble{})
	for op, err := range w.each(t.Context(), w.Ref(r.name), r.previous) {
		wantOp(t, err, op)
		wantError(t, err, "this function has no", lost)
	}
	if n := w.line.requests(); n != 0 {
		t.Errorf("%d requests were sent without a credential", n)
	}
}

func testManyAtOnce(t *testing.T, w *world) {
	var group sync.WaitGroup
	var all []rotation
	for range 8 {
		r := w.rotated()
		all = append(all, r)
		group.Go(func() {
			ref := w.Ref(r.name)
			staged, err := w.Store.Stage(t.Context(), ref, candidate(3))
			if err == nil {
				_, err = w.Store.Promote(t.Context(), ref, secrets.Promotion{To: staged.ID, From: r.current})
			}
			if err == nil {
				err = w.Store.Drop(t.Context(), ref, r.current)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, r := range all {
		w.see(t, r.name, texts(3, 0, 0))
	}
	if !w.StagesOnce {
		return
	}
	r := w.rotated()
	for range 8 {
		group.Go(func() {
			if _, err := w.Store.Stage(t.Context(), w.Ref(r.name), candidate(3)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	w.see(t, r.name, texts(2, 1, 3))
}
