package vertex_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/providertest"
	"github.com/postern-ai/postern/shared/provider/vertex"
)

// dialect returns the pure part of the provider.
func dialect(t testing.TB) provider.Dialect {
	t.Helper()
	model, err := vertex.New(entry(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	return model.(*provider.Client).Dialect
}

func TestRequestsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	description := google(t)
	golden.Run(t, "request", func(t *testing.T, given golden.Files) golden.Files {
		req := golden.Request(t, given["given-request.json"])
		before := string(golden.JSON(t, req))
		call, err := d.Encode(req)
		if err != nil {
			return golden.Files{"error.json": golden.Error(t, err)}
		}
		if d := cmp.Diff(before, string(golden.JSON(t, req))); d != "" {
			t.Errorf("the request was changed: %s", d)
		}
		fits(t, description, call)
		return golden.Files{"url": call.URL + "\n", "upstream.json": golden.Tidy(t, call.Body)}
	})
}

// google returns Google's own description of the API, or nil where it is not.
func google(t testing.TB) *contract.Description {
	t.Helper()
	return golden.Description(t, func(dir string) (*contract.Description, error) { return contract.Google(dir, "aiplatform-v1") })
}

// fits holds a call against Google's description.
func fits(t testing.TB, description *contract.Description, call *provider.Call) {
	t.Helper()
	if description == nil {
		return
	}
	r, err := http.NewRequest(http.MethodPost, call.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, problems := description.Request(contract.Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: call.Body,
	})
	for _, p := range problems {
		t.Error(p)
	}
}

func TestAnswersAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	judge := golden.Completions(t, false)
	golden.Run(t, "answer", func(t *testing.T, given golden.Files) golden.Files {
		resp, err := d.Decode(&chat.Request{Model: "gemini-3-pro-preview"}, []byte(given["given-answer.json"]))
		if err != nil {
			return golden.Files{"error.json": golden.Error(t, err)}
		}
		resp.Object = chat.ObjectCompletion
		body := golden.JSON(t, resp)
		judge.Answer(t, body)
		return golden.Files{"response.json": golden.Tidy(t, body)}
	})
}

func TestStreamsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	judge := golden.Completions(t, true)
	golden.Run(t, "stream", func(t *testing.T, given golden.Files) golden.Files {
		// The service ends lines with CR and LF, which a golden file cannot keep.
		events := strings.ReplaceAll(given["given-events"], "\n", "\r\n")
		chunks, err := readStream(d, events)
		got := golden.Files{"chunks": ""}
		for _, chunk := range chunks {
			chunk.Object = chat.ObjectChunk
			body := golden.JSON(t, chunk)
			judge.Chunk(t, body)
			got["chunks"] += string(body) + "\n"
		}
		if err != nil {
			got["error.json"] = golden.Error(t, err)
		}
		return got
	})
}

func TestFaultsAreTranslated(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	golden.Run(t, "fault", func(t *testing.T, given golden.Files) golden.Files {
		var status int
		if _, err := fmt.Sscan(given["given-status"], &status); err != nil {
			t.Fatal(err)
		}
		return golden.Files{"error.json": golden.Error(t, d.Fault(status, http.Header{}, []byte(given["given-body"])))}
	})
}

// readStream returns the chunks of a stream and how it ended.
func readStream(d provider.Dialect, events string) ([]*chat.Chunk, error) {
	return providertest.Chunks(newReader(events), d.Decoder(&chat.Request{}))
}
