package front_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/postern-ai/postern/localdev/front"
)

// post sends an instruction to the function that gets envelopes.
func post(t *testing.T, url string, i instruction) *http.Response {
	t.Helper()
	body, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, http.MethodPost, url+"/in/an/envelope", nil, strings.NewReader(string(body)))
}

// TestFunctionsEnvelopeReplies holds what the host makes of each answer to an envelope.
func TestFunctionsEnvelopeReplies(t *testing.T) {
	t.Parallel()
	_, url, _ := functions(t, front.FunctionsOptions{})
	_, returning, _ := functions(t, front.FunctionsOptions{Root: appFolder(t, `
-- Envelope/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": "in/an/{kind}"},
 {"type": "http", "direction": "out", "name": "$return"}, {"type": "queue", "direction": "out", "name": "queued"}]}
`)})
	_, silent, _ := functions(t, front.FunctionsOptions{Root: appFolder(t, `
-- Envelope/function.json --
{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": "in/an/{kind}"},
 {"type": "queue", "direction": "out", "name": "queued"}]}
`)})
	const json, plain = "application/json; charset=utf-8", "text/plain; charset=utf-8"
	type want struct {
		status     int
		kind, body string
	}
	tests := []struct {
		name, url string
		status    int
		kind      string
		reply     string
		want      want
	}{
		{"a string is text", url, 200, "application/json", `{"Outputs":{"res":{"body":"hi"}}}`, want{200, plain, "hi"}},
		{"any 2xx is a success", url, 299, "application/json", `{"Outputs":{"res":{"body":"hi"}}}`, want{200, plain, "hi"}},
		{"an object is JSON", url, 200, "application/json", `{"Outputs":{"res":{"statusCode":201,"body":{"a":1}}}}`, want{201, json, `{"a":1}`}},
		{"a status in a string", url, 200, "application/json", `{"Outputs":{"res":{"statusCode":"202","body":"hi"}}}`, want{202, plain, "hi"}},
		{"status is the other name", url, 200, "application/json", `{"Outputs":{"res":{"status":"203","body":"hi"}}}`, want{203, plain, "hi"}},
		{"statusCode goes before status", url, 200, "application/json", `{"Outputs":{"res":{"statusCode":201,"status":203,"body":"hi"}}}`, want{201, plain, "hi"}},
		{"headers go before the type of the body", url, 200, "application/json", `{"Outputs":{"res":{"headers":{"content-type":"a/b"},"body":"hi"}}}`, want{200, "a/b", "hi"}},
		{"a reply without a body", url, 200, "application/json", `{"Outputs":{"res":{"statusCode":204}}}`, want{204, "", ""}},
		{"a string that holds the object", url, 200, "application/json", `{"Outputs":{"res":"{\"body\":\"hi\"}"}}`, want{200, plain, "hi"}},
		{"base64 in an output stays text", url, 200, "application/json", `{"Outputs":{"res":{"body":"aGk="}}}`, want{200, plain, "aGk="}},
		{"no outputs at all", url, 200, "application/json", `{}`, want{204, "", ""}},
		{"outputs without the binding", url, 200, "application/json", `{"Outputs":{"Res":{"body":"hi"}}}`, want{200, json, "{}"}},
		{"an output that is a string", url, 200, "application/json", `{"Outputs":{"res":"hi"}}`, want{500, "", ""}},
		{"an output that is a number", url, 200, "application/json", `{"Outputs":{"res":1}}`, want{500, "", ""}},
		{"an output that is null", url, 200, "application/json", `{"Outputs":{"res":null}}`, want{500, "", ""}},
		{"a redirect that leads nowhere", url, 302, "application/json", `{"Outputs":{"res":{"body":"hi"}}}`, want{500, "", ""}},
		{"a client error", url, 404, "application/json", `{"Outputs":{"res":{"body":"hi"}}}`, want{500, "", ""}},
		{"a server error", url, 500, "application/json", `{"Outputs":{"res":{"body":"hi"}}}`, want{500, "", ""}},
		{"an answer that is not JSON", url, 200, "application/json", `hi`, want{500, "", ""}},
		{"an answer that is not an object", url, 200, "application/json", `[1]`, want{500, "", ""}},
		{"an answer without the type of JSON", url, 200, "text/plain", `{"Outputs":{"res":{"body":"hi"}}}`, want{500, "", ""}},
		{"a return value that is a reply", returning, 200, "application/json", `{"ReturnValue":{"statusCode":201,"body":"hi"}}`, want{201, plain, "hi"}},
		{"a return value that is a string", returning, 200, "application/json", `{"ReturnValue":"hi!"}`, want{200, plain, "hi!"}},
		{"a return value that is an object", returning, 200, "application/json", `{"ReturnValue":{"a":1}}`, want{200, json, `{"a":1}`}},
		{"a return value that happens to be base64", returning, 200, "application/json", `{"ReturnValue":"aGk="}`, want{200, "application/octet-stream", "hi"}},
		{"a function without an HTTP output", silent, 200, "application/json", `{"Outputs":{"queued":"x"}}`, want{204, "", ""}},
		{"no return value", returning, 200, "application/json", `{"Outputs":{"res":{"body":"hi"}}}`, want{204, "", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			reply := post(t, tt.url, instruction{Status: tt.status, Type: tt.kind, Reply: tt.reply})
			got := want{reply.StatusCode, reply.Header.Get("Content-Type"), text(t, reply)}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFunctionsEnvelopeOfARequest(t *testing.T) {
	t.Parallel()
	_, url, _ := functions(t, front.FunctionsOptions{})
	type envelope struct {
		Data struct {
			Req struct {
				URL, Method string
				Query       map[string]string
				Headers     map[string][]string
				Params      map[string]string
				Identities  []any
				Body        *string
			}
		}
		Metadata map[string]any
	}
	send := func(method, kind string, body io.Reader) envelope {
		t.Helper()
		reply := do(t, method, url+"/in/an/envelope?a=1&a=2&b=%7E", http.Header{"Content-Type": {kind}, "X-Own": {"1", "2"}}, body)
		var e envelope
		if err := json.Unmarshal([]byte(text(t, reply)), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	body := func(s string) *string { return &s }
	tests := []struct {
		name, kind string
		body       io.Reader
		want       *string
	}{
		{"text", "text/plain", strings.NewReader("hi"), body("hi")},
		{"octets become base64", "application/octet-stream", strings.NewReader("hi"), body("aGk=")},
		{"a form with parts becomes base64", "multipart/form-data; boundary=x", strings.NewReader("hi"), body("aGk=")},
		{"no body", "", nil, nil},
		{"a body without a length is lost", "text/plain", io.MultiReader(strings.NewReader("hi")), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := send(http.MethodPost, tt.kind, tt.body)
			got := e.Data.Req
			if diff := cmp.Diff(tt.want, got.Body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if got.Method != "POST" || got.URL != url+"/in/an/envelope?a=1&a=2&b=%7E" || len(got.Identities) != 1 {
				t.Errorf("request %+v", got)
			}
			if diff := cmp.Diff(map[string]string{"a": "1,2", "b": "~"}, got.Query); diff != "" {
				t.Errorf("query (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"kind": "envelope"}, got.Params); diff != "" {
				t.Errorf("params (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"1", "2"}, got.Headers["X-Own"]); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			sys, _ := e.Metadata["sys"].(map[string]any)
			if sys["MethodName"] != "Envelope" || sys["UtcNow"] == "" || sys["RandGuid"] == "" || len(e.Metadata) != 1 {
				t.Errorf("metadata %v", e.Metadata)
			}
		})
	}
}

func TestFunctionsFire(t *testing.T) {
	t.Parallel()
	f, _, out := functions(t, front.FunctionsOptions{})
	order := func(i instruction) []byte {
		b, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, err := f.Fire(t.Context(), "Tick", order(instruction{Status: 200, Type: "application/json",
		Reply: `{"Outputs":{"a":1},"ReturnValue":"r","Logs":["first","second"]}`}))
	if err != nil {
		t.Fatal(err)
	}
	want := front.Result{
		Outputs: map[string]json.RawMessage{"a": json.RawMessage("1")}, ReturnValue: json.RawMessage(`"r"`), Logs: []string{"first", "second"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(out.String(), "[function] Tick: first\n[function] Tick: second\n") {
		t.Error("the log lines are not in the output")
	}

	// Without an instruction the child answers with what it got.
	got, err = f.Fire(t.Context(), "Tick", []byte(`{"IsPastDue":true}`))
	if err != nil {
		t.Fatal(err)
	}
	var raw struct{ Body string }
	var e struct {
		Data     map[string]string
		Metadata struct{ RetryContext map[string]any }
	}
	if err := errors.Join(json.Unmarshal(got.Outputs["res"], &raw), json.Unmarshal([]byte(raw.Body), &e)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"timer": `"{\"IsPastDue\":true}"`}, e.Data); diff != "" {
		t.Errorf("the value is encoded once in the envelope and once more within it (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"RetryCount": 0.0, "MaxRetryCount": 2.0, "Exception": nil}, e.Metadata.RetryContext, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("retry context (-want +got):\n%s", diff)
	}
	var header http.Header
	if err := json.Unmarshal(got.Outputs["headers"], &header); err != nil {
		t.Fatal(err)
	}
	if header.Get("Content-Type") != "application/json; charset=utf-8" || !strings.HasPrefix(header.Get("User-Agent"), "Azure-Functions-Host/4.") ||
		len(header.Get("X-Azure-Functions-Invocationid")) != 36 {
		t.Errorf("headers %v", header)
	}

	for name, tt := range map[string]struct {
		function, data, want string
	}{
		"a function that answers with an error":  {"Tick", string(order(instruction{Status: 500, Type: "application/json", Reply: "{}"})), "status 500"},
		"a function that answers with no JSON":   {"Tick", string(order(instruction{Status: 200, Type: "application/json", Reply: "no"})), "not {Outputs, Logs, ReturnValue}"},
		"a function that is not there":           {"Tock", `{}`, "there is no function Tock"},
		"a function that is triggered otherwise": {"Gateway", `{}`, "triggered by HTTP requests"},
		"a value that is not JSON":               {"Tick", `{`, "not JSON"},
	} {
		if _, err := f.Fire(t.Context(), tt.function, []byte(tt.data)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
