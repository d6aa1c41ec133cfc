// Package blob keeps a ledger in a container of Azure Blob Storage, over its REST API: one block blob for each record, written under a condition on
// the blob's ETag (https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations).
//
// Nothing in the service removes a blob by a date of its own, so what has expired stays until it is overwritten, or until a lifecycle rule on the
// container removes what was not modified for long. Such a rule must not cover leases, whose tokens have to grow for ever.
//
// The package must not know what a record says, nor where its access tokens come from.
package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// apiVersion is one that every cloud of Azure knows.
	apiVersion = "2023-11-03"
	role       = "Storage Blob Data Contributor"
)

// Options says how to reach the container.
type Options struct {
	// Account is the address of the storage account's blobs, such as https://account.blob.core.windows.net.
	Account string
	// Container is the name of the container.
	Container string
	// Authorizer puts an access token for the scope https://storage.azure.com/.default on each request. Its identity needs the role Storage Blob
	// Data Contributor on the container.
	Authorizer ledger.Authorizer
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

var (
	// containerForm is from
	// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata.
	containerForm = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	etagForm      = regexp.MustCompile(`^"[!#-~]{1,100}"$`)
)

// New returns a ledger. It makes no network call.
func New(options Options) (*ledger.Book, error) {
	switch {
	case options.Authorizer == nil:
		return nil, errors.New("a ledger in Blob Storage needs an authorizer")
	case !containerForm.MatchString(options.Container) || len(options.Container) > 63:
		return nil, errors.New("a ledger in Blob Storage needs the name of its container")
	}
	account, err := secrets.Endpoint(options.Account)
	if err != nil {
		return nil, err
	}
	s := &store{container: account.JoinPath(options.Container), remote: ledger.Remote{HTTP: secrets.Bounded(options.Transport), Authorizer: options.Authorizer}}
	return &ledger.Book{Store: s, Timeout: options.Timeout}, nil
}

type store struct {
	container *url.URL
	remote    ledger.Remote
}

// operation is one request about one record.
type operation struct {
	method string
	key    string
	header http.Header
	body   []byte
}

func (s *store) send(ctx context.Context, o operation) (ledger.Reply, error) {
	target := *s.container
	target.Path += "/" + o.key
	var body io.Reader
	if o.body != nil {
		body = bytes.NewReader(o.body)
	}
	request, err := http.NewRequestWithContext(ctx, o.method, target.String(), body)
	if err != nil {
		return ledger.Reply{}, &ledger.Error{Key: o.key, Reason: "no request can be made of it", Err: err}
	}
	for name, values := range o.header {
		request.Header[name] = values
	}
	request.Header.Set("X-Ms-Version", apiVersion)
	request.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	return s.remote.Send(request, o.key)
}

// Read implements [ledger.Store].
func (s *store) Read(ctx context.Context, key string) (ledger.Entry, error) {
	reply, err := s.send(ctx, operation{method: http.MethodGet, key: key})
	switch {
	case err != nil:
		return ledger.Entry{}, err
	case reply.Status == http.StatusNotFound && code(reply) == "BlobNotFound":
		return ledger.Entry{}, &ledger.Error{Key: key, Reason: "there is no such record", Err: ledger.ErrNotFound}
	case reply.Status != http.StatusOK:
		return ledger.Entry{}, explain(reply, refusal{key: key, action: "read"})
	}
	etag := reply.Header.Get("Etag")
	if !etagForm.MatchString(etag) {
		return ledger.Entry{}, ledger.Malformed(key)
	}
	entry, err := ledger.DecodeEntry(reply.Body)
	if err != nil {
		return ledger.Entry{}, &ledger.Error{Key: key, Reason: "the container's blob is not a record of this ledger"}
	}
	entry.Revision = etag
	return entry, nil
}

// Write implements [ledger.Store].
func (s *store) Write(ctx context.Context, key string, entry ledger.Entry) (string, error) {
	header := http.Header{"X-Ms-Blob-Type": {"BlockBlob"}, "Content-Type": {"application/json"}, "X-Ms-Blob-Cache-Control": {"no-store"}}
	switch {
	case entry.Revision == "":
		header.Set("If-None-Match", "*")
	case etagForm.MatchString(entry.Revision):
		header.Set("If-Match", entry.Revision)
	default:
		return "", foreign(key)
	}
	body, err := entry.Encode()
	if err != nil {
		return "", &ledger.Error{Key: key, Reason: "no request can be made of it", Err: err}
	}
	reply, err := s.send(ctx, operation{method: http.MethodPut, key: key, header: header, body: body})
	switch {
	case err != nil:
		return "", err
	case reply.Status == http.StatusOK:
		return "", ledger.Malformed(key) // a blob that was written is answered with 201
	case reply.Status != http.StatusCreated:
		return "", explain(reply, refusal{key: key, action: "write"})
	}
	etag := reply.Header.Get("Etag")
	if !etagForm.MatchString(etag) {
		return "", ledger.Malformed(key)
	}
	return etag, nil
}

// Remove implements [ledger.Store].
func (s *store) Remove(ctx context.Context, key string, entry ledger.Entry) error {
	if !etagForm.MatchString(entry.Revision) {
		return foreign(key)
	}
	reply, err := s.send(ctx, operation{method: http.MethodDelete, key: key, header: http.Header{"If-Match": {entry.Revision}}})
	switch {
	case err != nil:
		return err
	case reply.Status == http.StatusAccepted:
		return nil
	case reply.Status == http.StatusOK:
		return ledger.Malformed(key) // a blob that was deleted is answered with 202
	case reply.Status == http.StatusNotFound && code(reply) == "BlobNotFound":
		return &ledger.Error{Key: key, Reason: "there is no such record", Err: ledger.ErrConflict}
	}
	return explain(reply, refusal{key: key, action: "delete"})
}

// code returns the name of the error in a reply (https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2). What is not from
// the service has none.
func code(reply ledger.Reply) string { return reply.Header.Get("X-Ms-Error-Code") }

// refusal is what was refused: the last part of a data action on blobs.
type refusal struct{ key, action string }

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func explain(reply ledger.Reply, r refusal) error {
	refuse := func(reason string, cause error) error {
		return &ledger.Error{Key: r.key, Reason: reason, Err: cause}
	}
	why := code(reply)
	switch {
	case reply.Status == http.StatusUnauthorized:
		return refuse("Azure does not accept this function's access token", nil)
	case reply.Status == http.StatusPreconditionFailed && (why == "ConditionNotMet" || why == "TargetConditionNotMet"),
		reply.Status == http.StatusConflict && why == "BlobAlreadyExists":
		return refuse("somebody else has changed it", ledger.ErrConflict)
	case reply.Status == http.StatusPreconditionFailed && why == "LeaseIdMissing":
		return refuse("somebody holds a lease on its blob; break the lease", nil)
	case reply.Status == http.StatusConflict && why == "BlobImmutableDueToPolicy":
		return refuse("its blob must not be changed; the ledger needs a container without an immutability policy", nil)
	case reply.Status == http.StatusConflict && why == "ContainerBeingDeleted", reply.Status == http.StatusNotFound && why == "ContainerNotFound":
		return refuse("the storage account has no container of the configured name", nil)
	case reply.Status == http.StatusServiceUnavailable && why == "ServerBusy":
		// Nowhere does it say that such a request had no effect.
		return refuse("the store is throttling (503)", ledger.ErrUnanswered)
	case reply.Status == http.StatusForbidden && why == "AuthorizationPermissionMismatch":
		return refuse("this function's identity may not "+r.action+" blobs; it needs the role "+role+" on the container", nil)
	case reply.Status == http.StatusForbidden && why == "AuthorizationFailure":
		return refuse("the storage account's firewall does not let this function in", nil)
	}
	return reply.Unexpected(r.key)
}

// foreign is the error for a revision that is none of this store.
func foreign(key string) error {
	return &ledger.Error{Key: key, Reason: "its revision is not one of this ledger; load it again", Err: ledger.ErrConflict}
}
