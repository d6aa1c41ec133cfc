package front_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/front"
	"golang.org/x/tools/txtar"
)

// appFiles is an app with a function of every kind that the tests need.
const appFiles = `
-- host.json --
{"version": "2.0", "extensions": {"http": {"routePrefix": ""}},
 "customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableProxyingHttpRequest": true}}
-- Gateway/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": "{*path}"},
 {"type": "http", "direction": "out", "name": "res"}]}
-- ReadOnly/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": "only/get", "methods": ["get"]},
 {"type": "http", "direction": "out", "name": "res"}]}
-- Keyed/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "route": "keyed"}, {"type": "http", "direction": "out", "name": "res"}]}
-- Master/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "admin", "route": "master"}, {"type": "http", "direction": "out", "name": "res"}]}
-- Envelope/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": "in/an/{kind}"},
 {"type": "http", "direction": "out", "name": "res"}, {"type": "queue", "direction": "out", "name": "queued"}]}
-- Tick/function.json --
{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 0 3 * * *"}], "retry": {"strategy": "fixedDelay", "maxRetryCount": 2}}
`

// appFolder writes an app, with the files of changes in the place of its own.
func appFolder(t *testing.T, changes string) string {
	t.Helper()
	root := t.TempDir()
	for _, files := range []string{appFiles, changes} {
		for _, f := range txtar.Parse([]byte(files)).Files {
			path := filepath.Join(root, filepath.FromSlash(f.Name))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// functions starts an app on a URL of its own.
func functions(t *testing.T, o front.FunctionsOptions) (f *front.Functions, url string, out *output) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out = newOutput(t)
	if o.Root == "" {
		o.Root = appFolder(t, "")
	}
	o.Executable, o.Listener, o.Output = binary(t), listener, out
	if o.Env == nil {
		o.Env = map[string]string{}
	}
	o.Env[childRole], o.Env["GORACE"] = "functions", raceOptions
	f, err = front.StartFunctions(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, "http://" + listener.Addr().String(), out
}

func TestFunctionsStreamsEveryChunkBeforeTheNextIsMade(t *testing.T) {
	t.Parallel()
	_, url, _ := functions(t, front.FunctionsOptions{})
	streams(t, url, newGate(t))
}

func TestFunctionsProxiesRequestsWithTheHostsHeaders(t *testing.T) {
	t.Parallel()
	_, url, _ := functions(t, front.FunctionsOptions{})
	forged := http.Header{
		"X-Azure-Functions-Invocationid": {"forged"}, "X-Azure-Functions-Hostversion": {"forged"}, "X-Own": {"1", "2"}, "X-Forwarded-For": {"203.0.113.1"},
	}
	reply := do(t, http.MethodPut, url+"/a%2Fb?c=%7E", forged, strings.NewReader("body"))
	var got request
	if err := json.Unmarshal([]byte(text(t, reply)), &got); err != nil || reply.StatusCode != http.StatusCreated || reply.Header.Get("X-Function") != "yes" {
		t.Fatalf("status %d, %v, %v", reply.StatusCode, reply.Header, err)
	}
	if got.Method != http.MethodPut || got.URI != "/a%2Fb?c=%7E" || got.Body != "body" || "http://"+got.Host != url {
		t.Errorf("the function got %+v", got)
	}
	if ids := got.Header["X-Azure-Functions-Invocationid"]; len(ids) != 1 || len(ids[0]) != 36 {
		t.Errorf("invocation ID %q", ids)
	}
	if versions := got.Header["X-Azure-Functions-Hostversion"]; len(versions) != 1 || !strings.HasPrefix(versions[0], "4.") {
		t.Errorf("host version %q", versions)
	}
	if via := got.Header.Get("X-Forwarded-For"); !strings.HasPrefix(via, "203.0.113.1, 127.0.0.1:") {
		t.Errorf("X-Forwarded-For %q, want the client with its port", via)
	}
	if diff := cmp.Diff([]string{"1", "2"}, got.Header["X-Own"]); diff != "" {
		t.Errorf("X-Own (-want +got):\n%s", diff)
	}
}

func TestFunctionsRouting(t *testing.T) {
	t.Parallel()
	_, url, _ := functions(t, front.FunctionsOptions{FunctionKey: "fkey", MasterKey: "mkey"})
	_, prefixed, _ := functions(t, front.FunctionsOptions{Root: appFolder(t, `
-- host.json --
{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableProxyingHttpRequest": true}}
`)})
	key := func(k string) http.Header { return http.Header{"X-Functions-Key": {k}} }
	tests := []struct {
		name, method, url string
		header            http.Header
		want              int
	}{
		{"any path reaches a catch-all route", "POST", url + "/v1/chat/completions", nil, 201},
		{"and so does the root", "GET", url + "/", nil, 201},
		{"the host keeps /admin", "GET", url + "/admin/host/status", nil, 404},
		{"the host keeps /runtime, in any case", "POST", url + "/Runtime/webhooks/EventGrid", nil, 404},
		{"a listed method", "GET", url + "/only/get", nil, 201},
		{"a method that is not listed goes to another route", "POST", url + "/only/get", nil, 201},
		{"OPTIONS is a method like others", "OPTIONS", url + "/v1/models", nil, 201},
		{"a function key is needed", "GET", url + "/keyed", nil, 401},
		{"a wrong function key", "GET", url + "/keyed", key("no"), 401},
		{"a function key in the header", "GET", url + "/keyed", key("fkey"), 201},
		{"a function key in the query", "GET", url + "/keyed?code=fkey", nil, 201},
		{"the master key opens functions too", "GET", url + "/keyed", key("mkey"), 201},
		{"the function key does not open admin functions", "GET", url + "/master", key("fkey"), 401},
		{"the master key does", "GET", url + "/master", key("mkey"), 201},
		{"the default prefix is part of every route", "GET", prefixed + "/api/v1", nil, 201},
		{"and nothing is served outside it", "GET", prefixed + "/v1", nil, 404},
		{"a key that is not set opens nothing", "GET", prefixed + "/api/keyed?code=", nil, 401},
		{"a method that no route has", "POST", prefixed + "/api/only/get", nil, 201},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if reply := do(t, tt.method, tt.url, tt.header, nil); reply.StatusCode != tt.want {
				t.Errorf("status %d, want %d", reply.StatusCode, tt.want)
			}
		})
	}
}

func TestFunctionsAnswersPreflightRequestsForThePlatform(t *testing.T) {
	t.Parallel()
	_, url, _ := functions(t, front.FunctionsOptions{CORSOrigins: []string{"https://app.example.com"}})
	for origin, allowed := range map[string]string{"https://app.example.com": "https://app.example.com", "https://other.example.com": ""} {
		header := http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}
		reply := do(t, http.MethodOptions, url+"/v1/chat/completions", header, nil)
		if got := reply.Header.Get("Access-Control-Allow-Origin"); reply.StatusCode != http.StatusNoContent || got != allowed || reply.Header.Get("X-Function") != "" {
			t.Errorf("%s: status %d, allowed %q", origin, reply.StatusCode, got)
		}
	}
}

