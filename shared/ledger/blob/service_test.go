package blob_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/postern-ai/postern/localdev/fake/blob"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/blob"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

// TestARecordIsABlob looks at what is stored, over a network and without the ledger.
func TestARecordIsABlob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener := httptest.NewServer(w.server)
	t.Cleanup(listener.Close)
	book, err := blob.New(blob.Options{Account: listener.URL, Container: "postern-ledger", Authorizer: w.issuer, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	saved, err := book.Save(t.Context(), "rotation/a:b@c=d", ledger.Record{Data: []byte("state"), Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, listener.URL+"/postern-ledger/rotation/a:b@c=d", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Ms-Version", "2025-05-05")
	request.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	if err := w.Authorize(request); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || !strings.HasPrefix(string(body), `{"format":1,"writer":"`) || response.Header.Get("Etag") != saved.Revision ||
		response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %s with %v, error %v", body, response.Header, err)
	}
	if err := book.Delete(t.Context(), "rotation/a:b@c=d", saved); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Header: http.Header{"X-Ms-Error-Code": {code}}, Body: "<Error><Message>" + ledgertest.Canary}
	}
	for _, test := range []struct {
		name  string
		fault fault.Fault
		want  string
	}{
		{"no right", refusal(403, "AuthorizationPermissionMismatch"), "this function's identity may not write blobs; it needs the role Storage Blob Data Contributor on the container"},
		{"a firewall", refusal(403, "AuthorizationFailure"), "the storage account's firewall does not let this function in"},
		{"no such container", refusal(404, "ContainerNotFound"), "the storage account has no container of the configured name"},
		{"a token that is not accepted", refusal(401, "InvalidAuthenticationInfo"), "Azure does not accept this function's access token"},
		{"a lease", refusal(412, "LeaseIdMissing"), "somebody holds a lease on its blob; break the lease"},
		{"a policy", refusal(409, "BlobImmutableDueToPolicy"), "its blob must not be changed; the ledger needs a container without an immutability policy"},
		{"a quota", refusal(503, "ServerBusy"), "the store is throttling (503); it is not known whether the record has changed"},
		{"a proxy's page", fault.Fault{Status: 404, Body: "<html>" + ledgertest.Canary}, "the store answers with status 404"},
		{"a conflict of something else", fault.Fault{Status: 412}, "the store answers with status 412"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server.Faults.Before("").Set(test.fault)
				_, err := w.ledger[0].Save(t.Context(), "key", ledger.Record{})
				if want := `ledger record "key": ` + test.want; err == nil || err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			})
		})
	}
}

func TestALeaseOfSomebodyElseIsNoConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		saved, err := w.ledger[0].Save(t.Context(), "key", ledger.Record{})
		if err != nil {
			t.Fatal(err)
		}
		w.server.Lease(fake.Blob{Container: "postern-ledger", Name: "key"})
		for _, err := range []error{w.ledger[0].Delete(t.Context(), "key", saved), func() error { _, err := w.ledger[0].Save(t.Context(), "key", saved); return err }()} {
			if err == nil || errors.Is(err, ledger.ErrConflict) || !strings.Contains(err.Error(), "break the lease") {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestARevisionOfAnotherLedgerIsAConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, revision := range []string{"*", "1", `W/"x"`, `"a", "b"`, "\"a\r\nX: b\""} {
			if _, err := w.ledger[0].Save(t.Context(), "key", ledger.Record{Revision: revision}); !errors.Is(err, ledger.ErrConflict) {
				t.Errorf("%q: got %v", revision, err)
			}
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := blob.Options{Account: "https://account.blob.core.windows.net", Container: "ledger", Authorizer: &issuer{}}
	for _, test := range []struct {
		name   string
		change func(*blob.Options)
		want   string
	}{
		{"no authorizer", func(o *blob.Options) { o.Authorizer = nil }, "authorizer"},
		{"no container", func(o *blob.Options) { o.Container = "" }, "container"},
		{"a container that is a path", func(o *blob.Options) { o.Container = "a/b" }, "container"},
		{"a long container", func(o *blob.Options) { o.Container = strings.Repeat("a-b", 22) }, "container"},
		{"no account", func(o *blob.Options) { o.Account = "" }, "URL"},
		{"an account without TLS", func(o *blob.Options) { o.Account = "http://account.blob.core.windows.net" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := blob.New(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	if _, err := blob.New(good); err != nil {
		t.Error(err)
	}
}

// canned answers every request in one way.
type canned struct {
	status     int
	etag, body string
}

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: http.Header{"Etag": {c.etag}}, Body: io.NopCloser(strings.NewReader(c.body))}, nil
}

func FuzzReply(f *testing.F) {
	f.Add(200, `"0x1"`, `{"format":1,"writer":"w","data":"ZGF0YQ=="}`)
	f.Add(201, `"0x1"`, ``)
	f.Add(201, `*`, ``)
	f.Fuzz(func(t *testing.T, status int, etag, body string) {
		if status < 100 || status > 999 {
			return
		}
		book, err := blob.New(blob.Options{Account: "https://a.example", Container: "ledger", Authorizer: &issuer{}, Transport: canned{status, etag, body}})
		if err != nil {
			t.Fatal(err)
		}
		entry, readErr := book.Store.Read(t.Context(), "key")
		if readErr == nil && (entry.Writer == "" || entry.Revision != etag) {
			t.Errorf("a reply without a writer is accepted: %q", body)
		}
		revision, writeErr := book.Store.Write(t.Context(), "key", ledger.Entry{Writer: "w"})
		if writeErr == nil && (revision != etag || len(etag) < 3) {
			t.Errorf("a reply without a revision is accepted: %q", etag)
		}
		for _, err := range []error{readErr, writeErr} {
			var told *ledger.Error
			if err != nil && (!errors.As(err, &told) || len(body) > 12 && strings.Contains(err.Error(), body)) {
				t.Errorf("got %v", err)
			}
		}
	})
}
