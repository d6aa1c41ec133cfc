package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/release"
	"github.com/postern-ai/postern/shared/secrets"
)

// patience is how long the doctor waits for one upstream's credential: longer
// than any single fetch may take.
const patience = 3 * time.Second

// Diagnosis says for each upstream of the document how this function gets its
// credential, or why it does not, and whether it has what callers are checked
// with. It holds no secret.
type Diagnosis struct {
	Cloud config.Cloud `json:"cloud"`
	// Version and Commit are what the function was built from.
	Version   string          `json:"version"`
	Commit    string          `json:"commit,omitempty"`
	Upstreams []Finding       `json:"upstreams"`
	Callers   []CallerFinding `json:"callers,omitzero"`
}

// CallerFinding is what was found out about those who vouch for callers.
type CallerFinding struct {
	Issuer string `json:"issuer"`
	// Have says what callers are checked with: keys of the issuer, or API tokens
	// of the list. Remedy says why there is nothing.
	Have   string `json:"have,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Finding is what was found out about one upstream.
type Finding struct {
	Upstream string          `json:"upstream"`
	Provider config.Provider `json:"provider"`
	AuthType config.AuthType `json:"auth_type"`
	// Credential says whether one could be had. That the upstream accepts it is
	// another matter.
	Credential bool `json:"credential"`
	// Identity is whom the credential stands for, and Source how it was found.
	Identity string `json:"identity,omitempty"`
	Source   string `json:"source,omitempty"`
	// Expires is absent when it is not known or never.
	Expires *time.Time `json:"expires,omitempty"`
	// Remedy says what is wrong and what to do about it.
	Remedy string `json:"remedy,omitempty"`
	// Attempts are the steps in the order in which they were taken.
	Attempts []Attempt `json:"attempts"`
}

// Attempt is one step on the way to a credential.
type Attempt struct {
	Source   string           `json:"source"`
	Outcome  identity.Outcome `json:"outcome"`
	Why      string           `json:"why,omitempty"`
	Identity string           `json:"identity,omitempty"`
	// Version is the one that a secret store gave out.
	Version string     `json:"version,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

// Doctor gets a credential for each upstream, one after the other and past
// every cache, and reports how that went. It is for operators alone: whoever
// calls it sees to it that nobody else can. An error means that the document
// cannot be loaded.
func (k Kit) Doctor(ctx context.Context) (Diagnosis, error) {
	document, err := config.FromEnvironment(k.Cloud, k.Getenv, os.ReadFile)
	if err != nil {
		return Diagnosis{}, err
	}
	return k.diagnose(ctx, document), nil
}

func (k Kit) diagnose(ctx context.Context, document *config.Document) Diagnosis {
	// What instances share would hide what this one can do itself.
	own := *document
	own.Cache.Redis = nil
	k.Log = slog.New(slog.DiscardHandler)
	k.Secrets = watched(k.Secrets)
	d := Diagnosis{Cloud: k.Cloud, Version: release.Version, Commit: release.Commit, Upstreams: make([]Finding, len(own.Upstreams))}
	for i := range own.Upstreams {
		d.Upstreams[i] = k.examine(ctx, &own, &own.Upstreams[i])
	}
	d.Callers = k.examineCallers(ctx, &own)
	return d
}

// examineCallers fetches the issuers' keys and reads the list of API tokens.
func (k Kit) examineCallers(ctx context.Context, d *config.Document) []CallerFinding {
	w, err := newWiring(k, d)
	if err != nil {
		return nil // the upstreams' findings say so
	}
	entry, err := w.entry(d)
	if err != nil {
		return []CallerFinding{{Issuer: config.APITokenIssuer, Remedy: err.Error()}}
	}
	var findings []CallerFinding
	for _, f := range caller.Examine(ctx, d, entry, patience) {
		found := CallerFinding{Issuer: f.Issuer, Have: f.Have}
		if f.Err != nil {
			found.Remedy = f.Err.Error()
		}
		findings = append(findings, found)
	}
	return findings
}

// examine has the upstream's authorizer put a credential on a request that is
// never sent. The wiring is new for each, because upstreams share what they
// have fetched.
func (k Kit) examine(ctx context.Context, d *config.Document, u *config.Upstream) Finding {
	f := Finding{Upstream: u.Name, Provider: u.Provider, AuthType: u.AuthType, Attempts: []Attempt{}}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx, trail := identity.WithTrail(ctx)
	ctx, report := identity.WithReport(ctx)
	err := k.authorize(ctx, d, u)
	who := report.Principal()
	for _, a := range trail.Attempts() {
		f.Attempts = append(f.Attempts, attemptOf(a))
		if err == nil && a.Outcome == identity.Found {
			f.Expires = moment(a.Expires)
		}
	}
	switch {
	case err == nil:
		f.Credential, f.Identity, f.Source = true, who.Name, who.Source
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		f.Remedy = fmt.Sprintf("there was no credential within %v; the attempts say how far it came", patience)
	default:
		f.Remedy = identity.Why(err)
	}
	return f
}

func (k Kit) authorize(ctx context.Context, d *config.Document, u *config.Upstream) error {
	w, err := newWiring(k, d)
	if err != nil {
		return err
	}
	auth, err := w.authorizer(u)
	if err != nil {
		return err
	}
	// No such host exists (RFC 6761), and the request is never sent.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://upstream.invalid/", http.NoBody)
	if err != nil {
		return err
	}
	return auth.Authorize(r)
}

func attemptOf(a identity.Attempt) Attempt {
	return Attempt{Source: a.Source, Outcome: a.Outcome, Why: a.Why, Identity: a.Principal.Name, Version: a.Version, Expires: moment(a.Expires)}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// watched are the stores, each read of which is an attempt.
func watched(stores secrets.Stores) secrets.Stores {
	all := make(secrets.Stores, len(stores))
	for name, store := range stores {
		all[name] = watchedStore{store}
	}
	return all
}

type watchedStore struct{ secrets.Reader }

var _ secrets.Source = watchedStore{}

func (w watchedStore) Read(ctx context.Context, ref secrets.Ref) (secrets.Value, error) {
	read, err := w.Current(ctx, ref)
	return read.Value, err
}

// Current reads without the store's own way to its credentials being taken for
// the upstream's.
func (w watchedStore) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	read, err := secrets.Stores{ref.Store: w.Reader}.Current(identity.WithoutTrail(ctx), ref)
	attempt := identity.Attempt{
		Source: "stored key", Principal: identity.Principal{Name: ref.String(), Source: "stored key"}, Version: read.Version, Expires: read.Expires,
	}
	identity.Tried(ctx, attempt, err)
	return read, err
}

func (w watchedStore) Previous(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return secrets.Stores{ref.Store: w.Reader}.Previous(identity.WithoutTrail(ctx), ref)
}

// The operator's switch for a report into the log. There is no request by which
// it could be asked for: to a function on Google Cloud or Azure, an operator's
// request looks like any other caller's.
const (
	doctorVariable = "POSTERN_DOCTOR"
	doctorLog      = "log"
)

// examined has the first request of an instance write the doctor's report into
// the log before it is served, when the operator has asked for that. Nothing of
// it reaches the caller.
func (k Kit) examined(next http.Handler) (http.Handler, error) {
	switch mode := k.Getenv(doctorVariable); mode {
	case "":
		return next, nil
	case doctorLog:
	default:
		return nil, fmt.Errorf("%s: %q is unknown; use %s, or leave it out", doctorVariable, mode, doctorLog)
	}
	var done atomic.Bool
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if done.CompareAndSwap(false, true) {
			// A caller who goes away must not cut the report short.
			k.logDiagnosis(context.WithoutCancel(r.Context()))
		}
		next.ServeHTTP(w, r)
	}), nil
}

func (k Kit) logDiagnosis(ctx context.Context) {
	d, err := k.Doctor(ctx)
	if err != nil {
		Report(k.Log, err)
		return
	}
	released(k.Log).InfoContext(ctx, "doctor")
	for _, f := range d.Upstreams {
		level := slog.LevelInfo
		if !f.Credential {
			level = slog.LevelError
		}
		k.Log.Log(ctx, level, "doctor", slog.Any("finding", f))
	}
	for _, f := range d.Callers {
		level := slog.LevelInfo
		if f.Have == "" {
			level = slog.LevelError
		}
		k.Log.Log(ctx, level, "doctor", slog.Any("callers", f))
	}
}
