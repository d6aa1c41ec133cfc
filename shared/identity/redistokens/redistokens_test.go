package redistokens_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/redis"
	"github.com/postern-ai/postern/shared/secrets"
)

var (
	key       = secrets.NewValue("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	otherKey  = secrets.NewValue(strings.Repeat("ab", 32))
	whoseName = []string{"function-1", "https://issuer.example/token", "client", "audience", "scope"}
)

// issuer is a source whose tokens are numbered: t1, t2 and so on.
type issuer struct {
	mu       sync.Mutex
	calls    int
	lifetime time.Duration
	takes    time.Duration
	fail     error
}

func (i *issuer) Token(ctx context.Context) (identity.Token, error) {
	i.mu.Lock()
	i.calls++
	name := fmt.Sprintf("t%d", i.calls)
	takes, lifetime, fail := i.takes, i.lifetime, i.fail
	i.mu.Unlock()
	expires := time.Now().Add(lifetime)
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return identity.Token{}, &identity.Error{Public: "the issuer did not answer", Err: ctx.Err()}
	}
	if fail != nil {
		return identity.Token{}, fail
	}
	return identity.Token{Value: secrets.NewValue(name), Expires: expires, Principal: principal}, nil
}

var principal = identity.Principal{Name: "client@issuer.example", Source: "client credentials"}

func (i *issuer) wantCalls(t *testing.T, want int) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.calls != want {
		t.Errorf("the issuer was asked %d times, want %d", i.calls, want)
	}
}

func (i *issuer) set(change func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

// setting is a Redis server, an issuer, and what instances of a function have to say about them. All of it is in one bubble.
type setting struct {
	redis  *miniredis.Miniredis
	issuer *issuer
	dial   func(ctx context.Context, address string) (net.Conn, error) // nil is the server's own
	server redis.Options
	redistokens.Options
	redistokens.SourceOptions

	mu       sync.Mutex
	faults   []string
	replaced []string
}

// bubble runs a test on a clock of its own.
func bubble(t *testing.T, run func(*testing.T, *setting)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &setting{redis: miniredis.NewMiniRedis(), issuer: &issuer{lifetime: time.Hour, takes: 300 * time.Millisecond}}
		s.redis.ClockTTL(true)
		t.Cleanup(s.redis.Close)
		s.server.URL = "redis://localhost/"
		s.Key = fixed(key)
		s.Identity = whoseName
		run(t, s)
	})
}

func fixed(value secrets.Value) func(context.Context) (secrets.Value, error) {
	return func(context.Context) (secrets.Value, error) { return value, nil }
}

// source returns the source of one more instance.
func (s *setting) source(t *testing.T) *redistokens.Source {
	t.Helper()
	return s.sourceOver(t, s.issuer)
}

func (s *setting) sourceOver(t *testing.T, source identity.TokenSource) *redistokens.Source {
	t.Helper()
	options := s.Options
	options.OnFault = func(_ context.Context, fault redistokens.Fault) {
		text := fault.Err.Error()
		if !fault.Until.IsZero() {
			text += fmt.Sprintf(" (%v)", time.Until(fault.Until).Round(time.Second))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = append(s.faults, text)
	}
	options.Server = s.reached(t)
	cache, err := redistokens.New(options)
	if err != nil {
		t.Fatal(err)
	}
	sharing := s.SourceOptions
	sharing.OnReplace = func(_ context.Context, r identity.Replacement[identity.Token]) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.replaced = append(s.replaced, fmt.Sprintf("%s -> %s: %s", r.Old.Value.Reveal(), r.New.Value.Reveal(), r.Reason))
	}
	return cache.Source(source, sharing)
}

// reached is the server by another way than over the network, which has no place in a bubble of synctest.
func (s *setting) reached(t *testing.T) *redis.Server {
	t.Helper()
	options := s.server
	options.Dial = s.dial
	if options.Dial == nil {
		options.Dial = func(context.Context, string) (net.Conn, error) { return s.redis.Dial() }
	}
	server, err := redis.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// as logs in.
func as(user, password string) func(context.Context) (redis.Login, error) {
	return func(context.Context) (redis.Login, error) { return redis.Login{User: user, Password: password}, nil }
}

// instance returns the token cache of one more instance.
func (s *setting) instance(t *testing.T) *identity.Cache {
	t.Helper()
	return identity.NewCache(s.source(t), identity.CacheOptions{Refresh: identity.Refresh{Jitter: -1, Window: s.Window}})
}

func (s *setting) name(t *testing.T) string {
	t.Helper()
	name, err := redistokens.NameOf(key, s.Identity...)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (s *setting) wantFaults(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(want, s.faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func (s *setting) wantReplaced(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(want, s.replaced); diff != "" {
		t.Errorf("replacements (-want +got):\n%s", diff)
	}
}

func wantToken(t *testing.T, source identity.TokenSource, want string) {
	t.Helper()
	token, err := source.Token(t.Context())
	if err != nil || token.Value.Reveal() != want {
		t.Errorf("got token %q and error %v, want %s", token.Value.Reveal(), err, want)
	}
}

func TestAThousandColdRequestsOnFiftyInstancesMakeOneFetch(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		var wait sync.WaitGroup
		for range 50 {
			instance := s.instance(t)
			for range 20 {
				wait.Go(func() { wantToken(t, instance, "t1") })
			}
		}
		wait.Wait()
		s.issuer.wantCalls(t, 1)
		s.wantFaults(t)
		s.wantReplaced(t)
	})
}

func TestASharedTokenIsTheWholeToken(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		wantToken(t, s.instance(t), "t1")
		token, err := s.instance(t).Token(t.Context())
		if err != nil || token.Principal != principal || token.Type != "" {
			t.Errorf("got %+v and error %v", token, err)
		}
		// 300 ms were spent at the issuer.
		if left := time.Until(token.Expires); left != time.Hour-300*time.Millisecond {
			t.Errorf("it ends in %v", left)
		}
	})
}

