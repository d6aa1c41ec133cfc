// Package gcs keeps a ledger in a bucket of Google Cloud Storage, over its JSON API: one object for each record, written under a condition on the
// object's generation (https://cloud.google.com/storage/docs/request-preconditions).
//
// The object holds the record and its end. It has the end as its custom time too, so that a lifecycle rule with daysSinceCustomTime removes what
// has expired. The bucket needs neither versions nor soft deletion, and each would keep old states of every record.
//
// The package must not know what a record says, nor where its access tokens come from.
package gcs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	globalHost = "https://storage.googleapis.com"
	// anyRole is the role that has all rights that a ledger needs.
	anyRole = "roles/storage.objectUser"
	// readRights are two: without the second, the service does not tell that an object is missing.
	readRights = "storage.objects.get and storage.objects.list"
)

// Options says how to reach the bucket.
type Options struct {
	// Bucket is the name of the bucket.
	Bucket string
	// Authorizer puts an access token for the scope https://www.googleapis.com/auth/devstorage.read_write, or
	// https://www.googleapis.com/auth/cloud-platform, on each request. Its identity needs storage.objects.get, storage.objects.create
	// and storage.objects.delete, without which nothing is overwritten, and storage.objects.list, without which a missing record looks like a
	// missing right.
	Authorizer ledger.Authorizer
	// Endpoint replaces the service's own endpoint.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

var (
	// bucketForm is from https://cloud.google.com/storage/docs/buckets#naming.
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)
	// generationForm is that of an object's generation: a number in a string.
	generationForm = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)
)

// New returns a ledger. It makes no network call.
func New(options Options) (*ledger.Book, error) {
	switch {
	case options.Authorizer == nil:
		return nil, errors.New("a ledger in Cloud Storage needs an authorizer")
	case !bucketForm.MatchString(options.Bucket):
		return nil, errors.New("a ledger in Cloud Storage needs the name of its bucket")
	}
	endpoint := globalHost
	if options.Endpoint != "" {
		parsed, err := secrets.Endpoint(options.Endpoint)
		if err != nil {
			return nil, err
		}
		endpoint = parsed.String()
	}
	s := &store{
		objects: endpoint + "/storage/v1/b/" + options.Bucket + "/o/",
		upload:  endpoint + "/upload/storage/v1/b/" + options.Bucket + "/o",
		remote:  ledger.Remote{HTTP: secrets.Bounded(options.Transport), Authorizer: options.Authorizer},
	}
	return &ledger.Book{Store: s, Timeout: options.Timeout}, nil
}

type store struct {
	objects string
	upload  string
	remote  ledger.Remote
}

// object is the URL of the object for a key. It is one segment of the path, whatever slashes are in it.
func (s *store) object(key string, query url.Values) string {
	return s.objects + url.PathEscape(key) + "?" + query.Encode()
}

// Read implements [ledger.Store].
func (s *store) Read(ctx context.Context, key string) (ledger.Entry, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.object(key, url.Values{"alt": {"media"}}), nil)
	if err != nil {
		return ledger.Entry{}, badKey(key, err)
	}
	reply, err := s.remote.Send(request, key)
	if err != nil {
		return ledger.Entry{}, err
	}
	switch {
	case reply.Status == http.StatusNotFound:
		return ledger.Entry{}, s.missing(ctx, key)
	case reply.Status == http.StatusForbidden:
		return ledger.Entry{}, denied(refusal{key: key, permission: readRights})
	case reply.Status != http.StatusOK:
		return ledger.Entry{}, explain(reply, refusal{key: key, permission: readRights})
	}
	generation := reply.Header.Get("X-Goog-Generation")
	if !generationForm.MatchString(generation) {
		return ledger.Entry{}, ledger.Malformed(key)
	}
	entry, err := ledger.DecodeEntry(reply.Body)
	if err != nil {
		return ledger.Entry{}, &ledger.Error{Key: key, Reason: "the bucket's object is not a record of this ledger"}
	}
	entry.Revision = generation
	return entry, nil
}

// missing finds out whether an object is missing. When content is asked for, an error is a line of text, which a proxy's page can be too; when
// its properties are asked for, it is one of the API.
func (s *store) missing(ctx context.Context, key string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.object(key, url.Values{"fields": {"generation"}}), nil)
	if err != nil {
		return badKey(key, err)
	}
	reply, err := s.remote.Send(request, key)
	switch {
	case err != nil:
		return err
	case reply.Status == http.StatusNotFound && reason(reply) == "notFound":
		return &ledger.Error{Key: key, Reason: "there is no such record", Err: ledger.ErrNotFound}
	case reply.Status == http.StatusOK:
		return &ledger.Error{Key: key, Reason: "it was made while it was read", Err: ledger.ErrUnavailable}
	}
	return explain(reply, refusal{key: key, permission: readRights})
}

