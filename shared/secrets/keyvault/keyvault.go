// Package keyvault reads and replaces secrets in Azure Key Vault over REST.
//
// The version in use is the newest one that is enabled and whose dates allow it: a version that is not valid yet waits for its day, and
// the service itself does not heed these dates (https://learn.microsoft.com/azure/key-vault/secrets/about-secrets). The one before it
// is the next older one of which the same is true, unless a rotation has noted which one it is.
//
// The package must not know what a secret is for, nor where its access tokens come from.
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

const (
	// apiVersion is one that all clouds know.
	apiVersion    = "7.5"
	defaultSuffix = "vault.azure.net"
	// maxPages bounds how much of a list is read. A page has up to 25 versions, of which none is ever removed: this is enough for rotations of
	// every hour in more than five years.
	maxPages = 2000
)

// isSuffix reports whether this can be the end of a vault's host name: two labels or more.
func isSuffix(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || strings.Trim(label, hostCharacters) != "" {
			return false
		}
	}
	return strings.Contains(text, ".")
}

// hostCharacters are those of a host name's labels.
const hostCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-"

// Options says how to reach the vaults.
type Options struct {
	// Vault is the address of the vault for references that name none, such as https://my-vault.vault.azure.net.
	Vault string
	// Suffix is the domain of vaults that references name. Empty means vault.azure.net.
	Suffix string
	// Authorizer puts an access token for the scope https://vault.azure.net/.default, or that of another cloud, on each request.
	Authorizer secrets.Authorizer
	// Endpoint replaces the addresses of all vaults.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one read, with all requests that it takes. A [Store] gives each request so much time. Zero means 3 s.
	Timeout time.Duration
}

// Reader reads from Key Vault. It is a [secrets.Reader] and a [secrets.Source], and safe for concurrent use.
type Reader struct {
	options Options
	remote  secrets.Remote
}

// New returns a Reader. It makes no network call.
func New(options Options) (*Reader, error) {
	if options.Authorizer == nil {
		return nil, errors.New("secrets of Azure Key Vault need an authorizer")
	}
	if options.Suffix == "" {
		options.Suffix = defaultSuffix
	}
	if !isSuffix(options.Suffix) {
		return nil, errors.New("the domain of the vaults has to look like vault.azure.net")
	}
	for _, address := range []*string{&options.Vault, &options.Endpoint} {
		if *address == "" {
			continue
		}
		parsed, err := secrets.Endpoint(*address)
		if err != nil {
			return nil, err
		}
		*address = parsed.String()
	}
	return &Reader{options: options, remote: secrets.Remote{HTTP: secrets.Bounded(options.Transport), Authorizer: options.Authorizer}}, nil
}

// Read returns the text of the version in use, or of the one that ref pins.
func (r *Reader) Read(ctx context.Context, ref secrets.Ref) (secrets.Value, error) {
	secret, err := r.Current(ctx, ref)
	return secret.Value, err
}

// Current returns the newest version that may be used, or the one that ref pins. It needs the right to get secrets, and the right to list
// them when the newest version may not be used. The role Key Vault Secrets User has both.
func (r *Reader) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s, err := r.session(ref)
	if err != nil {
		return secrets.Secret{}, err
	}
	ctx, cancel := secrets.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	found, err := s.get(ctx, s.own.Version)
	switch {
	case err == nil:
		return s.secret(found)
	case s.own.Version != "" || !unusable(err):
		return secrets.Secret{}, err
	}
	versions, listErr := s.list(ctx)
	if listErr != nil {
		return secrets.Secret{}, listErr
	}
	older := newestUsable(versions, version{})
	if older == nil {
		return secrets.Secret{}, err // which says what is wrong with the newest one
	}
	if found, err = s.get(ctx, older.id); err != nil {
		return secrets.Secret{}, err
	}
	return s.secret(found)
}

// Previous returns the version that the current one took the place of, as far as a [Store] has noted that, or else the newest one that may be
// used besides the current one, which needs the right to list secrets.
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
	// Which version is the newest is for the service to say: the dates in the list are whole seconds.
	current, err := s.get(ctx, "")
	if err != nil && !unusable(err) {
		return secrets.Secret{}, err
	}
	var before *version
	if current != nil && current.replaced() != "" {
		before = &version{id: current.replaced()}
	} else if before, err = s.previous(ctx, current); err != nil {
		return secrets.Secret{}, err
	}
	if before == nil {
		return secrets.Secret{}, secrets.NoPrevious(ref)
	}
	before, err = s.get(ctx, before.id)
	switch {
	case unusable(err), errors.Is(err, secrets.ErrNotFound):
		return secrets.Secret{}, secrets.NoPrevious(ref)
	case err != nil:
		return secrets.Secret{}, err
	}
	return s.secret(before)
}

// previous looks for the previous version in the list of all. A current version of nil means that the newest one may not be used.
func (s *session) previous(ctx context.Context, current *version) (*version, error) {
	versions, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	if current == nil {
		current = newestUsable(versions, version{})
	}
	if current == nil {
		return nil, nil
	}
	return previousOf(versions, *current), nil
}

// previousOf returns the version before the current one. Should it be one that must not be used any more, there is none.
func previousOf(versions []version, current version) *version {
	id := current.replaced()
	if id == "" {
		return newestUsable(versions, current)
	}
	for i, v := range versions {
		if v.id == id && v.refused(time.Now()) == "" {
			return &versions[i]
		}
	}
	return nil
}

// newestUsable returns the newest of the versions that may be used now, apart from one and from what is newer than that one.
func newestUsable(versions []version, but version) *version {
	var newest *version
	for i := range versions {
		v := &versions[i]
		if v.id == but.id || v.refused(time.Now()) != "" || but.id != "" && v.created.After(but.created) {
			continue
		}
		if newest == nil || v.created.After(newest.created) {
			newest = v
		}
	}
	return newest
}

// session is one read of one secret.
type session struct {
	ref  secrets.Ref // as the caller wrote it
	own  secrets.Ref // as this store understands it
	base *url.URL    // the URL of the secret
	// send sends a request.
	send func(*http.Request, secrets.Ref) (secrets.Reply, error)
	// missing says that the caller may not do something, and what would help.
	missing func(action string) string
}

func (r *Reader) session(ref secrets.Ref) (*session, error) {
	own, err := ref.In(secrets.StoreKeyVault)
	if err != nil {
		return nil, err
	}
	vault, name, named := strings.Cut(own.Name, "/")
	address := r.options.Vault
	if !named {
		name = own.Name
	} else {
		address = "https://" + strings.ToLower(vault) + "." + r.options.Suffix
	}
	if r.options.Endpoint != "" {
		address = r.options.Endpoint
	}
	if address == "" {
		return nil, &secrets.Error{Ref: ref, Reason: "its vault is not known; write azure-kv://VAULT/" + name}
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, &secrets.Error{Ref: ref, Reason: "no URL can be made of it", Err: err}
	}
	base.Path = "/secrets/" + name
	return &session{ref: ref, own: own, base: base, send: r.remote.Send, missing: mayNotRead}, nil
}

// secret selects what the reference means of a version that was read with its value.
func (s *session) secret(v *version) (secrets.Secret, error) {
	value, err := s.ref.Select(v.value)
	if err != nil {
		return secrets.Secret{}, err
	}
	return secrets.Secret{Value: value, Version: v.id, Created: v.created, Expires: v.expires}, nil
}
