package rotation_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// answer is a service that always answers the same.
type answer struct {
	status int
	header http.Header
	body   string
	calls  int
}

func (a *answer) RoundTrip(*http.Request) (*http.Response, error) {
	a.calls++
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

func TestAKeyThatFitsIntoNoHeaderIsNotSent(t *testing.T) {
	t.Parallel()
	service := &answer{status: 200, body: `{"data":[]}`}
	remote := rotation.Remote{Service: "it", HTTP: secrets.Bounded(service)}
	proof := rotation.Proof{URL: "https://example.com", Name: "X-Key", Member: "data"}
	for _, text := range []string{"", " ", "a b", "a\n", "a\r\nb: c", "\x00", "ä", "\"a b\""} {
		err := remote.Prove(t.Context(), proof, secrets.NewValue(text))
		if !errors.Is(err, rotation.ErrRejected) || service.calls != 0 {
			t.Errorf("%q: got %v after %d requests", text, err, service.calls)
		}
	}
	if err := remote.Prove(t.Context(), proof, secrets.NewValue("a")); err != nil || service.calls != 1 {
		t.Errorf("got %v after %d requests", err, service.calls)
	}
}

func TestAHintShowsWhichKeyItIs(t *testing.T) {
	t.Parallel()
	value := secrets.NewValue("sk-ab0123456789xyz")
	for hint, want := range map[string]bool{
		"sk-ab...xyz": true, "sk-ab********xyz": true, "sk-ab…9xyz": true, "sk-a.*.yz": true,
		"sk-ab...xyy": false, "sk-ac...xyz": false, "": false, "...": false, "sk-ab": false, "sk-ab0123...": false,
		"s...z": false, "sk-ab0123456789xyz": false, "sk-ab0123456...3456789xyz": false,
	} {
		if got := (rotation.Hint{Text: hint}).Matches(value); got != want {
			t.Errorf("%q: got %v", hint, got)
		}
	}
	itself := func(h rotation.Hint) rotation.Hint { return h }
	id, err := rotation.IdentifyByHint(value, []rotation.Hint{{ID: "1", Text: "sk-ab...xyz"}, {ID: "2", Text: "sk-ab...123"}}, itself)
	if id != "1" || err != nil {
		t.Errorf("got %q, error %v", id, err)
	}
	id, err = rotation.IdentifyByHint(value, []rotation.Hint{{ID: "1", Text: "sk-ab...xyz"}, {ID: "2", Text: "sk-ab...xyz"}}, itself)
	if id != "" || !errors.Is(err, rotation.ErrRefused) {
		t.Errorf("got %q, error %v", id, err)
	}
}

func TestAListThatDoesNotEndIsAnError(t *testing.T) {
	t.Parallel()
	pages := 0
	err := rotation.Pages("find", func(string) (string, error) {
		pages++
		return strconv.Itoa(pages), nil
	})
	if err == nil || pages > 1000 {
		t.Errorf("%d pages, error %v", pages, err)
	}
	pages = 0
	err = rotation.Pages("find", func(string) (string, error) { pages++; return "same", nil })
	if err == nil || pages != 2 {
		t.Errorf("%d pages, error %v", pages, err)
	}
}

func TestHowLongToWaitIsBounded(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"5": 5 * time.Second, "2147483647": 24 * time.Hour, "99999999999999999999": 0, "Fri, 31 Dec 9999 23:59:59 GMT": 24 * time.Hour, "1.5": 0} {
		service := &answer{status: 503, header: http.Header{"Retry-After": {header}}}
		remote := rotation.Remote{Service: "it", HTTP: secrets.Bounded(service)}
		reply, err := remote.Call(t.Context(), rotation.Call{Method: http.MethodGet, URL: "https://example.com"})
		if err != nil {
			t.Fatal(err)
		}
		told, _ := errors.AsType[*rotation.Error](reply.Unexpected())
		if told.RetryAfter != want {
			t.Errorf("%s: got %v, want %v", header, told.RetryAfter, want)
		}
	}
}

func TestAnAddressIsOneOfTLS(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://example.com/a/": "https://example.com/a", "http://127.0.0.1:9": "http://127.0.0.1:9", "http://localhost/x": "http://localhost/x",
		"http://example.com": "", "https://u:p@example.com": "", "https://example.com#x": "", "https://example.com?x": "", "https://": "", "": "", "ftp://example.com": "",
	} {
		got, err := rotation.Endpoint(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, error %v", text, got, err)
		}
	}
	if _, err := rotation.Address("https://example.com/register?client_id=a"); err != nil {
		t.Error(err)
	}
}
