package contract_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/contract"
)

// documented is the part of OpenAI's description that shows examples.
type documented struct {
	Meta struct {
		Examples []example `json:"examples"`
	} `json:"x-oaiMeta"`
}

type example struct {
	Title   string
	Request struct{ Curl string }
	// Response is the reply, or for a stream its chunks, one a line.
	Response string
}

// TestOpenAIFitsItsOwnExamples holds the checker against what the vendor itself
// shows: every example request and reply of chat completions.
func TestOpenAIFitsItsOwnExamples(t *testing.T) {
	t.Parallel()
	d := description(t, "openai")
	// These examples are older than the schemas that they contradict.
	outdated := map[string][]string{
		"Functions": {"response.choices[0].message.refusal is required"},
		"Logprobs": {
			"response.choices[0].logprobs.refusal is required",
			"response.choices[0].message.refusal is required",
			"response.system_fingerprint must be string, is null",
		},
	}
	samples := examples(t, "/chat/completions")
	if len(samples) < 5 {
		t.Fatalf("only %d examples were found; has the description changed its form?", len(samples))
	}
	for _, sample := range samples {
		t.Run(sample.Title, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, p := range exchangeExample(d, sample) {
				got = append(got, p.Path+" "+p.Text)
			}
			if diff := cmp.Diff(outdated[sample.Title], got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func exchangeExample(d *contract.Description, sample example) []contract.Problem {
	_, body, _ := strings.Cut(sample.Request.Curl, "-d '")
	if end := strings.LastIndex(body, "'"); end >= 0 {
		body = body[:end]
	}
	header := http.Header{"Content-Type": {"application/json"}}
	exchange, problems := d.Request(contract.Request{
		Method: http.MethodPost, Path: "/v1/chat/completions", Header: header, Body: []byte(body),
	})
	if !strings.Contains(body, `"stream": true`) {
		reply := contract.Response{Status: http.StatusOK, Header: header, Body: []byte(sample.Response)}
		return append(problems, exchange.Response(reply)...)
	}
	for line := range strings.Lines(sample.Response) {
		if line = strings.TrimSpace(line); json.Valid([]byte(line)) { // the rest are ellipses
			problems = append(problems, exchange.Event(contract.Event{Data: []byte(line)})...)
		}
	}
	return problems
}

func examples(t *testing.T, path string) []example {
	t.Helper()
	file, err := os.Open(filepath.Join(folder(), "openai", "openapi.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	var operation documented
	if err := json.Unmarshal(document.Paths[path]["post"], &operation); err != nil {
		t.Fatal(err)
	}
	return operation.Meta.Examples
}
