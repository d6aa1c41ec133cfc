package bedrock_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	fake "github.com/postern-ai/postern/localdev/fake/bedrock"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
)

// excused are the rules of the service that the provider leaves to it: they
// need more than a look at the shape of a request.
var excused = []string{
	"Could not process image", "pixels on a side",
	"inputSchema.json.type must be one of", "ids must be unique", "is not a JSON schema",
}

// FuzzRequests: whatever may be asked is either refused by name, or becomes a
// request that AWS's own model and the rules of Converse accept.
func FuzzRequests(f *testing.F) {
	paths, err := filepath.Glob("testdata/request/*.txtar")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		model := haiku
		for _, file := range archive.Files {
			switch file.Name {
			case "given-model":
				model = strings.TrimSpace(string(file.Data))
			case "given-request.json":
				f.Add(string(file.Data), strings.Contains(model, "nova"))
			}
		}
	}
	dir, ok := contract.Dir()
	if !ok {
		f.Skip("the vendors' descriptions are not here")
	}
	description, err := contract.AWS(dir, "bedrock-runtime")
	if err != nil {
		f.Fatal(err)
	}
	stand := fake.New(fake.Options{
		Brain: brain.Echo{}, Region: region,
		Keys: func(id string) (awsauth.Key, bool) { return key, id == key.AccessKeyID },
	})
	f.Fuzz(func(t *testing.T, text string, other bool) {
		req, err := chat.Decode([]byte(text), chat.Limits{})
		if err != nil || strings.Contains(text, "#") {
			return // a request, and no directive to the model behind the stand-in
		}
		req.Model = haiku
		if other {
			req.Model = nova
		}
		before := golden.JSON(t, req)
		m := newModel(t, doer(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := description.Request(contract.Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header, Body: body})
			for _, p := range problems {
				if p.Path != youngerThanTheModel {
					t.Errorf("%s\n%s", p, body)
				}
			}
			judged := r.Clone(r.Context())
			judged.Body, judged.RequestURI = io.NopCloser(bytes.NewReader(body)), r.URL.RequestURI()
			judged.Host = r.URL.Host
			if err := (signer{key}).Authorize(judged); err != nil {
				t.Fatal(err)
			}
			answer := httptest.NewRecorder()
			stand.ServeHTTP(answer, judged)
			if answer.Code != http.StatusOK {
				said := answer.Body.String()
				for _, rule := range excused {
					if strings.Contains(said, rule) {
						return reply(jsonType, []byte(whole)), nil
					}
				}
				t.Errorf("the service refuses with %s\n%s", said, body)
			}
			return reply(jsonType, []byte(whole)), nil
		}))
		_, err = m.Chat(t.Context(), req)
		if e, ok := errors.AsType[*chat.Error](err); err != nil && (!ok || e.Status != http.StatusBadRequest || e.Message == "") {
			t.Errorf("got %v, want a 400 that says why", err)
		}
		if !bytes.Equal(before, golden.JSON(t, req)) {
			t.Error("the request was changed")
		}
	})
}

// FuzzAnswers: whatever the service sends, the answer is one or an error.
func FuzzAnswers(f *testing.F) {
	paths, _ := filepath.Glob("testdata/answer/*.txtar")
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		resp, err := newModel(t, doer(func(*http.Request) (*http.Response, error) { return reply(jsonType, body), nil })).Chat(t.Context(), ask(t, hello))
		if err != nil {
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status < 500 {
				t.Errorf("got %v", err)
			}
			return
		}
		c := resp.Choices[0]
		if !chat.IsFinishReason(c.FinishReason) || c.Message.Content == nil && len(c.Message.ToolCalls) == 0 {
			t.Errorf("got %+v", resp)
		}
	})
}
