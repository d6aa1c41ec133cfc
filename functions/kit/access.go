package kit

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
)

// Access is the credentials that a document describes, for a function that is
// no gateway and needs them for other things than models.
type Access struct{ w *wiring }

// Access returns the credentials of a document. It fetches nothing.
func (k Kit) Access(d *config.Document) (*Access, error) {
	if k.HTTP == nil {
		k.HTTP = NewTransport()
	}
	w, err := newWiring(k, d)
	if err != nil {
		return nil, err
	}
	return &Access{w}, nil
}

// Authorizer returns what puts an upstream's credential on a request.
func (a *Access) Authorizer(u *config.Upstream) (identity.Authorizer, error) {
	return a.w.authorizer(u)
}

// AWS returns the credentials at the end of an upstream's roles.
func (a *Access) AWS(u *config.Upstream) (aws.CredentialsProvider, error) {
	who, err := a.w.chain(u, rolesOf(u))
	if err != nil {
		return nil, err
	}
	return sigv4.NewProvider(who), nil
}

// Header is a header that carries a stored key.
type Header struct{ Name, Prefix string }

// Stored returns what puts a stored key into a header.
func (a *Access) Stored(ref config.Reference, header Header) (identity.Authorizer, error) {
	s, err := a.w.secret(ref)
	if err != nil {
		return nil, err
	}
	return key{secret: s, header: header.Name, prefix: header.Prefix, principal: identity.Principal{Name: s.ref.String(), Source: "stored key"}}, nil
}

// Secret returns what reads a stored secret, and what is told that somebody did
// not accept what was read.
func (a *Access) Secret(ref config.Reference) (read func(context.Context) (secrets.Value, error), rejected func(secrets.Value), err error) {
	s, err := a.w.secret(ref)
	if err != nil {
		return nil, nil, err
	}
	return s.read, s.rejected, nil
}

// Prove finds out whether an upstream's stored credential would work if it were
// this one, by getting a credential with it as a gateway does.
func (a *Access) Prove(ctx context.Context, u *config.Upstream, value secrets.Value) error {
	ref, err := secrets.ParseRef(u.CredentialRef.String())
	if err != nil {
		return err
	}
	k := a.w.Kit
	k.Log, k.Audit = slog.New(slog.DiscardHandler), nil
	k.Secrets = maps.Clone(k.Secrets)
	k.Secrets[ref.Store] = proposed{value}
	return k.authorize(ctx, &config.Document{Cache: config.Cache{SecretTTL: time.Minute}}, u)
}

// proposed reads as if another value were stored.
type proposed struct{ value secrets.Value }

func (p proposed) Read(context.Context, secrets.Ref) (secrets.Value, error) { return p.value, nil }

// Origin is the function by the names that its platform gives it, and what it
// was built from.
func (a *Access) Origin() audit.Origin { return a.w.origin() }

// Fingerprints are those of the deployment.
func (a *Access) Fingerprints() audit.Fingerprints { return a.w.fingerprints() }

// Transport carries the function's requests.
func (a *Access) Transport() http.RoundTripper { return a.w.HTTP }

// Deployment is what the deployment is called: the functions of one deployment
// have the same.
func (a *Access) Deployment() string {
	return cmp.Or(a.w.Getenv("POSTERN_DEPLOYMENT"), a.w.origin().Name)
}

// proactive are the sources of tokens that somebody refreshes ahead of any
// request.
type proactive struct {
	mu      sync.Mutex
	sources []*redistokens.Source
}

func (p *proactive) add(s *redistokens.Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sources = append(p.sources, s)
}

func (p *proactive) take() []*redistokens.Source {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.sources
	p.sources = nil
	return taken
}

// Refreshed is what became of one upstream's tokens.
type Refreshed struct {
	Upstream string `json:"upstream"`
	// Replaced says that there is a new token.
	Replaced bool   `json:"replaced"`
	Error    string `json:"error,omitzero"`
}

// Refresh fetches the tokens of the upstreams with refresh_policy proactive into
// the cache that all instances share, if they are due. One upstream's failure
// does not keep the others back; the error is that of all that have failed.
func (k Kit) Refresh(ctx context.Context, d *config.Document) ([]Refreshed, error) {
	var all []Refreshed
	failed := 0
	for i := range d.Upstreams {
		u := &d.Upstreams[i]
		if u.RefreshPolicy != config.Proactive {
			continue
		}
		result := Refreshed{Upstream: u.Name}
		replaced, err := k.refresh(ctx, d, u)
		if result.Replaced = replaced; err != nil {
			result.Error = identity.Why(err)
			failed++
		}
		all = append(all, result)
	}
	if failed > 0 {
		return all, fmt.Errorf("the tokens of %d upstreams could not be refreshed ahead of time; requests fetch them as they need them", failed)
	}
	return all, nil
}

// refresh puts the upstream's sources together anew, since what they are made
// of may have been rotated.
func (k Kit) refresh(ctx context.Context, d *config.Document, u *config.Upstream) (bool, error) {
	a, err := k.Access(d)
	if err != nil {
		return false, err
	}
	a.w.ahead = &proactive{}
	auth, err := a.w.authorizer(u)
	if err != nil {
		return false, err
	}
	// A stored credential is read, and its source made, when it is first used.
	if s, ok := auth.(*stored); ok {
		if _, _, err := s.current(ctx); err != nil {
			return false, err
		}
	}
	replaced := false
	for _, source := range a.w.ahead.take() {
		refreshed, err := source.Refresh(ctx, identity.ReasonScheduled)
		if err != nil {
			return false, err
		}
		replaced = replaced || refreshed.Replaced
	}
	return replaced, nil
}

// AzureAuthority is where an upstream's Entra tokens are had.
func AzureAuthority(u *config.Upstream) string { return cloudOf(u).authority }
