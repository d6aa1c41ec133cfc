// Package gcpsecrets reads and replaces secrets in Google Secret Manager over REST.
//
// The version in use is the one that the alias current names, and the one before it is named by the alias previous: whoever rotates
// moves both in one step. A secret without these aliases, as most are that nobody rotates yet, is read at its newest enabled version,
// and the enabled one before it counts as the previous one.
//
// The package must not know what a secret is for, nor where its access tokens come from.
package gcpsecrets

import (
	"context"
	"errors"
	"hash/crc32"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

const (
	aliasCurrent  = "current"
	aliasPrevious = "previous"
	// newest is the service's own name of the version with the highest number, whatever its state.
	newest = "latest"

	globalHost = "https://secretmanager.googleapis.com"
	// maxPages bounds the search for an enabled version. A page has up to 100.
	maxPages = 10

	notFound     = "NOT_FOUND"
	invalid      = "INVALID_ARGUMENT"
	precondition = "FAILED_PRECONDITION"
	aborted      = "ABORTED"
	denied       = "PERMISSION_DENIED"

	permissionRead = "secretmanager.versions.access"
	permissionList = "secretmanager.versions.list"
)

// Options says how to reach Secret Manager.
type Options struct {
	// Project is the id or number of the project of those secrets that are referred to by their short name.
	Project string
	// Authorizer puts an access token for the scope https://www.googleapis.com/auth/cloud-platform on each request.
	Authorizer secrets.Authorizer
	// Endpoint replaces the service's own endpoints, the global one and those of the locations.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one read, with all requests that it takes. A [Store] gives each request so much time. Zero means 3 s.
	Timeout time.Duration
}

// Reader reads from Secret Manager. It is a [secrets.Reader] and a [secrets.Source], and safe for concurrent use.
type Reader struct {
	options Options
	remote  secrets.Remote
}

// New returns a Reader. It makes no network call.
func New(options Options) (*Reader, error) {
	if options.Authorizer == nil {
		return nil, errors.New("secrets of Google Secret Manager need an authorizer")
	}
	if options.Endpoint != "" {
		endpoint, err := secrets.Endpoint(options.Endpoint)
		if err != nil {
			return nil, err
		}
		options.Endpoint = endpoint.String()
	}
	return &Reader{options: options, remote: secrets.Remote{HTTP: secrets.Bounded(options.Transport), Authorizer: options.Authorizer}}, nil
}

// Read returns the text of the version in use, or of the one that ref pins.
func (r *Reader) Read(ctx context.Context, ref secrets.Ref) (secrets.Value, error) {
	secret, err := r.Current(ctx, ref)
	return secret.Value, err
}

// Current returns the version that the alias current names, or else the newest enabled one, or the one that ref pins by its number or by
// another alias. It needs the permission secretmanager.versions.access, and secretmanager.versions.list only when the newest version of a
// secret without aliases is not enabled.
func (r *Reader) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s, err := r.session(ref)
	if err != nil {
		return secrets.Secret{}, err
	}
	ctx, cancel := secrets.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	if s.own.Version != "" {
		return s.access(ctx, s.own.Version)
	}
	secret, err := s.access(ctx, aliasCurrent)
	if !s.noSuchAlias(err) {
		return secret, err
	}
	secret, err = s.access(ctx, newest)
	if !statusIs(err, precondition) {
		return secret, err
	}
	enabled, err := s.enabled(ctx, 1)
	if err != nil {
		return secrets.Secret{}, err
	}
	if len(enabled) == 0 {
		return secrets.Secret{}, &secrets.Error{Ref: ref, Reason: "none of its versions is enabled", Err: secrets.ErrUnusable}
	}
	return s.access(ctx, enabled[0])
}

// Previous returns the version that the alias previous names. For a secret without aliases it is the second newest of the enabled ones,
// which needs the permission secretmanager.versions.list.
func (r *Reader) Previous(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s, err := r.session(ref)
	if err != nil {
		return secrets.Secret{}, err
	}
	ctx, cancel := secrets.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	if s.own.Version != "" {
		return secrets.Secret{}, secrets.NoPrevious(ref)
	}
	secret, err := s.access(ctx, aliasPrevious)
	switch {
	case statusIs(err, precondition):
		// The rotation has ended with it, and not yet taken the alias away.
		return secrets.Secret{}, secrets.NoPrevious(ref)
	case !s.noSuchAlias(err):
		return secret, err
	}
	// A secret that has the one alias and not the other has no previous version; newer ones that nobody has named may not even work.
	_, err = s.access(ctx, aliasCurrent)
	switch {
	case err == nil, statusIs(err, precondition):
		return secrets.Secret{}, secrets.NoPrevious(ref)
	case !s.noSuchAlias(err):
		return secrets.Secret{}, err
	}
	enabled, err := s.enabled(ctx, 2)
	if err != nil {
		return secrets.Secret{}, err
	}
	if len(enabled) < 2 {
		return secrets.Secret{}, secrets.NoPrevious(ref)
	}
	return s.access(ctx, enabled[1])
}

