package redistokens

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/identity"
)

const (
	defaultWindow = 5 * time.Minute
	// fetchTimeout bounds a fetch for the scheduled refresh, which no keeper bounds.
	fetchTimeout = 2500 * time.Millisecond
	// While another instance fetches, the server is asked again after 20 to 60 ms, a different time for each instance.
	firstPoll, morePoll = 20 * time.Millisecond, 40 * time.Millisecond
)

// SourceOptions says whose token is shared and by which policy.
type SourceOptions struct {
	// Identity is everything that makes the token what it is, in a fixed order: who the function itself is, issuer or token endpoint,
	// client id or role, how it authenticates, audience, scopes in order. Whoever has the same key and the same Identity gets the same
	// token, so whatever is left out here is shared across.
	Identity []string
	// Window is how long before its end a token is refreshed, as in [identity.Refresh]. Zero means 5 minutes.
	Window time.Duration
	// Proactive says that somebody else calls [Source.Refresh] in time. Then a request does not fetch early, but takes what is shared for as
	// long as that is valid.
	Proactive bool
	// OnReplace, when set, is told of each token that this Source fetched in place of a different one, whoever had fetched that. It is
	// not told of tokens that another instance fetched, so that each replacement is reported once and not by each instance. It runs
	// within the fetch's deadline and has to be quick.
	OnReplace func(ctx context.Context, replacement identity.Replacement[identity.Token])
}

// Source is a [identity.TokenSource] that asks the shared cache first, and another source when that has no token to offer. One
// [identity.Cache] goes over it. It is safe for concurrent use.
type Source struct {
	cache   *Cache
	source  identity.TokenSource
	options SourceOptions

	mu   sync.Mutex
	last *identity.Token // what was given out last
}

// Source returns the source with its tokens shared.
func (c *Cache) Source(source identity.TokenSource, options SourceOptions) *Source {
	return &Source{cache: c, source: source, options: options}
}

// Token returns a shared token, or fetches one and shares it. Its errors are those of the other source.
//
// A token that this Source gave out before and that is asked for again because an upstream rejected it, or because its end is near, is not
// given out again. One instance fetches while the others wait for what it brings, for a second at most; then they fetch for themselves.
func (s *Source) Token(ctx context.Context) (identity.Token, error) {
	reason := identity.ReasonOf(ctx)
	session, found := s.ask(ctx, reason)
	if session != nil {
		defer session.close()
	}
	if found.token != nil {
		s.give(*found.token)
		return *found.token, nil
	}
	issued := wall()
	token, err := s.source.Token(ctx)
	if err != nil || token.Check() != nil {
		s.giveUp(ctx, session)
		return token, err
	}
	s.share(ctx, session, entry{token, issued})
	s.replaced(ctx, found.old, token, reason)
	return token, nil
}

// answer is what the shared cache had to say.
type answer struct {
	token *identity.Token // to be used, nil when one has to be fetched
	old   *identity.Token // what is stored, whether or not it can be used
}

// ask looks for a token that can be used. Without one, it returns the session that holds the lock, or nil when what is fetched cannot be
// shared.
func (s *Source) ask(ctx context.Context, reason identity.Reason) (*session, answer) {
	if ctx.Err() != nil || s.cache.pause.Resting() {
		return nil, answer{}
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, patient(ctx))
	defer cancel()
	session, step, err := s.cache.connect(ctx, s.options.Identity)
	if err != nil {
		s.cache.failed(parent, step, err)
		return nil, answer{}
	}
	found, step, err := s.negotiate(ctx, session, reason)
	if err != nil && !errors.Is(err, errImpatient) {
		s.cache.failed(parent, step, err)
	}
	if err == nil {
		s.cache.pause.Worked()
	}
	if session.owner == "" || found.token != nil || err != nil {
		session.close()
		session = nil
	}
	return session, found
}

// patient returns how long the server may take in all.
func patient(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return patience
	}
	return min(patience, time.Duration(float64(time.Until(deadline))*patienceShare))
}

// errImpatient says that the server is well, and another instance takes too long to fetch.
var errImpatient = errors.New("another instance takes too long to fetch")

// negotiate finds a usable token or takes the lock. It returns with neither when another instance has the lock and does not come back.
func (s *Source) negotiate(ctx context.Context, session *session, reason identity.Reason) (answer, Step, error) {
	var found answer
	for waited := false; ; waited = true {
		// With the lock the token is read once more: it may have come between the last look and the lock.
		e, err := session.read(ctx)
		if err != nil && waited && ctx.Err() != nil {
			err = errImpatient
		}
		if err != nil {
			return found, StepRead, err
		}
		found = s.judge(e, reason)
		if found.token != nil {
			if session.owner != "" {
				return found, StepLock, session.release(ctx)
			}
			return found, "", nil
		}
		if session.owner != "" {
			return found, "", nil
		}
		locked, err := session.lock(ctx)
		switch {
		case err != nil && waited && ctx.Err() != nil:
			return found, "", errImpatient
		case err != nil:
			return found, StepLock, err
		case locked:
			continue
		case reason == identity.ReasonPreExpiry && e != nil && e.valid(wall()):
			// Somebody is refreshing it already. The token is good until it has done so.
			found.token = &e.token
			return found, "", nil
		}
		if !pause(ctx) {
			return found, "", errImpatient
		}
	}
}

