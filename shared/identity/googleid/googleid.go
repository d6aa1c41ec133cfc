// Package googleid gets Google's tokens, with no client library: for the service account that a function runs as on Google Cloud, from the
// metadata server ([Metadata]); for an identity of another cloud, by workload identity federation ([Federation]); for a service account that
// another identity may impersonate ([Impersonation]); and from the credential files that Google's own tools write ([File]).
//
// A credential file says where tokens are fetched and what is sent there, and Google's own libraries do as it says. Here every host in it
// must be Google's own, and every secret that it points to one of those that are meant for this, before anything is read or sent.
//
// The package must not know which service the tokens are for, nor when they are fetched anew.
package googleid

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// CloudPlatform is the scope that covers Vertex AI. What the service account may do there is up to its roles.
	CloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
	source        = "metadata server"
	// emailGrace is how much longer than its token a first token request waits for the service account's name. Both are asked for at the
	// same time, and tokens are kept, so this is spent once an hour at most, and only if the name is late.
	emailGrace = 100 * time.Millisecond
)

// Options says which token is wanted. The zero value is the one for the service account of the function, for all of Google Cloud.
type Options struct {
	// Scopes limits what the token may be used for. Empty means CloudPlatform.
	Scopes []string
	// HTTP sends the requests. Nil means an identity.LocalClient.
	HTTP *http.Client
	// Getenv reads the environment, for GCE_METADATA_HOST alone. Nil means the process's own.
	Getenv func(name string) string
}

// Metadata asks the metadata server. It is an [identity.TokenSource], and safe for concurrent use.
type Metadata struct {
	http   *http.Client
	host   string
	scopes string
	email  atomic.Pointer[string]
}

var _ identity.TokenSource = (*Metadata)(nil)

// New returns a source that has asked for nothing yet. It does not probe whether this is Google Cloud: the first request tells.
func New(options Options) *Metadata {
	getenv := options.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	client := options.HTTP
	if client == nil {
		client = identity.LocalClient()
	}
	scopes := options.Scopes
	if len(scopes) == 0 {
		scopes = []string{CloudPlatform}
	}
	return &Metadata{
		http:   client,
		host:   cmp.Or(getenv("GCE_METADATA_HOST"), "169.254.169.254"),
		scopes: strings.Join(scopes, ","),
	}
}

// Token gets an access token for the service account.
func (m *Metadata) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "metadata server", &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	named := m.learnEmail(ctx)
	began := time.Now().Round(0)
	reply, err := m.get(ctx, "instance/service-accounts/default/token", url.Values{"scopes": {m.scopes}})
	if err != nil {
		return identity.Token{}, err
	}
	var parsed struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		TokenType   string `json:"token_type"`
	}
	if err := json.Unmarshal(reply, &parsed); err != nil || parsed.AccessToken == "" || parsed.ExpiresIn == 0 {
		return identity.Token{}, &identity.Error{Public: "the metadata server's answer is not an access token with an expiry", Err: err, Retryable: true}
	}
	await(ctx, named)
	return identity.Token{
		Value:     secrets.NewValue(parsed.AccessToken),
		Type:      parsed.TokenType,
		Expires:   began.Add(time.Duration(parsed.ExpiresIn) * time.Second),
		Principal: m.principal(),
	}, nil
}

// IDToken gets an identity token for the audience: a JSON Web Token that Google signs, with which the service account shows who it is to
// a party other than Google.
func (m *Metadata) IDToken(ctx context.Context, audience string) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "metadata server (identity token)", &result, &err) }()
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	reply, err := m.get(ctx, "instance/service-accounts/default/identity", url.Values{"audience": {audience}, "format": {"full"}})
	if err != nil {
		return identity.Token{}, err
	}
	token := secrets.NewValue(strings.TrimSpace(string(reply)))
	var claims struct {
		Expires int64  `json:"exp"`
		Email   string `json:"email"`
	}
	if err := identity.UnverifiedClaims(token, &claims); err != nil || claims.Expires == 0 {
		return identity.Token{}, &identity.Error{Public: "the metadata server's answer is not an identity token with an expiry", Err: err, Retryable: true}
	}
	if isEmail(claims.Email) {
		m.email.Store(&claims.Email)
	}
	return identity.Token{Value: token, Expires: time.Unix(claims.Expires, 0), Principal: m.principal()}, nil
}

// IDTokens returns a source of identity tokens for one audience.
func (m *Metadata) IDTokens(audience string) identity.TokenSource {
	return identity.TokenFunc(func(ctx context.Context) (identity.Token, error) { return m.IDToken(ctx, audience) })
}

// ProjectID returns the id of the project that the function runs in.
func (m *Metadata) ProjectID(ctx context.Context) (string, error) {
	return m.name(ctx, "project/project-id")
}

// Region returns the region that the function runs in, for example europe-west4.
func (m *Metadata) Region(ctx context.Context) (string, error) {
	// Cloud Run answers projects/NUMBER/regions/REGION.
	path, err := m.name(ctx, "instance/region")
	return path[strings.LastIndex(path, "/")+1:], err
}

func (m *Metadata) name(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	reply, err := m.get(ctx, path, nil)
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(reply))
	if name == "" || len(name) > 200 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", &identity.Error{Public: fmt.Sprintf("the metadata server's answer for %s is not a name", path), Retryable: true}
	}
	return name, nil
}

// learnEmail asks for the service account's name while the token is on its way. The channel is closed when there is nothing more to wait
// for; the question ends with ctx.
func (m *Metadata) learnEmail(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	if m.email.Load() != nil {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		reply, err := m.get(ctx, "instance/service-accounts/default/email", nil)
		if email := strings.TrimSpace(string(reply)); err == nil && isEmail(email) {
			m.email.Store(&email)
		}
	}()
	return done
}

func await(ctx context.Context, done <-chan struct{}) {
	late := time.NewTimer(emailGrace)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	case <-ctx.Done():
	}
}

// principal names the service account. Without its name, the token is still good.
func (m *Metadata) principal() identity.Principal {
	if email := m.email.Load(); email != nil {
		return identity.Principal{Name: *email, Source: source}
	}
	return identity.Principal{Name: "default service account", Source: source}
}

// isEmail keeps anything but an address out of the log.
func isEmail(text string) bool {
	return strings.Contains(text, "@") && len(text) <= 320 && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}