func TestWhatIsStoredShowsNothingAndEndsBeforeTheToken(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		wantToken(t, s.instance(t), "t1")
		dump := s.redis.Dump()
		for _, secret := range append([]string{"t1", principal.Name, principal.Source, "expires"}, whoseName...) {
			if strings.Contains(strings.ReplaceAll(dump, "token:v1", ""), secret) {
				t.Errorf("%q is in the clear:\n%s", secret, dump)
			}
		}
		if left := s.redis.TTL(s.name(t)); left != time.Hour-300*time.Millisecond-30*time.Second {
			t.Errorf("it is kept for %v", left)
		}
		if keys := s.redis.Keys(); !cmp.Equal(keys, []string{s.name(t)}) {
			t.Errorf("the keys are %q", keys)
		}
	})
}

func TestOneInstanceRefreshesEarlyAndTheOthersGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		var instances []*identity.Cache
		for range 20 {
			instances = append(instances, s.instance(t))
			wantToken(t, instances[len(instances)-1], "t1")
		}
		// The end that a cache counts to is 10 s before the token's own, and it refreshes 5 minutes before that.
		time.Sleep(55*time.Minute - 8*time.Second)
		s.issuer.set(func(i *issuer) { i.takes = 2 * time.Second })
		var wait sync.WaitGroup
		took := make([]time.Duration, len(instances))
		for i, instance := range instances {
			wait.Go(func() {
				start := time.Now()
				_, err := instance.Token(t.Context())
				if took[i] = time.Since(start); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		waited := 0
		for _, d := range took {
			if d > 0 {
				waited++
			}
		}
		if waited != 1 {
			t.Errorf("%d requests waited: %v", waited, took)
		}
		s.issuer.wantCalls(t, 2)
		time.Sleep(4 * time.Minute)
		for _, instance := range instances {
			wantToken(t, instance, "t2")
		}
		s.issuer.wantCalls(t, 2)
		s.wantReplaced(t, "t1 -> t2: pre_expiry")
	})
}

func TestAWindowThatIsSetIsTheSharedOneToo(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.Window = 25 * time.Minute
		first, second := s.instance(t), s.instance(t)
		wantToken(t, first, "t1")
		time.Sleep(33 * time.Minute)
		wantToken(t, second, "t1")
		time.Sleep(3 * time.Minute)
		wantToken(t, first, "t2")
		// Its own window begins later: it has known the token for less long.
		wantToken(t, second, "t1")
		time.Sleep(15 * time.Minute)
		wantToken(t, second, "t2")
		s.issuer.wantCalls(t, 2)
	})
}

func TestATokenThatWasRejectedIsNotTakenFromTheServerAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		first, second := s.instance(t), s.instance(t)
		wantToken(t, first, "t1")
		wantToken(t, second, "t1")
		first.Rejected(secrets.NewValue("t1"))
		wantToken(t, first, "t2")
		second.Rejected(secrets.NewValue("t1"))
		wantToken(t, second, "t2")
		wantToken(t, s.instance(t), "t2")
		s.wantReplaced(t, "t1 -> t2: rejected")
	})
}

func TestAHundredInstancesWhoseTokenIsRejectedMakeOneFetch(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		var wait sync.WaitGroup
		for range 100 {
			instance := s.instance(t)
			wantToken(t, instance, "t1")
			wait.Go(func() {
				instance.Rejected(secrets.NewValue("t1"))
				wantToken(t, instance, "t2")
			})
		}
		wait.Wait()
		s.issuer.wantCalls(t, 2)
		s.wantReplaced(t, "t1 -> t2: rejected")
		s.wantFaults(t)
	})
}

func TestAFetchThatTookAllTheTimeGivesTheLockUp(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.issuer.takes = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		if _, err := s.source(t).Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if keys := s.redis.Keys(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
		s.wantFaults(t)
	})
}

func TestARefreshThatIsAskedForFetches(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		instance := s.instance(t)
		wantToken(t, instance, "t1")
		if _, err := instance.Refresh(t.Context(), identity.ReasonManual); err != nil {
			t.Error(err)
		}
		wantToken(t, s.instance(t), "t2")
		s.wantReplaced(t, "t1 -> t2: manual")
	})
}