func pause(ctx context.Context) bool {
	timer := time.NewTimer(firstPoll + rand.N(morePoll))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// judge says whether an entry can be used, given why it is asked for.
func (s *Source) judge(e *entry, reason identity.Reason) answer {
	if e == nil {
		return answer{}
	}
	now := wall()
	found := answer{old: &e.token}
	mine := s.gave(e.token)
	usable := e.valid(now)
	switch reason {
	case identity.ReasonRejected:
		usable = usable && !mine
	case identity.ReasonPreExpiry:
		early := now.After(e.token.Expires.Add(-s.window(e.lifetime())))
		usable = usable && (s.options.Proactive || !mine && !early)
	case identity.ReasonManual, identity.ReasonScheduled:
		usable = false
	}
	if usable {
		found.token = &e.token
	}
	return found
}

// window is how long before its end a token is refreshed, just as a keeper of it reckons.
func (s *Source) window(lifetime time.Duration) time.Duration {
	if s.options.Window > 0 {
		return min(s.options.Window, lifetime/2)
	}
	return min(defaultWindow, lifetime/4)
}

func (s *Source) gave(token identity.Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last != nil && s.last.Value.Equal(token.Value)
}

// give notes what is given out, and returns what was before.
func (s *Source) give(token identity.Token) *identity.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last
	s.last = &token
	return last
}

// share stores a token that was fetched under the lock. It has its own short time even when the fetch has used up all of the request's:
// the token is there, and others wait for it.
func (s *Source) share(ctx context.Context, session *session, e entry) {
	if session == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err := session.store(ctx, e); err != nil {
		s.cache.failed(ctx, StepStore, err)
	}
}

// giveUp lets another instance try, in its own short time too.
func (s *Source) giveUp(ctx context.Context, session *session) {
	if session == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err := session.release(ctx); err != nil {
		s.cache.failed(ctx, StepLock, err)
	}
}

// replaced reports a token that was fetched in place of another one: of the one that is shared, or else of the one given out before.
func (s *Source) replaced(ctx context.Context, old *identity.Token, token identity.Token, reason identity.Reason) {
	last := s.give(token)
	if old == nil {
		old = last
	}
	if old == nil || old.Value.Equal(token.Value) || s.options.OnReplace == nil {
		return
	}
	if reason == "" {
		reason = identity.ReasonExpired
	}
	// What listens must not be able to fail the request that waits for the token.
	defer func() { _ = recover() }()
	s.options.OnReplace(ctx, identity.Replacement[identity.Token]{Old: *old, New: token, Reason: reason})
}

// Refreshed is the outcome of a [Source.Refresh].
type Refreshed struct {
	// Replaced says that a new token was fetched and shared. Otherwise the shared one is not due yet, or another instance is fetching it.
	Replaced bool
	// Expires is when the shared token ends, and Due when it should be refreshed. Both are zero when another instance is fetching the first.
	Expires, Due time.Time
}

// Refresh fetches a token into the shared cache ahead of any request, for the scheduled function. A token is due at half of its life; for
// [identity.ReasonManual] it is always due. That it is not, or that another instance is fetching it, is success.
//
// Unlike Token it has no use without the server, and so returns what went wrong with it, as an [*identity.Error].
func (s *Source) Refresh(ctx context.Context, reason identity.Reason) (Refreshed, error) {
	session, step, err := s.cache.connect(ctx, s.options.Identity)
	if err != nil {
		return Refreshed{}, s.fault(ctx, step, err)
	}
	defer session.close()
	e, err := session.read(ctx)
	if err != nil {
		return Refreshed{}, s.fault(ctx, StepRead, err)
	}
	if e != nil && reason != identity.ReasonManual && wall().Before(e.due()) {
		return e.outcome(false), nil
	}
	locked, err := session.lock(ctx)
	switch {
	case err != nil:
		return Refreshed{}, s.fault(ctx, StepLock, err)
	case !locked && e == nil:
		return Refreshed{}, nil
	case !locked:
		return e.outcome(false), nil
	}
	return s.fetch(ctx, session, s.judge(e, reason).old, reason)
}

func (s *Source) fetch(ctx context.Context, session *session, old *identity.Token, reason identity.Reason) (Refreshed, error) {
	issued := wall()
	fetching, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	token, err := s.source.Token(fetching)
	if err == nil {
		err = token.Check()
	}
	if err == nil && !issued.Before(token.Expires) {
		err = &identity.Error{Public: "the issuer gave out a token that has expired or that does not say when it will, which cannot be shared"}
	}
	if err != nil {
		s.giveUp(ctx, session)
		return Refreshed{}, err
	}
	fresh := entry{token, issued}
	if err := session.store(ctx, fresh); err != nil {
		return Refreshed{}, s.fault(ctx, StepStore, err)
	}
	s.replaced(ctx, old, token, reason)
	// An issuer may give out the token that it gave out before, for as long as that is good.
	return fresh.outcome(old == nil || !old.Value.Equal(token.Value)), nil
}

// fault reports what went wrong with the server, and returns it.
func (s *Source) fault(ctx context.Context, step Step, err error) error {
	s.cache.failed(ctx, step, err)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return explain(step, err)
}

// due is when a token should be refreshed ahead of time.
func (e entry) due() time.Time { return e.issued.Add(e.lifetime() / 2) }

func (e entry) outcome(replaced bool) Refreshed {
	return Refreshed{Replaced: replaced, Expires: e.token.Expires, Due: e.due()}
}
