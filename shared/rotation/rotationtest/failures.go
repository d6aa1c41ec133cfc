package rotationtest

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// losses are the ways in which a reply does not arrive, or says nothing.
var losses = map[string]fault{
	"the connection breaks":      {hangup: true},
	"the service does not reply": {hang: true},
	"an internal error":          {status: 500, body: Canary},
	"an unavailable service":     {status: 503, body: "<html>" + Canary},
	"a gateway's timeout":        {status: 504, body: `{"error":"` + Canary + `"}`},
	"a request timeout":          {status: 408},
	"a page of somebody else":    {status: 200, body: "<html>" + Canary},
	"an empty success":           {status: 200},
	"a success without content":  {status: 200, body: "{}"},
	"a success that is null":     {status: 200, body: "null"},
}

// pages are refusals that somebody else than the service may have written.
var pages = []fault{
	{status: 400, body: Canary}, {status: 401, body: "<html>" + Canary}, {status: 403, body: "<html>" + Canary}, {status: 404, body: "<html>" + Canary},
	{status: 404, body: ""}, {status: 405, body: Canary}, {status: 418, body: Canary}, {status: 422, body: "null"},
}

// requests returns how many requests a call takes, in a service in which it works.
func (w *World) requests(call func()) int {
	before := w.line.Calls()
	call()
	return w.line.Calls() - before
}

// during does a call while the line is broken in a way.
func (w *World) during(f fault, call func()) {
	w.line.set(&f)
	defer w.line.set(nil)
	call()
}

// orderable skips what nobody can order.
func (w *World) orderable(t *testing.T) {
	t.Helper()
	if w.assisted() {
		t.Skip("no program makes these keys")
	}
}

// clear revokes all keys of the credential, so that the next case has room.
func (w *World) clear(t *testing.T) {
	t.Helper()
	if w.overlap() != rotation.Parallel {
		return
	}
	for _, key := range w.find(t) {
		if key.ID != w.Current {
			w.revoke(t, key)
		}
	}
}

func testUnanswered(t *testing.T, w *World) {
	w.orderable(t)
	if w.overlap() == rotation.InPlace {
		testUnansweredInPlace(t, w)
		return
	}
	n := int64(1)
	steps := w.requests(func() { w.create(t, n) })
	w.clear(t)
	for name, loss := range losses {
		for _, after := range []bool{false, true} {
			for step := range steps {
				n++
				loss.after, loss.only = after, step+1
				before := w.Keys()
				var err error
				w.during(loss, func() { _, err = w.Issuer.Create(t.Context(), w.order(t, n)) })
				synctest.Wait()
				if err == nil {
					// What a reply says that the issuer does not need may be lost.
					w.clear(t)
					continue
				}
				changed := len(w.Keys()) != len(before)
				if changed && !errors.Is(err, rotation.ErrUnanswered) {
					t.Errorf("%s at request %d, after %v: a key was made, and the error is: %v", name, step+1, after, err)
				}
				if errors.Is(err, rotation.ErrRefused) || errors.Is(err, rotation.ErrRejected) {
					t.Errorf("%s at request %d, after %v: got %v", name, step+1, after, err)
				}
				wantTold(t, err, "create")
				w.wantFoundAgain(t, changed)
			}
		}
	}
}

// wantFoundAgain expects that a key whose making was interrupted is found, and revokes it.
func (w *World) wantFoundAgain(t *testing.T, made bool) {
	t.Helper()
	if w.overlap() != rotation.Parallel {
		return
	}
	found := 0
	for _, key := range w.find(t) {
		if key.ID != w.Current {
			found++
		}
	}
	if made && found == 0 {
		t.Error("the key that was made is not found")
	}
	w.clear(t)
}

