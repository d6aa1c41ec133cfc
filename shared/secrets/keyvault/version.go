package keyvault

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

const disabled = "this version is disabled"

// version is one version, with its value when it was read by itself.
type version struct {
	id        string
	value     string
	enabled   bool
	notBefore time.Time
	expires   time.Time
	created   time.Time
	// contentType and tags are for whoever uses the secret.
	contentType string
	tags        map[string]string
}

// refused says why a version must not be used at a time. The empty text means that it may.
func (v version) refused(now time.Time) string {
	switch {
	case !v.enabled:
		return disabled
	case now.Before(v.notBefore):
		return "this version is not valid before " + v.notBefore.UTC().Format(time.DateTime)
	case !v.expires.IsZero() && !now.Before(v.expires):
		return "this version has expired at " + v.expires.UTC().Format(time.DateTime)
	}
	return ""
}

// replaced returns the id of the version that this one took the place of, if that is noted.
func (v version) replaced() string {
	if id := v.tags[tagPrevious]; isVersion(id) {
		return id
	}
	return ""
}

// bundle is a version on the wire (https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret/get-secret).
type bundle struct {
	ID          string            `json:"id"`
	Value       string            `json:"value"`
	ContentType string            `json:"contentType"`
	Tags        map[string]string `json:"tags"`
	Attributes  struct {
		Enabled   *bool  `json:"enabled"`
		NotBefore *int64 `json:"nbf"`
		Expires   *int64 `json:"exp"`
		Created   *int64 `json:"created"`
	} `json:"attributes"`
}

// versionOf returns the version in an id of a reply, which ends in /secrets/NAME/VERSION.
func versionOf(id string) (string, bool) {
	rest, version, ok := cutLast(strings.TrimSuffix(id, "/"))
	rest, name, ok2 := cutLast(rest)
	if !ok || !ok2 || !strings.HasSuffix(rest, "/secrets") || name == "" || strings.Trim(name, hexDigits+nameRest) != "" {
		return "", false
	}
	return version, isVersion(version)
}

func isVersion(text string) bool { return len(text) == 32 && strings.Trim(text, hexDigits) == "" }

// cutLast cuts a path before its last part.
func cutLast(path string) (before, last string, ok bool) {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 {
		return "", "", false
	}
	return path[:slash], path[slash+1:], true
}

// Together they are the characters of a secret's name.
const (
	hexDigits = "0123456789abcdefABCDEF"
	nameRest  = "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ-"
)

func (b bundle) version() (version, bool) {
	id, ok := versionOf(b.ID)
	if !ok {
		return version{}, false
	}
	at := func(seconds *int64) time.Time {
		if seconds == nil {
			return time.Time{}
		}
		return time.Unix(*seconds, 0)
	}
	return version{
		id: id, value: b.Value, enabled: b.Attributes.Enabled == nil || *b.Attributes.Enabled,
		notBefore: at(b.Attributes.NotBefore), expires: at(b.Attributes.Expires), created: at(b.Attributes.Created),
		contentType: b.ContentType, tags: b.Tags,
	}, true
}

// unusable reports whether the vault has the secret and its version must not be used.
func unusable(err error) bool { return errors.Is(err, secrets.ErrUnusable) }

// get reads one version, or the newest one. A version that must not be used is an error that wraps [secrets.ErrUnusable].
func (s *session) get(ctx context.Context, id string) (*version, error) {
	var out bundle
	if err := s.call(ctx, call{address: s.address(id), action: actionGet, into: &out}); err != nil {
		return nil, err
	}
	v, ok := out.version()
	if !ok {
		return nil, &secrets.Error{Ref: s.ref, Reason: "the store's reply names no version"}
	}
	if reason := v.refused(time.Now()); reason != "" {
		return nil, &secrets.Error{Ref: s.ref, Reason: reason, Err: secrets.ErrUnusable}
	}
	return &v, nil
}

