// Package rotation renews stored provider keys without a gap: it creates the next key, proves that it works, makes it current, waits until
// nobody uses the old one, and revokes that, so that a crash at any point loses nothing and leaves no usable key behind that nobody knows.
//
// An [Issuer] makes and revokes the keys of one provider. A secrets.Store holds them, a ledger.Ledger what is under way, and an
// audit.Publisher is told of each step. What a cycle does next is in the ledger before it is done, so that whoever comes after a crash
// knows what to look for.
//
// When the grace is over, the new key has to prove itself once more before the old one ends. If its service goes on rejecting it and takes the
// old one, the old one becomes current again and the new one is ended: gateways have been living on the old one by then, as they fall back to
// it, and it is valid anyway, so that nothing gets worse. It is not done when the service does not answer, which says nothing of the key, nor
// for an old key that others may know. It leads into no loop: the next rotation is as far away as after every other.
//
// The package must not know any provider, store or bus by name, nor what a key is used for.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

// Credential is one stored key and how it is renewed.
type Credential struct {
	// Name is the credential's name in the document. It is part of the keys of the ledger and of the names of provider keys.
	Name string
	// Ref is where the key is stored. With a field, the rest of the JSON object is carried over.
	Ref secrets.Ref
	// Issuer makes and revokes the keys, and Verifier finds out whether one works.
	Issuer   Issuer
	Verifier Verifier
	// Every is how often the key is renewed.
	Every time.Duration
	// Grace is how long the old key stays valid after the new one has become current: longer than a gateway holds on to it, and than the
	// longest request that has begun with it. MaxGrace is the longest that use of the old key puts its end off. It is at least Grace.
	Grace, MaxGrace time.Duration
	// Successes is how many verifications in a row prove a key, if that is more than the issuer's own number.
	Successes int
	// InitialKey is the issuer's id of the key that was there before the first rotation. Only with it is that key revoked when it has been
	// replaced: otherwise nothing is revoked that was not made here.
	InitialKey string
	// About is what the events about the credential have in common. The rotation fills in the cycle and the reason.
	About audit.Credential
}

// Job renews credentials. Its fields are not changed after the first call; its methods are safe for concurrent use, in as many functions as
// one likes.
type Job struct {
	Ledger ledger.Ledger
	Store  secrets.Store
	Audit  audit.Publisher
	// Sign, when set, signs each event before it is published for the first time. Events that cannot be signed wait, as when the bus is away.
	Sign audit.Signer
	// Credentials have different names and different references.
	Credentials []Credential
	// Fingerprints are those of the deployment.
	Fingerprints audit.Fingerprints
	// Deployment is part of the names of provider keys, for whoever reads a list of them.
	Deployment string
	// PolicyHash is that of the document.
	PolicyHash string
	// Parallel is how many credentials are worked on at a time. Zero means 4.
	Parallel int
	// Skew, when set, returns how far this function's clock was ahead of a server's when that was last seen. Nothing is revoked while the
	// two are far apart.
	Skew func() time.Duration
	// Log is told what has been done. Nil means that it is not.
	Log *slog.Logger
}

const (
	defaultParallel = 4
	// longestRun is how long a run may take when its context has no end: the longest of a Lambda function.
	longestRun = 15 * time.Minute
	// tidying is how long it may take to write down what became of a step, or of a run whose time is over. A ledger may take one write of a record
	// in each second, and the step has just made one (https://cloud.google.com/storage/quotas).
	tidying = 5 * time.Second
)

// ErrUnknown is wrapped by the error of a verb about a credential that the job does not have.
var ErrUnknown = errors.New("no such credential")

// Run does what can be done now for every credential, and returns. What has to wait goes on in a later run. One credential's failure does not
// keep the others back. The error is a *[FailedError] if any of them has failed; that another run is at work is none.
func (j *Job) Run(ctx context.Context) (Report, error) {
	if err := j.Check(); err != nil {
		return Report{}, err
	}
	report := Report{Results: make([]Result, len(j.Credentials))}
	parallel := j.Parallel
	if parallel <= 0 {
		parallel = defaultParallel
	}
	slots := make(chan struct{}, parallel)
	var group sync.WaitGroup
	for i := range j.Credentials {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			report.Results[i] = j.one(ctx, &j.Credentials[i], request{})
		})
	}
	group.Wait()
	return report, report.err()
}

// RunOne is Run for one credential.
func (j *Job) RunOne(ctx context.Context, name string) (Report, error) {
	if err := j.Check(); err != nil {
		return Report{}, err
	}
	c, err := j.find(name)
	if err != nil {
		return Report{}, err
	}
	report := Report{Results: []Result{j.one(ctx, c, request{})}}
	return report, report.err()
}

func (j *Job) find(name string) (*Credential, error) {
	for i := range j.Credentials {
		if j.Credentials[i].Name == name {
			return &j.Credentials[i], nil
		}
	}
	return nil, fmt.Errorf("rotation of %q: %w: it is not among the keys under rotation in the document", name, ErrUnknown)
}

// request is what is asked of a pass besides what is due.
type request struct {
	// cycle, when set, begins a cycle with this id, due or not.
	cycle string
	// until ends the pass when this phase has been reached.
	until Phase
}

// one does what can be done now for one credential.
func (j *Job) one(ctx context.Context, c *Credential, asked request) (result Result) {
	defer func() {
		// A fault in one issuer must not keep the others from their turn.
		if caught := recover(); caught != nil {
			result = Result{Credential: c.Name, Outcome: Failed, Err: fmt.Errorf("rotation of %q: internal error", c.Name)}
			j.log(ctx, slog.LevelError, "a rotation has panicked", c, slog.String("panic", fmt.Sprintf("%T", caught)))
		}
	}()
	if !enough(ctx) {
		return Result{Credential: c.Name, Outcome: Pending, Detail: timeOver}
	}
	lease, err := ledger.Acquire(ctx, j.Ledger, ledger.Terms{Key: leaseKey(c.Name), Holder: "rotation", Duration: leaseFor(ctx)})
	if errors.Is(err, ledger.ErrHeld) {
		return Result{Credential: c.Name, Outcome: Pending, Detail: "another run is at work"}
	}
	if err != nil {
		return Result{Credential: c.Name, Outcome: Failed, Err: fmt.Errorf("rotation of %q: %w", c.Name, err)}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
		defer cancel()
		// Nobody has to wait for a lease that is given back; one that is not ends by itself.
		_ = lease.Release(ctx)
	}()
	p := &pass{job: j, c: c, lease: lease, asked: asked}
	return p.result(ctx, p.run(ctx))
}

// leaseFor is how long a lease is taken: for as long as the run may last.
func leaseFor(ctx context.Context) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return longestRun
	}
	return min(longestRun, max(time.Minute, time.Until(end)+30*time.Second))
}

func (j *Job) log(ctx context.Context, level slog.Level, message string, c *Credential, attributes ...slog.Attr) {
	if j.Log != nil {
		j.Log.LogAttrs(ctx, level, message, append([]slog.Attr{slog.String("credential", c.Name)}, attributes...)...)
	}
}
