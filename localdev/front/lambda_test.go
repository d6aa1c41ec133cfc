package front_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/front"
)

// lambdaFront starts a function on a URL of its own.
func lambdaFront(t *testing.T, role string, o front.LambdaOptions) (l *front.Lambda, url string, out *output) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out = newOutput(t)
	o.Binary, o.Listener, o.Output = binary(t), listener, out
	if o.Env == nil {
		o.Env = map[string]string{}
	}
	o.Env[childRole], o.Env["GORACE"] = role, raceOptions
	if o.Timeout == 0 {
		o.Timeout = watchdog
	}
	l, err = front.StartLambda(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, "http://" + listener.Addr().String(), out
}

func TestLambdaStreamsEveryChunkBeforeTheNextIsMade(t *testing.T) {
	t.Parallel()
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{})
	streams(t, url, newGate(t))
}

func TestLambdaReusesAnInstanceForRequestsInARow(t *testing.T) {
	t.Parallel()
	// With one instance, a request that did not find it free would be refused.
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{MaxInstances: 1})
	pid := text(t, get(t, url+"/pid"))
	for range 20 {
		reply := get(t, url+"/pid")
		if got := text(t, reply); got != pid || reply.StatusCode != http.StatusOK {
			t.Fatalf("status %d from process %q, want 200 from %q", reply.StatusCode, got, pid)
		}
	}
}

func TestLambdaStartsAnInstancePerConcurrentRequestUpToItsLimit(t *testing.T) {
	t.Parallel()
	const n = 3
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{MaxInstances: n})
	g := newGate(t)
	var replies sync.WaitGroup
	for range n {
		replies.Go(func() {
			if reply := get(t, url+"/hold?gate="+g.url); reply.StatusCode != http.StatusOK {
				t.Errorf("status %d", reply.StatusCode)
			}
		})
	}
	var pids []string
	for range n {
		pids = append(pids, g.at(t))
	}
	if slices.Sort(pids); len(slices.Compact(slices.Clone(pids))) != n {
		t.Errorf("processes %v served at the same time, want %d different ones", pids, n)
	}
	reply := get(t, url+"/pid")
	if got := text(t, reply); reply.StatusCode != http.StatusTooManyRequests || got != `{"Message":"Rate Exceeded."}` ||
		reply.Header.Get("X-Amzn-Errortype") != "TooManyRequestsException" {
		t.Errorf("beyond the limit: status %d, %s", reply.StatusCode, got)
	}
	for range n {
		g.pass()
	}
	replies.Wait()
	if got := text(t, get(t, url+"/pid")); !slices.Contains(pids, got) {
		t.Errorf("process %s answers, want one of %v", got, pids)
	}
}

func TestLambdaFreezesAnInstanceBetweenInvocations(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"lambda", "lambda-sigterm"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			ticks := filepath.Join(t.TempDir(), "ticks")
			_, url, _ := lambdaFront(t, role, front.LambdaOptions{Env: map[string]string{"TICKS": ticks}})
			count := func() string {
				b, err := os.ReadFile(ticks)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			before := ""
			for range 3 {
				pid := text(t, get(t, url+"/tick"))
				eventually(t, "the process is stopped", func() bool {
					state, err := exec.Command("ps", "-o", "state=", "-p", pid).Output()
					return err == nil && strings.HasPrefix(string(state), "T")
				})
				stopped := count()
				if stopped == before {
					t.Error("the process did not run during the invocation")
				}
				time.Sleep(20 * time.Millisecond)
				if before = count(); before != stopped {
					t.Errorf("the count went from %s to %s while the process was frozen", stopped, before)
				}
			}
		})
	}
}

func TestLambdaEndsAFunctionThatAskedForItWithSIGTERM(t *testing.T) {
	t.Parallel()
	for role, want := range map[string]bool{"lambda": false, "lambda-sigterm": true} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			l, url, out := lambdaFront(t, role, front.LambdaOptions{Name: "fn"})
			pid := text(t, get(t, url+"/pid"))
			l.Close()
			if got := strings.Contains(out.String(), "[fn 1] asked to end\n"); got != want {
				t.Errorf("SIGTERM arrived: %t, want %t", got, want)
			}
			if err := exec.Command("kill", "-0", pid).Run(); err == nil {
				t.Errorf("process %s outlived the front", pid)
			}
		})
	}
}

func TestLambdaEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l, err := front.StartLambda(ctx, front.LambdaOptions{Binary: binary(t), Timeout: watchdog, Env: map[string]string{childRole: "lambda"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Invoke(t.Context(), []byte(`{"do":"env"}`)); err != nil {
		t.Fatal(err)
	}
	cancel()
	l.Close() // returns when the shutdown that the context began is complete
	if _, _, err := l.Invoke(t.Context(), []byte(`{"do":"env"}`)); err == nil {
		t.Error("a closed front takes an event")
	}
}

// TestLambdaFailures holds what a client sees of each failure, and that the next request is served.
func TestLambdaFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path   string
		mode   front.InvokeMode
		remark string
		dies   bool
	}{
		{"/crash", front.ResponseStream, "Runtime.ExitError: Error: Runtime exited with error: exit status 3", true},
		{"/hang", front.ResponseStream, "Task timed out after 3.00 seconds", true},
		{"/fail", front.ResponseStream, "errorString: it failed", false},
		{"/panic", front.ResponseStream, "string: it panicked", true},
		{"/no-prelude", front.ResponseStream, "does not begin with a JSON prelude and eight NUL bytes", false},
		{"/bad-prelude", front.ResponseStream, "the head of the reply", false},
		{"/oversized", front.BufferedReply, "Function.ResponseSizeTooLarge", true},
		{"/bad-status", front.BufferedReply, "status code 42", false},
		{"/bad-body", front.BufferedReply, "the body of the reply", false},
		{"/pid", front.BufferedReply, "set both to the same mode", false},
	}
	for _, tt := range tests {
		t.Run(tt.path+" "+string(tt.mode), func(t *testing.T) {
			t.Parallel()
			o := front.LambdaOptions{InvokeMode: tt.mode, MaxInstances: 1}
			if tt.path == "/hang" {
				o.Timeout = 3 * time.Second
			}
			l, url, out := lambdaFront(t, "lambda", o)
			pid := func() string {
				env, _, err := l.Invoke(t.Context(), []byte(`{"do":"env"}`))
				if err != nil {
					t.Fatal(err)
				}
				_, stream, _ := strings.Cut(string(env), "AWS_LAMBDA_LOG_STREAM_NAME")
				return stream[:60]
			}
			before := pid()
			reply := get(t, url+tt.path)
			if got := text(t, reply); reply.StatusCode != http.StatusBadGateway || got != "Internal Server Error" {
				t.Errorf("status %d, %q", reply.StatusCode, got)
			}
			if !strings.Contains(out.String(), tt.remark) {
				t.Errorf("no remark says %q", tt.remark)
			}
			if after := pid(); (after != before) != tt.dies {
				t.Errorf("a new instance: %t, want %t", after != before, tt.dies)
			}
		})
	}
}

func TestLambdaBreaksTheClientsStreamWhenTheFunctionFailsInIt(t *testing.T) {
	t.Parallel()
	for path, remark := range map[string]string{
		"/fail-late":  "stream broken: errorString: no more",
		"/crash-late": "stream broken: Runtime.ExitError: Error: Runtime exited with error: exit status 4",
		"/hang-late":  "Task timed out after",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			o := front.LambdaOptions{}
			if path == "/hang-late" {
				o.Timeout = 3 * time.Second
			}
			_, url, out := lambdaFront(t, "lambda", o)
			g := newGate(t)
			reply := get(t, url+path+"?gate="+g.url)
			read(t, reply.Body, "begun")
			g.at(t)
			g.pass()
			if rest, err := io.ReadAll(reply.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("the stream ends with %q and the error %v, want %v", rest, err, io.ErrUnexpectedEOF)
			}
			eventually(t, "a remark says why", func() bool { return strings.Contains(out.String(), remark) })
			if reply := get(t, url+"/pid"); reply.StatusCode != http.StatusOK {
				t.Errorf("afterwards: status %d", reply.StatusCode)
			}
		})
	}
}

func TestLambdaLetsAFunctionFinishAfterItsClientHasGone(t *testing.T) {
	t.Parallel()
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{MaxInstances: 1})
	g := newGate(t)
	reply := get(t, url+"/gated?gate="+g.url)
	read(t, reply.Body, "one")
	reply.Body.Close()
	for _, want := range []string{"one", "two", "three"} {
		if step := g.at(t); step != want {
			t.Errorf("the function is at %q, want %q", step, want)
		}
		g.pass()
	}
	eventually(t, "the instance is free again", func() bool { return get(t, url+"/pid").StatusCode == http.StatusOK })
}