// list returns all versions, without their values, in no particular order: the service has none. A secret that is not there has none, whether the
// service says so by an empty list or not.
func (s *session) list(ctx context.Context) ([]version, error) {
	address := s.address("versions")
	var versions []version
	for range maxPages {
		var page struct {
			Value    []bundle `json:"value"`
			NextLink string   `json:"nextLink"`
		}
		err := s.call(ctx, call{address: address, action: actionList, into: &page})
		if errors.Is(err, secrets.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, item := range page.Value {
			if v, ok := item.version(); ok {
				versions = append(versions, v)
			}
		}
		if page.NextLink == "" {
			return versions, nil
		}
		// Of the address to go on at, only the query counts: the next request carries the token too and must not go anywhere else.
		next, err := url.Parse(page.NextLink)
		if err != nil || next.RawQuery == address.RawQuery {
			return nil, &secrets.Error{Ref: s.ref, Reason: "the store's list of versions cannot be followed"}
		}
		address.RawQuery = next.RawQuery
	}
	return nil, &secrets.Error{Ref: s.ref, Reason: "its list of versions is too long; no version can be removed, so store it under another name"}
}

// name returns the secret's name in its vault.
func (s *session) name() string {
	_, name, _ := cutLast(s.base.Path)
	return name
}

// address returns the URL of the secret, or of a part of it.
func (s *session) address(part string) *url.URL {
	address := *s.base
	if part != "" {
		address.Path += "/" + part
	}
	address.RawQuery = "api-version=" + apiVersion
	return &address
}

// The data actions of Key Vault that this package needs (https://learn.microsoft.com/azure/key-vault/general/rbac-guide).
const (
	actionGet    = "Microsoft.KeyVault/vaults/secrets/getSecret/action"
	actionList   = "Microsoft.KeyVault/vaults/secrets/readMetadata/action"
	actionSet    = "Microsoft.KeyVault/vaults/secrets/setSecret/action"
	actionUpdate = "Microsoft.KeyVault/vaults/secrets/update/action"
)

// call is one request about a secret.
type call struct {
	// method is GET when it is empty.
	method  string
	address *url.URL
	// action is what the caller has to be allowed.
	action string
	// body is what is sent as JSON. Nil means nothing.
	body any
	// into is what the reply is read into.
	into any
}

func (s *session) call(ctx context.Context, c call) error {
	request, err := secrets.Call{Method: c.method, URL: c.address.String(), Body: c.body}.Request(ctx, s.ref)
	if err != nil {
		return err
	}
	reply, err := s.send(request, s.ref)
	if err != nil {
		return err
	}
	if reply.Status != http.StatusOK {
		return s.explain(reply, c.action)
	}
	return reply.Decode(c.into, s.ref)
}

// tenantOf finds the directory in a vault's challenge: authorization="https://login.example.com/TENANT".
func tenantOf(challenge string) (string, bool) {
	_, rest, _ := strings.Cut(challenge, `authorization="https://`)
	address, _, closed := strings.Cut(rest, `"`)
	host, tenant, _ := strings.Cut(strings.TrimSuffix(address, "/"), "/")
	return tenant, closed && host != "" && strings.Trim(host, hostCharacters+".") == "" && isUUID(tenant)
}

// isUUID takes only the small letters that the service writes.
func isUUID(text string) bool {
	groups := strings.Split(text, "-")
	if len(groups) != 5 {
		return false
	}
	for i, size := range [5]int{8, 4, 4, 4, 12} {
		if len(groups[i]) != size || strings.Trim(groups[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return true
}

// explain says in our own words why the vault refused. What it wrote is not shown, because it repeats names, callers and resource ids.
func (s *session) explain(reply secrets.Reply, action string) error {
	refuse := func(reason string, cause error) error {
		return &secrets.Error{Ref: s.ref, Reason: reason, Err: cause}
	}
	var out struct {
		Error struct {
			Code  string `json:"code"`
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	// A reply that is no error of this API, such as a proxy's page, has no code and is told by its number.
	_ = reply.Decode(&out, s.ref)
	inner := out.Error.Inner.Code
	switch {
	case reply.Status == http.StatusUnauthorized:
		reason := "Key Vault does not accept this function's access token"
		if tenant, ok := tenantOf(strings.Join(reply.Header.Values("WWW-Authenticate"), " ")); ok {
			reason += "; the vault belongs to the tenant " + tenant
		}
		return refuse(reason, nil)
	case reply.Status == http.StatusNotFound && out.Error.Code == "SecretNotFound":
		return refuse("Azure Key Vault has no such secret or version", secrets.ErrNotFound)
	case reply.Status == http.StatusConflict && inner == "ObjectIsDeletedButRecoverable":
		return refuse("a deleted secret still has the name "+s.name()+"; recover or purge that", nil)
	case reply.Status == http.StatusBadRequest && out.Error.Code == "BadParameter" && action == actionSet:
		return refuse("Key Vault does not take this value or these tags", nil)
	case reply.Status != http.StatusForbidden || out.Error.Code != "Forbidden":
		return reply.Unexpected(s.ref)
	case inner == "SecretDisabled":
		return refuse(disabled, secrets.ErrUnusable)
	case inner == "SecretExpired":
		return refuse("this version has expired", secrets.ErrUnusable)
	case inner == "SecretNotYetValid":
		return refuse("this version is not valid yet", secrets.ErrUnusable)
	case inner == "ForbiddenByFirewall" || inner == "ForbiddenByConnection":
		return refuse("the vault's network rules do not let this function in", secrets.ErrDenied)
	}
	return refuse(s.missing(action), secrets.ErrDenied)
}

func mayNotRead(string) string {
	return "this function's identity may not read it; give it the role Key Vault Secrets User on the vault"
}