func TestFunctionsRequestLimit(t *testing.T) {
	t.Parallel()
	_, url, _ := functions(t, front.FunctionsOptions{})
	zeros := func(n int64) io.Reader { return io.LimitReader(endless{}, n) }
	if reply := do(t, http.MethodPost, url+"/length", nil, zeros(100<<20+1)); reply.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a stream that is too long: status %d", reply.StatusCode)
	}
	if reply := do(t, http.MethodPost, url+"/length", nil, zeros(100<<20)); reply.StatusCode != http.StatusOK || text(t, reply) != "104857600" {
		t.Errorf("a body of the largest size: status %d", reply.StatusCode)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestFunctionsRestartsTheHandlerTwiceAndThenGivesUp(t *testing.T) {
	t.Parallel()
	f, url, out := functions(t, front.FunctionsOptions{})
	g := newGate(t)
	pid := text(t, get(t, url+"/pid"))

	if reply := get(t, url+"/crash"); reply.StatusCode != http.StatusBadGateway {
		t.Errorf("a crash before the reply: status %d", reply.StatusCode)
	}
	eventually(t, "another handler answers", func() bool {
		reply := get(t, url+"/pid")
		return reply.StatusCode == http.StatusOK && text(t, reply) != pid
	})

	reply := get(t, url+"/crash-late?gate="+g.url)
	read(t, reply.Body, "begun")
	g.at(t)
	g.pass()
	if rest, err := io.ReadAll(reply.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a crash in the stream ends it with %q and %v, want %v", rest, err, io.ErrUnexpectedEOF)
	}
	eventually(t, "a third handler answers", func() bool { return get(t, url+"/pid").StatusCode == http.StatusOK })

	if reply := post(t, url, instruction{Crash: true}); reply.StatusCode != http.StatusInternalServerError {
		t.Errorf("a crash in an envelope: status %d", reply.StatusCode)
	}
	eventually(t, "the host gives up", func() bool {
		reply := get(t, url+"/pid")
		return reply.StatusCode == http.StatusServiceUnavailable && strings.Contains(text(t, reply), "Function host is not running.")
	})
	if _, err := f.Fire(t.Context(), "Tick", []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "gave up after 3 errors") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "exit status 5 (error 3 of 3)") {
		t.Error("no remark says why")
	}
}