// testUnansweredInPlace loses the reply of each request once. What becomes of the key is read again.
func testUnansweredInPlace(t *testing.T, w *World) {
	recoverer, ok := w.Issuer.(rotation.Recoverer)
	if !ok {
		t.Skip("what is lost is lost")
	}
	steps := w.requests(func() { w.create(t, 1) })
	for step := range steps {
		var err error
		w.during(fault{hangup: true, after: true, only: step + 1}, func() { _, err = w.Issuer.Create(t.Context(), w.order(t, 2)) })
		wantError(t, err, "create", rotation.ErrUnanswered)
		value, err := recoverer.Recover(t.Context(), rotation.Key{}, w.order(t, 2))
		if err != nil {
			t.Fatal(err)
		}
		w.wantWorking(t, value)
		if last := step == steps-1; value.Equal(w.Content) == last {
			t.Errorf("request %d of %d: the recovered content is that from before: %v", step+1, steps, !last)
		}
		w.Content = value
	}
}

func testUnavailable(t *testing.T, w *World) {
	w.orderable(t)
	before := len(w.Keys())
	var err error
	w.during(fault{dial: true}, func() { _, err = w.Issuer.Create(t.Context(), w.order(t, 1)) })
	wantError(t, err, "create", rotation.ErrUnavailable)
	if n := len(w.Keys()); n != before {
		t.Errorf("there are %d keys, and there were %d", n, before)
	}
	w.create(t, 2)
}

func testThrottled(t *testing.T, w *World) {
	w.orderable(t)
	before := len(w.Keys())
	for header, want := range map[string]time.Duration{"": 0, "17": 17 * time.Second, "-1": 0, "nonsense": 0, time.Now().Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute} {
		throttled := fault{status: 429, body: `{"error":{"code":"` + Canary + `","message":"` + Canary + `"}}`}
		if header != "" {
			throttled.header = http.Header{"Retry-After": {header}}
		}
		var err error
		w.during(throttled, func() { _, err = w.Issuer.Create(t.Context(), w.order(t, 1)) })
		told := wantError(t, err, "create", rotation.ErrThrottled)
		if told.RetryAfter != want {
			t.Errorf("Retry-After %q is %v, want %v", header, told.RetryAfter, want)
		}
	}
	if n := len(w.Keys()); n != before {
		t.Errorf("there are %d keys, and there were %d", n, before)
	}
}

func testRefused(t *testing.T, w *World) {
	w.orderable(t)
	before := len(w.Keys())
	for _, page := range pages {
		calls := w.requests(func() {
			w.during(page, func() {
				_, err := w.Issuer.Create(t.Context(), w.order(t, 1))
				wantError(t, err, "create", rotation.ErrRefused)
			})
		})
		if calls > 2 {
			t.Errorf("status %d: it took %d requests", page.status, calls)
		}
	}
	if n := len(w.Keys()); n != before {
		t.Errorf("there are %d keys, and there were %d", n, before)
	}
}

// broken are all ways to break.
func broken() []fault {
	all := append([]fault{{dial: true}, {status: 429, body: Canary}}, pages...)
	for _, loss := range losses {
		all = append(all, loss)
	}
	return all
}

func testBrokenList(t *testing.T, w *World) {
	issued := w.create(t, 1)
	steps := w.requests(func() { w.find(t) })
	for _, f := range broken() {
		if w.Sparse && f.status == 200 && f.body == "{}" {
			continue
		}
		for step := range steps {
			f.only = step + 1
			if f.status == 401 {
				f.only = 0 // an admin credential is replaced once
			}
			w.during(f, func() {
				keys, err := w.Issuer.Find(t.Context(), prefix)
				if err == nil {
					t.Errorf("status %d %q: %d keys and no error", f.status, f.body, len(keys))
					return
				}
				wantTold(t, err, "find")
			})
		}
	}
	if _, ok := with(w.find(t), issued.Key.ID); !ok {
		t.Error("the key is no longer found")
	}
}

