// Package rotatekit is the part of a rotation function's wiring that is the
// same on every cloud: it turns the document into a rotation of the stored keys
// that it names, and answers what a schedule or an operator asks of it. A
// function's main fills in a [Kit] and adds what is its platform's alone.
//
// It links every issuer, and no cloud's runtime, store, ledger or bus.
package rotatekit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// Kit is what a rotation function brings along.
type Kit struct {
	Cloud  config.Cloud
	Getenv func(string) string
	Log    *slog.Logger

	// Secrets reads the credentials of the issuers' own APIs, and Store replaces
	// the keys that are rotated. Both are this cloud's; StoreName is what
	// references call it.
	Secrets   secrets.Stores
	Store     secrets.Store
	StoreName string
	// Propagation is how long it takes at most until all readers of the store
	// see what has been promoted.
	Propagation time.Duration

	Ledger ledger.Ledger
	Audit  audit.Publisher
	// Sign signs the events that are in chains, or nil.
	Sign audit.Signer

	// HTTP carries the requests to issuers, or nil for [kit.NewTransport].
	HTTP http.RoundTripper
}

// Rotator rotates what one document says. It is safe for concurrent use.
type Rotator struct {
	kit      Kit
	access   *kit.Access
	clock    *clock
	document *config.Document
	job      *rotation.Job
}

// New returns the rotator for the document that the environment names. It does
// everything that can fail for a reason that the operator can mend, and opens
// no connection.
func New(k Kit) (*Rotator, error) {
	switch {
	case k.Store == nil || k.Ledger == nil || k.Audit == nil:
		return nil, errors.New("a rotation needs a secret store, a ledger and a place for its events")
	case k.HTTP == nil:
		k.HTTP = kit.NewTransport()
	}
	d, err := config.FromEnvironment(k.Cloud, k.Getenv, os.ReadFile)
	if err != nil {
		return nil, err
	}
	r := &Rotator{kit: k, clock: &clock{next: k.HTTP}, document: d}
	// What is wrong with the server that tokens are shared on is found here, for Run.
	if _, err := k.gateway().Access(d); err != nil {
		return nil, err
	}
	// Tokens that manage keys are not shared on it: the gateway has its key too, and would have them.
	alone := *d
	alone.Cache.Redis = nil
	if r.access, err = k.gateway().Access(&alone); err != nil {
		return nil, err
	}
	hash, err := hashOf(d)
	if err != nil {
		return nil, err
	}
	r.job = &rotation.Job{
		Ledger: k.Ledger, Store: k.Store, Audit: k.Audit, Sign: k.Sign, Log: k.Log,
		Fingerprints: r.access.Fingerprints(), Deployment: r.access.Deployment(), PolicyHash: hash, Skew: r.clock.skew,
	}
	for i := range d.Rotation.Keys {
		c, err := r.credential(&d.Rotation.Keys[i])
		if err != nil {
			return nil, fmt.Errorf("rotation of %q: %w", d.Rotation.Keys[i].Name, err)
		}
		r.job.Credentials = append(r.job.Credentials, c)
	}
	if err := r.job.Check(); err != nil {
		return nil, err
	}
	kit.Started(k.Log)
	return r, nil
}

// gateway is what of the kit finds credentials.
func (k Kit) gateway() kit.Kit {
	return kit.Kit{Cloud: k.Cloud, Getenv: k.Getenv, Log: k.Log, Secrets: k.Secrets, Audit: k.Audit, HTTP: k.HTTP}
}

// allowance is what the computed grace has besides: for clocks that differ, and
// for a tick of the schedule.
const allowance = 5 * time.Minute

// remembered is for how long an event that comes again is known: longer than
// any bus tries.
const remembered = 8 * 24 * time.Hour

