// Package blob is a stand-in for the block blobs of one Azure storage account (https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api).
// It keeps what compare-and-swap rests on: ETags that never come back, conditions on them, and leases that others hold. Callers come with
// access tokens; keys and signatures are not taken, as in an account without shared keys.
//
// The package must not know how the gateway reads and writes.
package blob

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	// Resource is the audience of the tokens that an account takes, in the public cloud.
	Resource = "https://storage.azure.com"

	// firstToken is the first version that takes access tokens.
	firstToken = "2017-11-09"
	maxBody    = 8 << 20
	maxName    = 1024
	maxSkew    = 15 * time.Minute
)

// versions are some of the service versions that there are.
var versions = []string{"2017-07-29", "2017-11-09", "2018-03-28", "2018-11-09", "2019-02-02", "2019-07-07", "2019-12-12", "2020-02-10", "2020-04-08", "2020-06-12",
	"2020-08-04", "2020-10-02", "2020-12-06", "2021-02-12", "2021-04-10", "2021-06-08", "2021-08-06", "2021-10-04", "2021-12-02", "2022-11-02",
	"2023-01-03", "2023-05-03", "2023-08-03", "2023-11-03", "2024-05-04", "2024-08-04", "2024-11-04", "2025-01-05", "2025-05-05", "2025-07-05"}

// Options describes the account and who may do what.
type Options struct {
	// Caller names who holds an access token for [Resource]. It reports false for a token that is not valid.
	Caller     func(token string) (string, bool)
	Containers []string
	// Allow decides whether a caller may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Caller string
	// Action is a data action, such as Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read.
	Action    string
	Container string
}

// Server holds the blobs of one account. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave: GetBlob, PutBlob and DeleteBlob.
	Faults faultplan.Plan

	options    Options
	mu         sync.Mutex
	containers map[string]map[string]*blob
	etags      int64
}

type blob struct {
	content      []byte
	contentType  string
	cacheControl string
	etag         string
	modified     time.Time
	leased       bool
}

// New returns a Server with empty containers.
func New(options Options) *Server {
	s := &Server{options: options, containers: map[string]map[string]*blob{}}
	for _, name := range options.Containers {
		s.containers[name] = map[string]*blob{}
	}
	return s
}

// call is one request that has been understood. The server's lock is held while it is served.
type call struct {
	server    *Server
	request   *http.Request
	body      []byte
	container string
	name      string
}

type operation struct {
	name   string
	action string
	serve  func(*call, http.ResponseWriter) error
}

// blobPath is that of a blob: slashes in its name are slashes.
var blobPath = regexp.MustCompile(`^/([a-z0-9-]{3,63})/(.+)$`)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{server: s, request: r}
	o := c.route()
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ms-Request-Id", "00000000-0000-4000-8000-000000000000")
		if err := s.answer(w, c, o); err != nil {
			writeError(w, r, err)
		}
	}, o.name)(w, r)
}

func (c *call) route() operation {
	m := blobPath.FindStringSubmatch(c.request.URL.Path)
	if m == nil || c.request.URL.RawQuery != "" {
		return operation{}
	}
	c.container, c.name = m[1], m[2]
	const actions = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"
	return map[string]operation{
		http.MethodGet:    {"GetBlob", actions + "read", (*call).get},
		http.MethodPut:    {"PutBlob", actions + "write", (*call).put},
		http.MethodDelete: {"DeleteBlob", actions + "delete", (*call).remove},
	}[c.request.Method]
}