// Write implements [ledger.Store].
func (s *store) Write(ctx context.Context, key string, entry ledger.Entry) (string, error) {
	seen := entry.Revision
	if seen == "" {
		seen = "0" // the generation of an object that is not there
	} else if !generationForm.MatchString(seen) {
		return "", foreign(key)
	}
	body, contentType, err := upload(key, entry)
	if err != nil {
		return "", badKey(key, err)
	}
	query := url.Values{"uploadType": {"multipart"}, "ifGenerationMatch": {seen}, "fields": {"generation"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.upload+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return "", badKey(key, err)
	}
	request.Header.Set("Content-Type", contentType)
	reply, err := s.remote.Send(request, key)
	if err != nil {
		return "", err
	}
	if reply.Status != http.StatusOK {
		return "", explain(reply, refusal{key: key, permission: "storage.objects.create and storage.objects.delete"})
	}
	var out struct {
		Generation string `json:"generation"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || !generationForm.MatchString(out.Generation) {
		return "", ledger.Malformed(key)
	}
	return out.Generation, nil
}

// upload returns the body that holds both the object's properties and its content
// (https://cloud.google.com/storage/docs/uploading-objects#uploading-an-object, multipart uploads).
func upload(key string, entry ledger.Entry) (body []byte, contentType string, err error) {
	properties, err := json.Marshal(struct {
		Name         string    `json:"name"`
		ContentType  string    `json:"contentType"`
		CacheControl string    `json:"cacheControl"`
		CustomTime   time.Time `json:"customTime,omitzero"`
	}{key, "application/json", "no-store", entry.Expires.UTC()})
	if err != nil {
		return nil, "", err
	}
	content, err := entry.Encode()
	if err != nil {
		return nil, "", err
	}
	var buffer bytes.Buffer
	parts := multipart.NewWriter(&buffer)
	for _, part := range [][]byte{properties, content} {
		w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json; charset=UTF-8"}})
		if err != nil {
			return nil, "", err
		}
		if _, err := io.Copy(w, bytes.NewReader(part)); err != nil {
			return nil, "", err
		}
	}
	if err := parts.Close(); err != nil {
		return nil, "", err
	}
	return buffer.Bytes(), "multipart/related; boundary=" + parts.Boundary(), nil
}

// Remove implements [ledger.Store].
func (s *store) Remove(ctx context.Context, key string, entry ledger.Entry) error {
	if !generationForm.MatchString(entry.Revision) {
		return foreign(key)
	}
	target := s.object(key, url.Values{"ifGenerationMatch": {entry.Revision}})
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, target, nil)
	if err != nil {
		return badKey(key, err)
	}
	reply, err := s.remote.Send(request, key)
	switch {
	case err != nil:
		return err
	case reply.Status == http.StatusNoContent:
		return nil
	case reply.Status == http.StatusNotFound && reason(reply) == "notFound":
		return &ledger.Error{Key: key, Reason: "there is no such record", Err: ledger.ErrConflict}
	}
	return explain(reply, refusal{key: key, permission: "storage.objects.delete"})
}

// refusal is what was refused, and the right that it needs.
type refusal struct{ key, permission string }

// reason returns the name of the first error in a reply (https://cloud.google.com/storage/docs/json_api/v1/status-codes). A reply that is no error
// of this API, such as a proxy's page, has none.
func reason(reply ledger.Reply) string {
	var out struct {
		Error struct {
			Errors []struct {
				Reason string `json:"reason"`
			} `json:"errors"`
		} `json:"error"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || len(out.Error.Errors) == 0 {
		return ""
	}
	return out.Error.Errors[0].Reason
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func explain(reply ledger.Reply, r refusal) error {
	refuse := func(reason string, cause error) error {
		return &ledger.Error{Key: r.key, Reason: reason, Err: cause}
	}
	why := reason(reply)
	switch {
	case reply.Status == http.StatusUnauthorized:
		return refuse("Google does not accept this function's access token", nil)
	case reply.Status == http.StatusPreconditionFailed && why == "conditionNotMet":
		return refuse("somebody else has changed it", ledger.ErrConflict)
	case reply.Status == http.StatusForbidden && (why == "rateLimitExceeded" || why == "userRateLimitExceeded"):
		return refuse("the store is throttling (403)", ledger.ErrUnavailable)
	case reply.Status == http.StatusForbidden && why == "forbidden":
		return denied(r)
	case reply.Status == http.StatusNotFound && why == "notFound":
		return refuse("Cloud Storage has no bucket of the configured name", nil)
	}
	return reply.Unexpected(r.key)
}

func denied(r refusal) error {
	return &ledger.Error{Key: r.key, Reason: "this function's service account may not do that; it needs " + r.permission + " (" + anyRole + ") on the bucket"}
}

func badKey(key string, err error) error {
	return &ledger.Error{Key: key, Reason: "no request can be made of it", Err: err}
}

// foreign is the error for a revision that is none of this store.
func foreign(key string) error {
	return &ledger.Error{Key: key, Reason: "its revision is not one of this ledger; load it again", Err: ledger.ErrConflict}
}