func TestATokenThatExpiredWhileTheFunctionWasFrozenIsFetchedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		first, second := s.instance(t), s.instance(t)
		wantToken(t, first, "t1")
		wantToken(t, second, "t1")
		time.Sleep(3 * time.Hour)
		var wait sync.WaitGroup
		wait.Go(func() { wantToken(t, first, "t2") })
		wait.Go(func() { wantToken(t, second, "t2") })
		wait.Wait()
		s.wantReplaced(t, "t1 -> t2: expired")
		s.wantFaults(t)
	})
}

func TestAnInstanceThatWasFrozenInItsFetchDoesNotOverwriteALaterToken(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		frozen := s.source(t)
		s.issuer.takes = 10 * time.Minute
		var wait sync.WaitGroup
		wait.Go(func() { wantToken(t, frozen, "t1") })
		time.Sleep(5 * time.Minute)
		s.issuer.set(func(i *issuer) { i.takes = 0 })
		wantToken(t, s.instance(t), "t2")
		wait.Wait()
		wantToken(t, s.instance(t), "t2")
		s.wantFaults(t)
	})
}

func TestInstancesDoNotWaitLongForOneThatDied(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		if err := s.redis.Set(s.name(t)+":lock", "dead"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		wantToken(t, s.instance(t), "t1")
		if took := time.Since(start); took != time.Second+300*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		s.wantFaults(t)
	})
}

func TestAServerIsNotBlamedForAnInstanceThatDied(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		if err := s.redis.Set(s.name(t)+":lock", "dead"); err != nil {
			t.Fatal(err)
		}
		// So slow that patience ends in the middle of a step.
		s.dial = func(context.Context, string) (net.Conn, error) {
			conn, err := s.redis.Dial()
			return slow{conn}, err
		}
		wantToken(t, s.instance(t), "t1")
		s.wantFaults(t)
	})
}

func TestATokenThatCameJustBeforeTheLockIsUsedAndTheLockGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		wantToken(t, s.instance(t), "t1")
		value, err := s.redis.Get(s.name(t))
		if err != nil {
			t.Fatal(err)
		}
		s.redis.Del(s.name(t))
		s.redis.Server().SetPreHook(func(_ *server.Peer, command string, _ ...string) bool {
			if command == "SET" && !s.redis.Exists(s.name(t)) {
				stored(t, s, value)
			}
			return false
		})
		wantToken(t, s.instance(t), "t1")
		if keys := s.redis.Keys(); !cmp.Equal(keys, []string{s.name(t)}) {
			t.Errorf("the keys are %q", keys)
		}
		s.wantFaults(t)
	})
}

func TestAnIssuerThatFailsIsNotHiddenAndTheLockIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.issuer.fail = &identity.Error{Public: "the issuer is down"}
		source := s.source(t)
		if _, err := source.Token(t.Context()); err == nil || err.Error() != "the issuer is down" {
			t.Errorf("got %v", err)
		}
		if keys := s.redis.Keys(); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

func TestTokensThatCannotBeSharedAreNot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		token identity.Token
		want  []string // faults
	}{
		"a token without an end":         {token: identity.Token{Value: secrets.NewValue("x")}},
		"a token that has already ended": {token: identity.Token{Value: secrets.NewValue("x"), Expires: time.Unix(1, 0)}},
		"a token with a line break":      {token: identity.Token{Value: secrets.NewValue("x\n"), Expires: time.Unix(1<<40, 0)}},
		"a token of another type":        {token: identity.Token{Value: secrets.NewValue("x"), Type: "DPoP", Expires: time.Unix(1<<40, 0)}},
		"a token that is too long": {
			token: identity.Token{Value: secrets.NewValue(strings.Repeat("x", 70_000)), Expires: time.Unix(1<<33, 0)},
			want:  []string{"the shared token cache could not store a token: it is too long"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *setting) {
				source := s.sourceOver(t, identity.TokenFunc(func(context.Context) (identity.Token, error) { return test.token, nil }))
				wantToken(t, source, test.token.Value.Reveal())
				s.wantFaults(t, test.want...)
				if _, err := source.Refresh(t.Context(), identity.ReasonScheduled); err == nil {
					t.Error("the scheduled refresh is content")
				}
				if keys := s.redis.Keys(); len(keys) != 0 {
					t.Errorf("left behind: %q", keys)
				}
			})
		})
	}
}

func TestHowLongATokenIsGoodForDoesNotHangOnTheClockOfWhoStoredIt(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		wantToken(t, s.instance(t), "t1")
		// As if the clock of that instance were 10 minutes ahead: the server counts down what is left and knows no clock.
		s.redis.SetTTL(s.name(t), s.redis.TTL(s.name(t))-10*time.Minute)
		token, err := s.instance(t).Token(t.Context())
		if left := time.Until(token.Expires); err != nil || left != 50*time.Minute-300*time.Millisecond {
			t.Errorf("it ends in %v, error %v", left, err)
		}
	})
}