func TestFunctionsTimeoutsTakeTheHandlerWithThem(t *testing.T) {
	t.Parallel()
	f, url, _ := functions(t, front.FunctionsOptions{Root: appFolder(t, `
-- host.json --
{"version": "2.0", "functionTimeout": "00:00:01", "extensions": {"http": {"routePrefix": ""}},
 "customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableProxyingHttpRequest": true}}
`)})
	// Four are one more than a handler may end by itself.
	for _, step := range []func(){
		func() {
			if reply := get(t, url+"/hang"); reply.StatusCode != http.StatusGatewayTimeout {
				t.Errorf("a timeout before the reply: status %d", reply.StatusCode)
			}
		},
		func() {
			reply := get(t, url+"/hang-late")
			read(t, reply.Body, "begun")
			if _, err := io.ReadAll(reply.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a timeout in the stream ends it with %v, want %v", err, io.ErrUnexpectedEOF)
			}
		},
		func() {
			if reply := post(t, url, instruction{Hang: true}); reply.StatusCode != http.StatusInternalServerError {
				t.Errorf("a timeout in an envelope: status %d", reply.StatusCode)
			}
		},
		func() {
			if _, err := f.Fire(t.Context(), "Tick", []byte(`{"Hang":true}`)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a timer function that hangs: %v", err)
			}
		},
	} {
		pid := text(t, get(t, url+"/pid"))
		step()
		eventually(t, "another handler answers", func() bool {
			reply := get(t, url+"/pid")
			return reply.StatusCode == http.StatusOK && text(t, reply) != pid
		})
	}
}

func TestFunctionsEndsItsHandlerWithSIGTERM(t *testing.T) {
	t.Parallel()
	f, url, out := functions(t, front.FunctionsOptions{Name: "app"})
	get(t, url+"/line")
	f.Close()
	if got := out.String(); !strings.HasPrefix(got, "[app] a line of the function\n[app] asked to end\n") {
		t.Errorf("output %q", got)
	}
	w := newRecorder()
	f.ServeHTTP(w, newGetRequest(t, "/pid"))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("after Close: status %d", w.Code)
	}
}

func TestFunctionsEnvironmentIsWhatTheHostSetsAndNothingElse(t *testing.T) {
	t.Setenv("AZURE_CLIENT_SECRET", "leaked")
	_, url, _ := functions(t, front.FunctionsOptions{Name: "app", Env: map[string]string{"IDENTITY_ENDPOINT": "http://local"}})
	got := environmentOf(t, text(t, get(t, url+"/env")), "FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_CUSTOMHANDLER_WORKER_ID",
		"FUNCTIONS_HTTPWORKER_PORT", "FUNCTIONS_HTTPWORKER_ID", "FUNCTIONS_APP_ROOT_PATH", "WEBSITE_INSTANCE_ID")
	want := map[string]string{
		childRole: "functions", "GORACE": raceOptions, "IDENTITY_ENDPOINT": "http://local",
		"FUNCTIONS_WORKER_RUNTIME": "custom", "FUNCTIONS_EXTENSION_VERSION": "~4", "AZURE_FUNCTIONS_ENVIRONMENT": "Production",
		"WEBSITE_SITE_NAME": "app", "WEBSITE_HOSTNAME": "app.azurewebsites.net", "PATH": os.Getenv("PATH"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestFunctionsTellsWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	quick := `
-- host.json --
{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}, "initializationTimeout": "00:00:01"}}
`
	for name, tt := range map[string]struct {
		o       front.FunctionsOptions
		changes string
		want    string
	}{
		"an executable that is missing":          {front.FunctionsOptions{}, "", "build it first"},
		"a variable that the host sets itself":   {front.FunctionsOptions{Executable: binary(t), Env: map[string]string{"FUNCTIONS_WORKER_RUNTIME": "go"}}, "", "FUNCTIONS_WORKER_RUNTIME belongs to the platform"},
		"a handler that ends":                    {front.FunctionsOptions{Executable: binary(t), Env: map[string]string{childRole: "exit"}}, "", "gave up after 3 errors: the function ended before it was ready: exit status 3"},
		"a handler that does not listen in time": {front.FunctionsOptions{Executable: binary(t), Env: map[string]string{childRole: "hang"}}, quick, "gave up after 3 errors: the function did not get ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.o.Root = appFolder(t, tt.changes)
			if _, err := front.StartFunctions(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