func testBrokenRevocation(t *testing.T, w *World) {
	if w.overlap() == rotation.InPlace {
		t.Skip("there is nothing to revoke")
	}
	for i, f := range broken() {
		if f.status >= 200 && f.status <= 299 {
			continue // whoever answers a revocation with success has answered it
		}
		issued := w.create(t, int64(i+1)) // no name is used twice
		w.during(f, func() {
			err := w.Issuer.Revoke(t.Context(), issued.Key)
			if err == nil {
				t.Errorf("status %d %q: no error", f.status, f.body)
				return
			}
			wantTold(t, err, "revoke")
		})
		w.wantWorking(t, issued.Value)
		w.clear(t)
	}
}

func testBrokenVerification(t *testing.T, w *World) {
	verifier := w.Issuer.(rotation.Verifier)
	issued := w.create(t, 1)
	w.wantWorking(t, issued.Value)
	wantError(t, verifier.Verify(t.Context(), w.Wrong), "verify", rotation.ErrRejected)
	for _, f := range broken() {
		w.during(f, func() {
			err := verifier.Verify(t.Context(), issued.Value)
			if err == nil || errors.Is(err, rotation.ErrRejected) && f.status != 400 && f.status != 401 && f.status != 403 {
				t.Errorf("status %d %q: got %v", f.status, f.body, err)
			}
			if err != nil {
				wantTold(t, err, "verify")
			}
		})
	}
	for _, text := range []string{"", "\n", "{", "{}", "a b", "ä", Canary + "\r\nx: y"} {
		err := verifier.Verify(t.Context(), secrets.NewValue(text))
		if err == nil {
			t.Errorf("%q is a key that works", text)
			continue
		}
		wantTold(t, err, "verify")
	}
	w.wantWorking(t, issued.Value)
}

func testBrokenSwitch(t *testing.T, w *World) {
	disabler, ok := w.Issuer.(rotation.Disabler)
	if !ok {
		t.Skip("keys cannot be stopped")
	}
	issued := w.create(t, 1)
	for _, f := range broken() {
		if f.status >= 200 && f.status <= 299 {
			continue
		}
		w.during(f, func() {
			if err := disabler.Disable(t.Context(), issued.Key); err == nil {
				t.Errorf("status %d %q: stopped", f.status, f.body)
			} else {
				wantTold(t, err, "disable")
			}
			if err := disabler.Enable(t.Context(), issued.Key); err == nil {
				t.Errorf("status %d %q: started", f.status, f.body)
			} else {
				wantTold(t, err, "enable")
			}
		})
	}
	w.wantWorking(t, issued.Value)
}

// attempts are the calls of an issuer, each of which has to end in an error while the line is broken.
func (w *World) attempts(t *testing.T) map[string]func(context.Context) error {
	t.Helper()
	issued, order := w.create(t, 1), w.order(t, 2)
	verifier := w.Issuer.(rotation.Verifier)
	calls := map[string]func(context.Context) error{
		"find":   func(ctx context.Context) error { _, err := w.Issuer.Find(ctx, prefix); return err },
		"verify": func(ctx context.Context) error { return verifier.Verify(ctx, issued.Value) },
	}
	if w.overlap() != rotation.InPlace {
		calls["revoke"] = func(ctx context.Context) error { return w.Issuer.Revoke(ctx, issued.Key) }
	}
	if !w.assisted() {
		calls["create"] = func(ctx context.Context) error { _, err := w.Issuer.Create(ctx, order); return err }
	}
	if disabler, ok := w.Issuer.(rotation.Disabler); ok {
		calls["disable"] = func(ctx context.Context) error { return disabler.Disable(ctx, issued.Key) }
		calls["enable"] = func(ctx context.Context) error { return disabler.Enable(ctx, issued.Key) }
	}
	if recoverer, ok := w.Issuer.(rotation.Recoverer); ok {
		calls["recover"] = func(ctx context.Context) error { _, err := recoverer.Recover(ctx, issued.Key, order); return err }
	}
	return calls
}

