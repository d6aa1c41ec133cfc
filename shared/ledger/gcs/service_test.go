package gcs_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/gcs"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

// TestARecordIsAnObject looks at what is stored, over a network and without the ledger.
func TestARecordIsAnObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener := httptest.NewServer(checked(t, w.server))
	t.Cleanup(listener.Close)
	book, err := gcs.New(gcs.Options{Bucket: "postern-ledger", Authorizer: w.issuer, Endpoint: listener.URL, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2100, 1, 2, 3, 4, 5, 6, time.UTC)
	saved, err := book.Save(t.Context(), "rotation/a:b", ledger.Record{Data: []byte("state"), Expires: end})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, listener.URL+"/storage/v1/b/postern-ledger/o/rotation%2Fa:b?fields=name,contentType,cacheControl,customTime,generation", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Authorize(request); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	want := `{"cacheControl":"no-store","contentType":"application/json","customTime":"2100-01-02T03:04:06Z","generation":"` + saved.Revision + `","name":"rotation/a:b"}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, error %v\nwant %s", got, err, want)
	}
	if record, err := book.Load(t.Context(), "rotation/a:b"); err != nil || !record.Expires.Equal(saved.Expires) || string(record.Data) != "state" {
		t.Errorf("loaded %+v, error %v", record, err)
	}
	if err := book.Delete(t.Context(), "rotation/a:b", saved); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(status int, reason string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"error":{"code":` + strconv.Itoa(status) + `,"message":"` + ledgertest.Canary + `","errors":[{"reason":"` + reason + `","message":"` + ledgertest.Canary + `"}]}}`}
	}
	const rights = " (roles/storage.objectUser) on the bucket"
	for _, test := range []struct {
		name        string
		fault       fault.Fault
		read, write string
	}{
		{"no right", refusal(403, "forbidden"), "this function's service account may not do that; it needs storage.objects.get and storage.objects.list" + rights,
			"this function's service account may not do that; it needs storage.objects.create and storage.objects.delete" + rights},
		{"no such bucket", refusal(404, "notFound"), "there is no such record", "Cloud Storage has no bucket of the configured name"},
		{"a token that is not accepted", refusal(401, "authError"), "Google does not accept this function's access token", "Google does not accept this function's access token"},
		{"a quota", refusal(403, "rateLimitExceeded"), "", "the store is throttling (403)"},
		{"a proxy's page", fault.Fault{Status: 404, Body: "<html>" + ledgertest.Canary}, "the store answers with status 404", "the store answers with status 404"},
		{"another precondition", refusal(412, "orgPolicy"), "the store answers with status 412", "the store answers with status 412"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server.Faults.Before("").Set(test.fault)
				_, err := w.ledger[0].Load(t.Context(), "key")
				if want := `ledger record "key": ` + test.read; test.read != "" && (err == nil || err.Error() != want) {
					t.Errorf("load:\ngot  %v\nwant %s", err, want)
				}
				_, err = w.ledger[0].Save(t.Context(), "key", ledger.Record{})
				if want := `ledger record "key": ` + test.write; err == nil || err.Error() != want {
					t.Errorf("save:\ngot  %v\nwant %s", err, want)
				}
			})
		})
	}
}

func TestARevisionOfAnotherLedgerIsAConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, revision := range []string{"0", "-1", "x", `"etag"`, "1&ifGenerationMatch=0"} {
			_, err := w.ledger[0].Save(t.Context(), "key", ledger.Record{Revision: revision})
			if !errors.Is(err, ledger.ErrConflict) {
				t.Errorf("%q: got %v", revision, err)
			}
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options gcs.Options
		want    string
	}{
		{"no authorizer", gcs.Options{Bucket: "bucket"}, "authorizer"},
		{"no bucket", gcs.Options{Authorizer: &issuer{}}, "bucket"},
		{"a bucket that is a path", gcs.Options{Authorizer: &issuer{}, Bucket: "a/o/b"}, "bucket"},
		{"an endpoint without TLS", gcs.Options{Authorizer: &issuer{}, Bucket: "bucket", Endpoint: "http://example.com"}, "https://"},
	} {
		if _, err := gcs.New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

// canned answers every request in one way.
type canned struct {
	status int
	body   string
}

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	header := http.Header{"X-Goog-Generation": {"7"}}
	return &http.Response{StatusCode: c.status, Header: header, Body: io.NopCloser(strings.NewReader(c.body))}, nil
}

func FuzzReply(f *testing.F) {
	f.Add(200, `{"format":1,"writer":"w","data":"ZGF0YQ=="}`)
	f.Add(200, `{"generation":"7"}`)
	f.Add(404, `{"error":{"code":404,"errors":[{"reason":"notFound"}]}}`)
	f.Add(412, `{"error":{"code":412,"errors":[{"reason":"conditionNotMet"}]}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			return
		}
		book, err := gcs.New(gcs.Options{Bucket: "bucket", Authorizer: &issuer{}, Transport: canned{status, body}})
		if err != nil {
			t.Fatal(err)
		}
		entry, readErr := book.Store.Read(t.Context(), "key")
		if readErr == nil && entry.Writer == "" {
			t.Errorf("a reply without a writer is accepted: %q", body)
		}
		revision, writeErr := book.Store.Write(t.Context(), "key", ledger.Entry{Writer: "w"})
		if writeErr == nil && revision == "" {
			t.Errorf("a reply without a revision is accepted: %q", body)
		}
		for _, err := range []error{readErr, writeErr} {
			var told *ledger.Error
			if err != nil && (!errors.As(err, &told) || len(body) > 12 && strings.Contains(err.Error(), body)) {
				t.Errorf("got %v", err)
			}
		}
	})
}
