package vertex_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/vertex"
)

func TestTheAddressFollowsTheLocation(t *testing.T) {
	t.Parallel()
	const path = "/v1/projects/p-1234/locations/LOCATION/publishers/google/models/gemini-2.5-pro:generateContent"
	for _, c := range []struct{ name, base, location, want string }{
		{"no location is global", "", "", "https://aiplatform.googleapis.com" + path},
		{"global", "", "global", "https://aiplatform.googleapis.com" + path},
		{"a region", "", "europe-west4", "https://europe-west4-aiplatform.googleapis.com" + path},
		{"the European Union", "", "eu", "https://aiplatform.eu.rep.googleapis.com" + path},
		{"the United States", "", "us", "https://aiplatform.us.rep.googleapis.com" + path},
		{"an address of the document", "https://vertex.example.com/proxy", "us", "https://vertex.example.com/proxy" + path},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			model, err := vertex.New(&config.Upstream{BaseURL: c.base, LocationID: c.location, ProjectID: "p-1234"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			call, err := model.(*provider.Client).Dialect.Encode(golden.Request(t, `{"model":"gemini-2.5-pro","messages":[{"role":"user","content":"a"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			location := c.location
			if location == "" {
				location = "global"
			}
			if want := strings.ReplaceAll(c.want, "LOCATION", location); call.URL != want {
				t.Errorf("got %s, want %s", call.URL, want)
			}
		})
	}
}

func TestAnUpstreamThatLeadsElsewhereIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, field string
		upstream    config.Upstream
	}{
		{"a location that is a host", "location_id", config.Upstream{ProjectID: "p", LocationID: "evil.example.com/"}},
		{"a location with a path", "location_id", config.Upstream{ProjectID: "p", LocationID: "eu/../x"}},
		{"a location that begins with a dash", "location_id", config.Upstream{ProjectID: "p", LocationID: "-eu"}},
		{"a project with a path", "project_id", config.Upstream{ProjectID: "p/../../x"}},
		{"a project with a query", "project_id", config.Upstream{ProjectID: "p?x"}},
		{"a project that is a step up", "project_id", config.Upstream{ProjectID: ".."}},
		{"an address with the version", "base_url", config.Upstream{ProjectID: "p", BaseURL: "https://aiplatform.googleapis.com/v1"}},
		{"no project and nobody to ask", "project_id", config.Upstream{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := vertex.New(&c.upstream, nil); err == nil || !strings.Contains(err.Error(), c.field) {
				t.Errorf("got error %v, want one that names %s", err, c.field)
			}
		})
	}
}

func TestAModelCannotLeadElsewhere(t *testing.T) {
	t.Parallel()
	d := dialect(t)
	for _, model := range []string{
		"..", ".", "../../x", "a/b", "a:generateContent", "a?x", "a#x", "a%2fb", "a b", "ä", "gemini\n",
		"endpoints/", "endpoints/..", "endpoints/a/b", "endpoints/endpoints/a", strings.Repeat("a", 129), "",
	} {
		t.Run(fmt.Sprintf("%.20q", model), func(t *testing.T) {
			t.Parallel()
			_, err := d.Encode(&chat.Request{Model: model, Messages: []chat.Message{{Role: chat.RoleUser, Content: chat.Text("a")}}})
			if e, ok := errors.AsType[*chat.Error](err); !ok || e.Status != http.StatusNotFound || e.Code != chat.CodeModelNotFound || e.Param != "model" {
				t.Errorf("got %v, want a 404", err)
			}
		})
	}
}

// recorder is a Doer that answers every request alike and remembers where it
// was sent.
type recorder struct {
	mu   sync.Mutex
	urls []string
}

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.urls = append(r.urls, req.URL.Path)
	body := `{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}`
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: readCloser(body)}, nil
}

func hello() *chat.Request {
	return &chat.Request{Model: "gemini-2.5-pro", Messages: []chat.Message{{Role: chat.RoleUser, Content: chat.Text("a")}}}
}

func TestTheProjectIsLookedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		doer, asked := &recorder{}, 0
		model, err := vertex.NewWith(&config.Upstream{}, doer, vertex.Options{Project: func(context.Context) (string, error) {
			asked++
			time.Sleep(time.Second)
			return "found-project", nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				if _, err := model.Chat(t.Context(), hello()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if asked != 1 {
			t.Errorf("the project was asked for %d times", asked)
		}
		for _, path := range doer.urls {
			if !strings.HasPrefix(path, "/v1/projects/found-project/locations/global/") {
				t.Errorf("sent to %s", path)
			}
		}
	})
}

func TestAProjectThatIsNotFoundIsLookedForAgain(t *testing.T) {
	t.Parallel()
	answers := []struct {
		project string
		err     error
	}{{"", errors.New("no metadata server")}, {"../x", nil}, {"", nil}, {"found-project", nil}}
	n := 0
	model, err := vertex.NewWith(&config.Upstream{}, &recorder{}, vertex.Options{Project: func(context.Context) (string, error) {
		n++
		return answers[n-1].project, answers[n-1].err
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range answers {
		_, err := model.Chat(t.Context(), hello())
		if i == len(answers)-1 {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		e, ok := errors.AsType[*chat.Error](err)
		if !ok || e.Status != 502 || e.Code != chat.CodeUpstreamAuth || !strings.Contains(e.Message, "project_id") || e.Err == nil {
			t.Errorf("answer %d: got %v", i, err)
		}
		streaming := hello()
		streaming.Stream = true
		n-- // the same answer to another kind of request
		if _, again := model.Stream(t.Context(), streaming); again == nil || again.Error() != err.Error() {
			t.Errorf("answer %d: Stream says %v, Chat says %v", i, again, err)
		}
	}
}

func TestWhoeverWaitsForTheProjectGivesUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model, err := vertex.NewWith(&config.Upstream{}, &recorder{}, vertex.Options{Project: func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for i := range 3 {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(3-i)*time.Second)
				defer cancel()
				start := time.Now()
				_, err := model.Chat(ctx, hello())
				if e, ok := errors.AsType[*chat.Error](err); !ok || e.Code != chat.CodeUpstreamTimeout {
					t.Errorf("got %v", err)
				}
				if waited := time.Since(start); waited != time.Duration(3-i)*time.Second {
					t.Errorf("gave up after %v", waited)
				}
			})
		}
		group.Wait()
	})
}