func TestLambdaInstancesThatNeverGetReadyAreAnswered(t *testing.T) {
	t.Parallel()
	for role, remark := range map[string]string{
		"exit":       "Runtime.ExitError: Error: Runtime exited with error: exit status 3",
		"hang":       "Sandbox.Timedout: Error: Init timed out after 0.30 seconds",
		"init-error": "Config: no document",
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			_, url, out := lambdaFront(t, role, front.LambdaOptions{InitTimeout: 300 * time.Millisecond})
			if role == "init-error" {
				_, url, out = lambdaFront(t, role, front.LambdaOptions{})
			}
			for range 2 {
				if reply := get(t, url+"/pid"); reply.StatusCode != http.StatusBadGateway {
					t.Errorf("status %d", reply.StatusCode)
				}
			}
			if !strings.Contains(out.String(), remark) {
				t.Errorf("no remark says %q", remark)
			}
		})
	}
}

func TestLambdaRuntimeAPIRefusals(t *testing.T) {
	t.Parallel()
	l, _, _ := lambdaFront(t, "runtime", front.LambdaOptions{MaxInstances: 1})
	invoke := func(event string) (report []string, functionError string) {
		t.Helper()
		response, functionError, err := l.Invoke(t.Context(), []byte(event))
		if err != nil {
			t.Fatal(err)
		}
		if functionError == "" {
			if err := json.Unmarshal(response, &report); err != nil {
				t.Fatal(err)
			}
		}
		return report, functionError
	}
	everyTime := []string{
		"respond to another: 400 InvalidRequestID",
		"ask before responding: 403 InvalidStateTransition",
		"fail the initialization after it: 403 InvalidStateTransition",
		"register after the initialization: 403 Extension.RegistrationClosed",
	}
	got, _ := invoke(`"first"`)
	want := append([]string{
		"respond to nothing: 403 InvalidStateTransition",
		"register without a name: 403 Extension.InvalidExtensionName",
		"register for SHUTDOWN: 403 Extension.InvalidEventType",
		"wait as an unknown extension: 403 Extension.UnknownExtensionIdentifier",
	}, everyTime...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the first invocation (-want +got):\n%s", diff)
	}
	if _, functionError := invoke(`"mode"`); functionError != "Unhandled" {
		t.Errorf("a response in an unknown mode is the function error %q", functionError)
	}
	got, _ = invoke(`"third"`)
	want = append([]string{
		"respond: 202 OK",
		"respond again: 403 InvalidStateTransition",
		"fail after responding: 403 InvalidStateTransition",
		"respond in an unknown mode: 400 InvalidFunctionResponseMode",
	}, everyTime...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
}

func TestLambdaInvoke(t *testing.T) {
	t.Parallel()
	l, _, _ := lambdaFront(t, "lambda", front.LambdaOptions{})
	tests := []struct{ name, do, response, functionError string }{
		{"a value", "fits", `"` + strings.Repeat("x", 6<<20+98) + `"`, ""},
		{"an error of the function", "fail", `{"errorMessage":"it failed","errorType":"errorString"}`, "Unhandled"},
		{"an error after the reply has begun", "fail-late", `{"errorMessage":"no more","errorType":"errorString"}`, "Unhandled"},
		{"a reply one byte too large", "oversized",
			`{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`, "Unhandled"},
		{"a streamed reply, with its prelude", "stream", `{"statusCode":200}` + strings.Repeat("\x00", 8) + "streamed", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			response, functionError, err := l.Invoke(t.Context(), []byte(`{"do":"`+tt.do+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			if string(response) != tt.response || functionError != tt.functionError {
				t.Errorf("got %.200q with error %q, want %.200q with %q", response, functionError, tt.response, tt.functionError)
			}
		})
	}
	t.Run("an event that is not JSON", func(t *testing.T) {
		t.Parallel()
		if _, _, err := l.Invoke(t.Context(), []byte(`{`)); err == nil {
			t.Error("it was taken")
		}
	})
	t.Run("an event that is too large", func(t *testing.T) {
		t.Parallel()
		if _, _, err := l.Invoke(t.Context(), []byte(`"`+strings.Repeat("x", 6<<20)+`"`)); err == nil {
			t.Error("it was taken")
		}
	})
}

func TestLambdaInvokeReportsThrottlingAndItsContext(t *testing.T) {
	t.Parallel()
	l, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{MaxInstances: 1})
	g := newGate(t)
	go func() {
		reply, err := http.Get(url + "/hold?gate=" + g.url)
		if err == nil {
			reply.Body.Close()
		}
	}()
	g.at(t)
	if _, _, err := l.Invoke(t.Context(), []byte(`{}`)); !errors.Is(err, front.ErrThrottled) {
		t.Errorf("got %v, want %v", err, front.ErrThrottled)
	}
	g.pass()

	hung, _, _ := lambdaFront(t, "hang", front.LambdaOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := hung.Invoke(ctx, []byte(`{}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestLambdaBufferedReplies(t *testing.T) {
	t.Parallel()
	_, url, _ := lambdaFront(t, "lambda", front.LambdaOptions{InvokeMode: front.BufferedReply})
	reply := get(t, url+"/document")
	if got := text(t, reply); reply.StatusCode != http.StatusAccepted || got != "hi" || reply.Header.Get("X-Function") != "yes" ||
		reply.Header.Get("Set-Cookie") != "a=1" || reply.Header.Get("Content-Type") != "application/json" {
		t.Errorf("a document: status %d, %q, %v", reply.StatusCode, got, reply.Header)
	}
	reply = get(t, url+"/value")
	if got := text(t, reply); reply.StatusCode != http.StatusOK || got != `{"no":"status"}` || reply.Header.Get("Content-Type") != "application/json" {
		t.Errorf("a value: status %d, %q, %v", reply.StatusCode, got, reply.Header)
	}
	if got := text(t, get(t, url+"/fits")); len(got) != 6<<20+100 {
		t.Errorf("a reply of the largest size has %d bytes", len(got))
	}
}

func TestLambdaStreamedRepliesOfOtherShapes(t *testing.T) {
	t.Parallel()
	_, url, out := lambdaFront(t, "lambda", front.LambdaOptions{})
	reply := get(t, url+"/glued")
	if got := text(t, reply); reply.StatusCode != http.StatusNonAuthoritativeInfo || got != "body\x00" {
		t.Errorf("head and body in one piece: status %d, %q", reply.StatusCode, got)
	}
	reply = get(t, url+"/raw")
	if got := text(t, reply); reply.StatusCode != http.StatusOK || got != "not HTTP" || reply.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a reply that is not HTTP: status %d, %q, %v", reply.StatusCode, got, reply.Header)
	}
	if !strings.Contains(out.String(), `the reply of type "text/plain" has no HTTP head`) {
		t.Error("nothing remarks on it")
	}
}

func TestLambdaAnswersWhenItsBinaryIsGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := front.StartLambda(t.Context(), front.LambdaOptions{Binary: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		response, functionError, err := l.Invoke(t.Context(), []byte(`{}`))
		if err != nil || functionError != "Unhandled" || !strings.Contains(string(response), "Runtime.InvalidEntrypoint") {
			t.Errorf("got %s, %q, %v", response, functionError, err)
		}
	}
}

func TestLambdaEnvironmentIsWhatLambdaSetsAndNothingElse(t *testing.T) {
	t.Setenv("AWS_PROFILE", "leaked")
	t.Setenv("OPENAI_API_KEY", "leaked")
	l, _, _ := lambdaFront(t, "lambda", front.LambdaOptions{
		Name: "fn", Region: "eu-central-1", Env: map[string]string{"AWS_ACCESS_KEY_ID": "AKIDLOCAL"},
	})
	response, _, err := l.Invoke(t.Context(), []byte(`{"do":"env"}`))
	if err != nil {
		t.Fatal(err)
	}
	got := environmentOf(t, string(response), "AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT", "_X_AMZN_TRACE_ID")
	want := map[string]string{
		childRole: "lambda", "GORACE": raceOptions, "AWS_ACCESS_KEY_ID": "AKIDLOCAL",
		"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1",
		"AWS_LAMBDA_FUNCTION_NAME": "fn", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
		"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn",
		"_HANDLER": "bootstrap", "LAMBDA_RUNTIME_DIR": "/var/runtime", "LANG": "en_US.UTF-8", "TZ": ":UTC",
		"PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestLambdaOptionsAreChecked(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		o    front.LambdaOptions
		want string
	}{
		"a binary that is missing":           {front.LambdaOptions{Binary: "missing"}, "build it first"},
		"a binary that is no executable":     {front.LambdaOptions{Binary: plain}, "not an executable file"},
		"a variable that Lambda sets itself": {front.LambdaOptions{Binary: binary(t), Env: map[string]string{"_HANDLER": "x"}}, "_HANDLER belongs to the platform"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := front.StartLambda(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