func testRedirect(t *testing.T, w *World) {
	for op, call := range w.attempts(t) {
		for _, status := range []int{301, 302, 303, 307, 308} {
			n := w.requests(func() {
				w.during(fault{status: status, header: http.Header{"Location": {"https://elsewhere.example/"}}}, func() {
					err := call(t.Context())
					if err == nil {
						t.Fatalf("%s: %d is no error", op, status)
					}
					wantTold(t, err, op)
				})
			})
			if n != 1 || w.line.reached("elsewhere.example") {
				t.Errorf("%s: %d took %d requests", op, status, n)
			}
		}
	}
}

// enough is the largest reply that anybody may read.
const enough = 2 << 20

func testEndless(t *testing.T, w *World) {
	for op, call := range w.attempts(t) {
		for _, status := range []int{200, 400, 500} {
			before := w.line.bytesRead()
			w.during(fault{status: status, endless: true}, func() {
				err := call(t.Context())
				if err == nil {
					t.Fatalf("%s: no error", op)
				}
				wantTold(t, err, op)
				if op == "create" && !errors.Is(err, rotation.ErrUnanswered) && status != 400 {
					t.Errorf("status %d: got %v", status, err)
				}
			})
			if read := w.line.bytesRead() - before; read > enough {
				t.Errorf("%s: %d bytes were read", op, read)
			}
		}
	}
}

func testHanging(t *testing.T, w *World) {
	for op, call := range w.attempts(t) {
		start := time.Now()
		w.during(fault{hang: true}, func() {
			err := call(t.Context())
			if err == nil {
				t.Fatalf("%s: no error", op)
			}
			wantTold(t, err, op)
		})
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: it took %v", op, took)
		}
	}
}

func testExpired(t *testing.T, w *World) {
	if w.Expire == nil {
		t.Skip("there is no admin credential that could be replaced")
	}
	for n := range int64(3) {
		w.Expire()
		before := len(w.Keys())
		issued := w.create(t, n+1)
		if after := len(w.Keys()); w.overlap() == rotation.Parallel && after != before+1 {
			t.Errorf("there were %d keys, and there are %d", before, after)
		}
		w.Expire()
		w.find(t)
		if disabler, ok := w.Issuer.(rotation.Disabler); ok {
			w.Expire()
			if err := disabler.Disable(t.Context(), issued.Key); err != nil {
				t.Errorf("disable: %v", err)
			}
		}
		w.Expire()
		w.revoke(t, issued.Key)
	}
}

func testLost(t *testing.T, w *World) {
	if w.Lose == nil {
		t.Skip("there is no admin credential to obtain")
	}
	calls := w.attempts(t)
	delete(calls, "verify")
	w.Lose(errors.New("nothing there " + Canary))
	before := w.line.Calls()
	for op, call := range calls {
		err := call(t.Context())
		if err == nil {
			t.Fatalf("%s: no error", op)
		}
		wantTold(t, err, op)
		if errors.Is(err, rotation.ErrUnanswered) {
			t.Errorf("%s: nothing was sent, and the error is: %v", op, err)
		}
	}
	if n := w.line.Calls() - before; n != 0 {
		t.Errorf("it took %d requests", n)
	}
}

func testGone(t *testing.T, w *World) {
	calls := w.attempts(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := w.line.Calls()
	for op, call := range calls {
		err := call(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: got %v", op, err)
		}
		wantTold(t, err, op)
		if errors.Is(err, rotation.ErrUnanswered) {
			t.Errorf("%s: nothing was sent, and the error is: %v", op, err)
		}
	}
	if n := w.line.Calls() - before; n != 0 {
		t.Errorf("it took %d requests", n)
	}
}

func testGoes(t *testing.T, w *World) {
	for op, call := range w.attempts(t) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		w.during(fault{hang: true}, func() {
			err := call(ctx)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%s: got %v", op, err)
			}
			wantTold(t, err, op)
			if op == "create" && !errors.Is(err, rotation.ErrUnanswered) && !errors.Is(err, rotation.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
		cancel()
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("%s: the caller went after 100ms and was held up for %v", op, took)
		}
	}
}
