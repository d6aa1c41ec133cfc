package gcs_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/fault"
	fake "github.com/postern-ai/postern/localdev/fake/gcs"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/gcs"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

// issuer gives out access tokens, the newest of which is good.
type issuer struct {
	mu      sync.Mutex
	issued  int
	expired bool
	err     error
}

func (i *issuer) token(n int) string { return ledgertest.Canary + "-token-" + strconv.Itoa(n) }

func (i *issuer) member(token string) (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return "serviceAccount:rotate", token == i.token(i.issued) && !i.expired
}

// Authorize implements ledger.Authorizer.
func (i *issuer) Authorize(request *http.Request) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	request.Header.Set("Authorization", "Bearer "+i.token(i.issued))
	return i.err
}

// Rejected implements ledger.Authorizer.
func (i *issuer) Rejected(request *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if request.Header.Get("Authorization") == "Bearer "+i.token(i.issued) {
		i.issued, i.expired = i.issued+1, false
	}
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

// described is the service's description, which is read once.
var described = sync.OnceValues(func() (*contract.Description, error) {
	dir, ok := contract.Dir()
	if !ok {
		return nil, nil
	}
	return contract.Google(dir, "storage-v1")
})

// checked holds what passes against the description. An upload is described as the same request without /upload, with the object's properties
// for a body. Content is not described, and errors are older than the form that the description's checks know.
func checked(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	description, err := described()
	if err != nil {
		t.Fatal(err)
	}
	if description == nil {
		t.Log("the vendors' descriptions are not here, so the traffic is not checked against them")
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		query := r.URL.Query()
		media := query.Get("alt") == "media"
		in := contract.Request{Method: r.Method, Path: strings.TrimPrefix(r.URL.EscapedPath(), "/upload"), Query: query, Header: r.Header.Clone(), Body: body}
		if in.Path != r.URL.EscapedPath() {
			in.Body, err = properties(r.Header, body)
			if err != nil {
				t.Error(err)
			}
			in.Header.Set("Content-Type", "application/json")
		}
		exchange, problems := description.Request(in)
		recorder := httptest.NewRecorder()
		next.ServeHTTP(recorder, r)
		if !media && recorder.Code == http.StatusOK && recorder.Header().Get("Content-Type") == "application/json; charset=UTF-8" {
			problems = append(problems, exchange.Response(contract.Response{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.Bytes()})...)
		}
		for _, problem := range problems {
			t.Error(problem)
		}
		for name, values := range recorder.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	})
}

func properties(header http.Header, body []byte) ([]byte, error) {
	_, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	part, err := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]).NextPart()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(part)
}

var names = map[ledgertest.Operation]string{ledgertest.Read: "get", ledgertest.Write: "insert", ledgertest.Remove: "delete"}

// world is a stand-in, and two ledgers in it.
type world struct {
	*issuer
	server *fake.Server
	denied [3]atomic.Bool
	ledger []*ledger.Book
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{issuer: &issuer{}}
	w.server = fake.New(fake.Options{
		Member: w.member, Buckets: []string{"postern-ledger"},
		Allow: func(access fake.Access) bool {
			switch access.Permission {
			case "storage.objects.get":
				return !w.denied[ledgertest.Read].Load()
			case "storage.objects.create":
				return !w.denied[ledgertest.Write].Load()
			case "storage.objects.delete":
				return !w.denied[ledgertest.Remove].Load()
			}
			return access.Permission == "storage.objects.list"
		},
	})
	for range 2 {
		made, err := gcs.New(gcs.Options{Bucket: "postern-ledger", Authorizer: w.issuer, Transport: ledgertest.Transport(checked(t, w.server))})
		if err != nil {
			t.Fatal(err)
		}
		w.ledger = append(w.ledger, made)
	}
	return w
}

func (w *world) breakDown(b ledgertest.Broken) {
	f := fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Times: b.Times}
	if b.Status == 0 && !b.Hangup {
		f.Delay = time.Hour
	}
	if b.After {
		w.server.Faults.After(names[b.On]).Set(f)
		return
	}
	w.server.Faults.Before(names[b.On]).Set(f)
}

func (w *world) mend() {
	for _, name := range names {
		w.server.Faults.Before(name).Clear()
		w.server.Faults.After(name).Clear()
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	if _, err := described(); err != nil {
		t.Fatal(err)
	}
	ledgertest.Test(t, func(t *testing.T) ledgertest.World {
		w := newWorld(t)
		return ledgertest.World{
			Ledger: w.ledger[0], Another: w.ledger[1],
			Deny:         func(on ledgertest.Operation) { w.denied[on].Store(true) },
			Permission:   map[ledgertest.Operation]string{ledgertest.Read: "storage.objects.get", ledgertest.Write: "storage.objects.create", ledgertest.Remove: "storage.objects.delete"},
			Expire:       func() { w.set(func(i *issuer) { i.expired = true }) },
			LoseIdentity: func(err error) { w.set(func(i *issuer) { i.err = err }) },
			Break:        w.breakDown, Mend: w.mend,
			Throttled: ledgertest.Broken{Status: 429, Body: `{"error":{"code":429,"message":"` + ledgertest.Canary + `","errors":[{"message":"x","domain":"usageLimits","reason":"rateLimitExceeded"}]}}`},
			Calls:     func() int { return w.server.Faults.Before("").Calls() },
			Sweep:     w.server.Sweep,
			Plant:     func(key string) { w.server.Seed(fake.Object{Bucket: "postern-ledger", Name: key, Text: "a note"}) },
		}
	})
}