// credential puts an issuer behind a key of the document.
func (r *Rotator) credential(k *config.RotatedKey) (rotation.Credential, error) {
	ref, err := secrets.ParseRef(k.CredentialRef.String())
	if err != nil {
		return rotation.Credential{}, fmt.Errorf("the credential reference cannot be used: %w", err)
	}
	if ref.Store != secrets.StoreOwn && ref.Store != r.kit.StoreName {
		return rotation.Credential{}, fmt.Errorf("the key is in another cloud's store (%s://), where a function on %s replaces nothing; "+
			"rotate it by a function of that cloud, or store it in this cloud's own store", ref.Store, r.kit.Cloud)
	}
	u := r.upstream(k.Upstream)
	made, err := r.issuer(k, u)
	if err != nil {
		return rotation.Credential{}, err
	}
	grace := cmp.Or(k.Grace, r.document.Cache.SecretTTL+r.document.Limits.RequestTimeout+r.kit.Propagation+made.issuer.Traits().Propagation+allowance)
	if grace > k.Every/2 {
		return rotation.Credential{}, fmt.Errorf("the old key has to stay valid for %v, until no gateway has it any more, which is longer than half of the time "+
			"between two rotations; rotate less often (every), or give a shorter grace", grace)
	}
	about := audit.Credential{Function: r.access.Origin(), Upstream: k.Upstream, Issuer: string(k.Issuer)}
	if u != nil {
		about.Provider, about.AuthType = string(u.Provider), string(u.AuthType)
	}
	return rotation.Credential{
		Name: k.Name, Ref: ref, Issuer: made.issuer, Verifier: made.verifier,
		Every: k.Every, Grace: grace, MaxGrace: max(k.MaxGrace, grace), Successes: k.VerifySuccesses, InitialKey: k.InitialKeyID, About: about,
	}, nil
}

func (r *Rotator) upstream(name string) *config.Upstream {
	for i := range r.document.Upstreams {
		if u := &r.document.Upstreams[i]; u.Name == name && name != "" {
			return u
		}
	}
	return nil
}

// Credentials are the names of what is rotated, by the reference under which
// each is stored.
func (r *Rotator) Credentials() map[secrets.Ref]string {
	names := map[secrets.Ref]string{}
	for _, c := range r.job.Credentials {
		names[c.Ref] = c.Name
	}
	return names
}

const (
	// longest is how long a run takes where the platform's context has no end:
	// less than the five minutes that Cloud Run gives one unless it is told
	// otherwise, and than the 230 s after which nobody hears the answer of a
	// function of Azure's. What is left goes on in the next run.
	longest = 3*time.Minute + 30*time.Second
	// margin is what is left of the platform's time when a run ends: a step that
	// ends because there is no more has to be written down, and the lease given
	// back.
	margin = 10 * time.Second
)

// bounded returns a context that ends before the platform ends the function.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-margin))
	}
	return context.WithTimeout(ctx, longest)
}

// Run does what is due: keys are rotated, and tokens refreshed that are to be
// there before a request asks for them.
func (r *Rotator) Run(ctx context.Context) (Report, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	keys, err := r.job.Run(ctx)
	tokens, refused := r.kit.gateway().Refresh(ctx, r.document)
	if changed := r.follow(ctx); changed != nil && !errors.Is(changed, ledger.ErrConflict) {
		refused = errors.Join(refused, changed)
	}
	r.kit.Log.InfoContext(ctx, "rotation run", slog.String("keys", keys.String()), slog.Int("tokens", len(tokens)))
	return Report{Report: keys, Tokens: tokens}, errors.Join(err, refused)
}

// Report is what a run has done.
type Report struct {
	rotation.Report `json:",inline"`
	Tokens          []kit.Refreshed `json:"tokens,omitzero"`
}

// Due rotates one key because its store says that it is time. That a rotation
// of it is under way is no error, and it goes on. That it is paused, or has
// stopped, is for the run to say.
func (r *Rotator) Due(ctx context.Context, credential string, reason audit.Reason) (rotation.Report, error) {
	err := r.job.Force(ctx, rotation.Request{Credential: credential, Reason: reason})
	if err != nil && !errors.Is(err, rotation.ErrUnderWay) && !errors.Is(err, rotation.ErrNotPossible) {
		return rotation.Report{}, err
	}
	return r.one(ctx, credential)
}

// one does what can be done now for one key.
func (r *Rotator) one(ctx context.Context, credential string) (rotation.Report, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return r.job.RunOne(ctx, credential)
}

// Once does something for an event unless it has been done for the same event
// before: buses deliver more than once. While another is at it, which may have
// died over it, the error is [ledger.ErrHeld], and the bus has to bring the
// event again.
func (r *Rotator) Once(ctx context.Context, event string, do func(context.Context) error) error {
	_, err := ledger.Once(ctx, r.kit.Ledger, ledger.Task{Key: "event/" + audit.ID(event), TTL: remembered, Do: do})
	return err
}

// Advance takes a rotation that the store itself drives as far as a step says.
func (r *Rotator) Advance(ctx context.Context, step rotation.Native) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := r.job.Advance(ctx, step)
	return err
}