func (s *Server) answer(w http.ResponseWriter, c *call, o operation) error {
	version, err := checkVersion(c.request)
	if err != nil {
		return err
	}
	w.Header().Set("X-Ms-Version", version)
	caller, err := s.caller(w, c.request)
	if err != nil {
		return err
	}
	if o.serve == nil {
		return &problem{http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server."}
	}
	if len(c.name) > maxName || strings.HasSuffix(c.name, "/") || strings.HasSuffix(c.name, ".") {
		return &problem{http.StatusBadRequest, "InvalidResourceName", "The specified resource name contains invalid characters."}
	}
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, c.request.Body, maxBody)); err != nil {
		return &problem{http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.Allow != nil && !s.options.Allow(Access{Caller: caller, Action: o.action, Container: c.container}) {
		return &problem{http.StatusForbidden, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission."}
	}
	if s.containers[c.container] == nil {
		return &problem{http.StatusNotFound, "ContainerNotFound", "The specified container does not exist."}
	}
	return o.serve(c, w)
}

// checkVersion refuses what every authorized request has to have: a version that takes tokens, and a date
// (https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory).
func checkVersion(r *http.Request) (string, error) {
	version := r.Header.Get("X-Ms-Version")
	if !slices.Contains(versions, version) {
		return "", &problem{http.StatusBadRequest, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format: x-ms-version."}
	}
	if version < firstToken {
		return "", &problem{http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Authentication scheme Bearer is not supported in this version."}
	}
	text := r.Header.Get("X-Ms-Date")
	if text == "" {
		text = r.Header.Get("Date")
	}
	date, err := http.ParseTime(text)
	if err != nil || time.Until(date).Abs() > maxSkew {
		return "", &problem{http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Make sure the date header is present and its value is correct."}
	}
	return version, nil
}

func (s *Server) caller(w http.ResponseWriter, r *http.Request) (string, error) {
	const challenge = "Bearer authorization_uri=https://login.microsoftonline.com/00000000-0000-4000-8000-00000000000a/oauth2/authorize resource_id=" + Resource
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		w.Header().Set("Www-Authenticate", challenge)
		return "", &problem{http.StatusUnauthorized, "NoAuthenticationInformation", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."}
	}
	if s.options.Caller != nil {
		if caller, ok := s.options.Caller(token); ok {
			return caller, nil
		}
	}
	w.Header().Set("Www-Authenticate", challenge)
	return "", &problem{http.StatusUnauthorized, "InvalidAuthenticationInfo", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."}
}

// met checks the conditions of a write
// (https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations).
func (c *call) met(b *blob) error {
	h := c.request.Header
	failed := &problem{http.StatusPreconditionFailed, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met."}
	match, none := h.Get("If-Match"), h.Get("If-None-Match")
	switch {
	case match != "" && none != "":
		return &problem{http.StatusBadRequest, "MultipleConditionHeadersNotSupported", "Multiple condition headers are not supported."}
	case h.Get("If-Modified-Since") != "", h.Get("If-Unmodified-Since") != "":
		return &problem{http.StatusNotImplemented, "UnsupportedHeader", "dates as conditions are not part of this stand-in"}
	case match != "" && (b == nil || match != "*" && match != b.etag):
		return failed
	case none == "*" && b != nil:
		return &problem{http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists."}
	case none != "" && none != "*" && b != nil && none == b.etag:
		return failed
	case b != nil && b.leased:
		return &problem{http.StatusPreconditionFailed, "LeaseIdMissing", "There is currently a lease on the blob and no lease ID was specified in the request."}
	}
	return nil
}

func (c *call) put(w http.ResponseWriter) error {
	h := c.request.Header
	if kind := h.Get("X-Ms-Blob-Type"); kind != "BlockBlob" {
		return &problem{http.StatusBadRequest, "InvalidHeaderValue", "x-ms-blob-type has to be BlockBlob in this stand-in."}
	}
	if c.request.ContentLength < 0 {
		return &problem{http.StatusLengthRequired, "MissingContentLengthHeader", "Content-Length is required."}
	}
	blobs := c.server.containers[c.container]
	if err := c.met(blobs[c.name]); err != nil {
		return err
	}
	kind := h.Get("X-Ms-Blob-Content-Type")
	if kind == "" {
		kind = h.Get("Content-Type")
	}
	made := c.server.newBlob(c.body)
	made.contentType, made.cacheControl = kind, h.Get("X-Ms-Blob-Cache-Control")
	blobs[c.name] = made
	sum := md5.Sum(c.body)
	w.Header().Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	w.Header().Set("X-Ms-Request-Server-Encrypted", "true")
	made.head(w)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// newBlob gives out the next ETag, which comes from a clock that only goes forward.
func (s *Server) newBlob(content []byte) *blob {
	now := time.Now()
	s.etags = max(s.etags+1, now.UnixNano()/100)
	return &blob{content: content, etag: fmt.Sprintf(`"0x%015X"`, s.etags), modified: now}
}

func (b *blob) head(w http.ResponseWriter) {
	w.Header().Set("Etag", b.etag)
	w.Header().Set("Last-Modified", b.modified.UTC().Format(http.TimeFormat))
}

func (c *call) find() (*blob, error) {
	found := c.server.containers[c.container][c.name]
	if found == nil {
		return nil, &problem{http.StatusNotFound, "BlobNotFound", "The specified blob does not exist."}
	}
	return found, nil
}

func (c *call) get(w http.ResponseWriter) error {
	found, err := c.find()
	if err != nil {
		return err
	}
	found.head(w)
	w.Header().Set("Content-Type", found.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(found.content)))
	w.Header().Set("X-Ms-Blob-Type", "BlockBlob")
	if found.cacheControl != "" {
		w.Header().Set("Cache-Control", found.cacheControl)
	}
	_, err = w.Write(found.content)
	return err
}

func (c *call) remove(w http.ResponseWriter) error {
	found, err := c.find()
	if err != nil {
		return err
	}
	if err := c.met(found); err != nil {
		return err
	}
	delete(c.server.containers[c.container], c.name)
	w.Header().Set("X-Ms-Delete-Type-Permanent", "true")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// problem is an error of the service (https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2).
type problem struct {
	status  int
	code    string
	message string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	told, ok := errors.AsType[*problem](err)
	if !ok {
		told = &problem{http.StatusInternalServerError, "InternalError", "The server encountered an internal error. Please retry the request."}
	}
	w.Header().Set("X-Ms-Error-Code", told.code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(told.status)
	if r.Method == http.MethodHead {
		return
	}
	body, _ := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: told.code, Message: told.message})
	_, _ = io.WriteString(w, xml.Header+string(body))
}

// Blob is a blob as an operator enters it.
type Blob struct{ Container, Name, Text string }

// Seed stores a blob. It stands for an operator at the portal, and needs no token.
func (s *Server) Seed(in Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.newBlob([]byte(in.Text))
	made.contentType = "text/plain"
	s.containers[in.Container][in.Name] = made
}

// Lease puts a lease on a blob that never ends, as another program may.
func (s *Server) Lease(in Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[in.Container][in.Name].leased = true
}