// session is one read of one secret.
type session struct {
	reader *Reader
	ref    secrets.Ref // as the caller wrote it
	own    secrets.Ref // as this store understands it
	base   string      // the URL of the secret
}

func (r *Reader) session(ref secrets.Ref) (*session, error) {
	own, err := ref.In(secrets.StoreGCP)
	if err != nil {
		return nil, err
	}
	name := own.Name
	if !strings.Contains(name, "/") {
		if r.options.Project == "" {
			return nil, &secrets.Error{Ref: ref, Reason: "its project is not known; write projects/PROJECT/secrets/" + name}
		}
		name = "projects/" + r.options.Project + "/secrets/" + name
	}
	return &session{reader: r, ref: ref, own: own, base: r.host(name) + "/v1/" + name}, nil
}

// host returns the endpoint for a secret: a secret of a location is known at that location's endpoint only
// (https://cloud.google.com/secret-manager/regional-secrets/create-regional-secret).
func (r *Reader) host(name string) string {
	if r.options.Endpoint != "" {
		return r.options.Endpoint
	}
	if parts := strings.Split(name, "/"); len(parts) > 4 {
		return "https://secretmanager." + parts[3] + ".rep.googleapis.com"
	}
	return globalHost
}

// checksum is the service's (https://cloud.google.com/secret-manager/docs/data-integrity). Its table is made by the first one: that takes
// a while, and most functions never need it.
func checksum(data []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))), 10)
}

// numberOf returns the number at the end of the name of a version in a reply.
func numberOf(name string) (string, bool) {
	const before = "/versions/"
	at := strings.LastIndex(name, before)
	if at < 0 {
		return "", false
	}
	number := name[at+len(before):]
	return number, number != "" && len(number) <= 19 && number[0] != '0' && strings.Trim(number, "0123456789") == ""
}

// access reads one version. The reply names it by its number, however it was asked for, so value and version belong together.
func (s *session) access(ctx context.Context, version string) (secrets.Secret, error) {
	reply, err := s.get(ctx, "/versions/"+version+":access", permissionRead)
	if err != nil {
		return secrets.Secret{}, err
	}
	var out accessed
	if err := reply.Decode(&out, s.ref); err != nil {
		return secrets.Secret{}, err
	}
	return s.secret(out)
}

// accessed is the reply with the content of one version.
type accessed struct {
	Name    string `json:"name"`
	Payload struct {
		Data       []byte  `json:"data"`
		DataCRC32C *string `json:"dataCrc32c"`
	} `json:"payload"`
}

// secret checks what was read, and selects what the reference means of it.
func (s *session) secret(out accessed) (secrets.Secret, error) {
	number, ok := numberOf(out.Name)
	if !ok {
		return secrets.Secret{}, &secrets.Error{Ref: s.ref, Reason: "the store's reply names no version"}
	}
	if sum := out.Payload.DataCRC32C; sum != nil && *sum != checksum(out.Payload.Data) {
		return secrets.Secret{}, &secrets.Error{Ref: s.ref, Reason: "the store's reply was damaged on its way: the checksum differs"}
	}
	if string(out.Payload.Data) == placeholder {
		return secrets.Secret{}, &secrets.Error{Ref: s.ref, Reason: "nothing has been stored in it yet", Err: secrets.ErrNotFound}
	}
	value, err := s.ref.Select(string(out.Payload.Data))
	if err != nil {
		return secrets.Secret{}, err
	}
	return secrets.Secret{Value: value, Version: number}, nil
}

// enabled returns the numbers of the newest enabled versions, as many as are wanted or there are.
func (s *session) enabled(ctx context.Context, wanted int) ([]string, error) {
	var numbers []string
	token := ""
	for range maxPages {
		query := url.Values{"filter": {"state:ENABLED"}, "pageSize": {"100"}}
		if token != "" {
			query.Set("pageToken", token)
		}
		reply, err := s.get(ctx, "/versions?"+query.Encode(), permissionList)
		if err != nil {
			return nil, err
		}
		var out struct {
			Versions []struct {
				Name  string `json:"name"`
				State string `json:"state"`
			} `json:"versions"`
			NextPageToken string `json:"nextPageToken"`
		}
		if err := reply.Decode(&out, s.ref); err != nil {
			return nil, err
		}
		for _, v := range out.Versions {
			if number, ok := numberOf(v.Name); ok && v.State == "ENABLED" {
				numbers = append(numbers, number)
			}
		}
		// The service lists the newest first.
		if token = out.NextPageToken; token == "" || len(numbers) >= wanted {
			break
		}
	}
	return numbers, nil
}
