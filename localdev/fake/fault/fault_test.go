package fault_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
)

func answer(injector *fault.Injector) string {
	recorder := httptest.NewRecorder()
	if !injector.Handle(recorder, httptest.NewRequest(http.MethodGet, "/", nil)) {
		return "passed on"
	}
	body, _ := io.ReadAll(recorder.Body)
	return recorder.Result().Status + " " + string(body) + recorder.Header().Get("X-A")
}

func TestAFaultLastsAsOftenAsItWasTold(t *testing.T) {
	t.Parallel()
	var injector fault.Injector
	if got := answer(&injector); got != "passed on" {
		t.Errorf("got %s", got)
	}
	injector.Set(fault.Fault{Status: 503, Body: "no", Header: http.Header{"x-a": {"!"}}, Times: 2})
	for _, want := range []string{"503 Service Unavailable no!", "503 Service Unavailable no!", "passed on"} {
		if got := answer(&injector); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	injector.Set(fault.Fault{Status: 429})
	for range 5 {
		if got := answer(&injector); got != "429 Too Many Requests " {
			t.Errorf("got %s", got)
		}
	}
	injector.Clear()
	if got := answer(&injector); got != "passed on" || injector.Calls() != 10 {
		t.Errorf("got %s after %d calls", got, injector.Calls())
	}
}

func TestADelayPassesBeforeTheRealReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var injector fault.Injector
		injector.Set(fault.Fault{Delay: time.Minute})
		start := time.Now()
		if got := answer(&injector); got != "passed on" || time.Since(start) != time.Minute {
			t.Errorf("got %s after %v", got, time.Since(start))
		}
	})
}

func TestAHangupBreaksTheConnection(t *testing.T) {
	t.Parallel()
	var injector fault.Injector
	injector.Set(fault.Fault{Hangup: true})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { injector.Handle(w, r) }))
	defer server.Close()
	if response, err := http.Get(server.URL); err == nil {
		t.Errorf("got %s", response.Status)
	}
}

func TestADelayEndsWithTheClient(t *testing.T) {
	t.Parallel()
	var injector fault.Injector
	injector.Set(fault.Fault{Delay: time.Hour})
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { close(arrived); injector.Handle(w, r) }))
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("a body that nobody has read"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-arrived; cancel() }()
	if response, err := http.DefaultClient.Do(request); err == nil {
		t.Errorf("got %s", response.Status)
	}
	// It waits for the handler.
	server.Close()
}
