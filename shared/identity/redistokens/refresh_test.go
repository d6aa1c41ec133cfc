package redistokens_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/secrets"
)

// refresh runs the scheduled refresh once.
func refresh(t *testing.T, job *redistokens.Source, reason identity.Reason) redistokens.Refreshed {
	t.Helper()
	got, err := job.Refresh(t.Context(), reason)
	if err != nil {
		t.Errorf("refresh: %v", err)
	}
	return got
}

func TestTheScheduledRefreshIsDueAtHalfOfATokensLife(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		start := time.Now()
		s.issuer.takes = 0
		job := s.source(t)
		if got := refresh(t, job, identity.ReasonScheduled); !got.Replaced || got.Due.Sub(start) != 30*time.Minute || got.Expires.Sub(start) != time.Hour {
			t.Errorf("the first run: %+v", got)
		}
		time.Sleep(29 * time.Minute)
		if got := refresh(t, job, identity.ReasonScheduled); got.Replaced || got.Due.Sub(start) != 30*time.Minute {
			t.Errorf("before it is due: %+v", got)
		}
		time.Sleep(time.Minute)
		if got := refresh(t, job, identity.ReasonScheduled); !got.Replaced || got.Due.Sub(start) != time.Hour {
			t.Errorf("when it is due: %+v", got)
		}
		// Another run, in an instance of its own.
		if got := refresh(t, s.source(t), identity.ReasonManual); !got.Replaced {
			t.Errorf("by hand: %+v", got)
		}
		s.issuer.wantCalls(t, 3)
		s.wantReplaced(t, "t1 -> t2: scheduled", "t2 -> t3: manual")
		s.wantFaults(t)
	})
}

func TestUnderTheProactivePolicyRequestsOnlyRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.Proactive = true
		job := s.source(t)
		refresh(t, job, identity.ReasonScheduled)
		instance := s.instance(t)
		for range 24 * 60 {
			if _, err := instance.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			refresh(t, job, identity.ReasonScheduled)
			time.Sleep(time.Minute)
		}
		s.issuer.wantCalls(t, 48)
		for _, line := range s.replaced {
			if !strings.HasSuffix(line, ": scheduled") {
				t.Errorf("a request fetched: %s", line)
			}
		}
	})
}

func TestUnderTheProactivePolicyRequestsFetchWhenTheJobIsDead(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.Proactive = true
		refresh(t, s.source(t), identity.ReasonScheduled)
		instance := s.instance(t)
		for range 59 {
			wantToken(t, instance, "t1")
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		wantToken(t, instance, "t2")
		wantToken(t, s.instance(t), "t2")
		instance.Rejected(secrets.NewValue("t2"))
		wantToken(t, instance, "t3")
		s.wantReplaced(t, "t1 -> t2: expired", "t2 -> t3: rejected")
	})
}

func TestARefreshThatAnotherInstanceIsAtIsSuccess(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		lock := func() {
			if err := s.redis.Set(s.name(t)+":lock", "another"); err != nil {
				t.Fatal(err)
			}
		}
		job := s.source(t)
		lock()
		if got := refresh(t, job, identity.ReasonScheduled); got != (redistokens.Refreshed{}) {
			t.Errorf("got %+v", got)
		}
		s.redis.FlushAll()
		refresh(t, job, identity.ReasonScheduled)
		lock()
		if got := refresh(t, job, identity.ReasonManual); got.Replaced || got.Expires.IsZero() {
			t.Errorf("got %+v", got)
		}
		s.issuer.wantCalls(t, 1)
	})
}

func TestAnIssuerMayGiveOutTheSameTokenAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		token := identity.Token{Value: secrets.NewValue("same"), Expires: time.Now().Add(time.Hour)}
		job := s.sourceOver(t, constant{token})
		refresh(t, job, identity.ReasonScheduled)
		time.Sleep(40 * time.Minute)
		got := refresh(t, job, identity.ReasonScheduled)
		if got.Replaced || time.Until(got.Due) != 10*time.Minute {
			t.Errorf("got %+v", got)
		}
		s.wantReplaced(t)
	})
}

type constant struct{ token identity.Token }

func (c constant) Token(context.Context) (identity.Token, error) { return c.token, nil }

func TestTheScheduledRefreshSaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		given func(*setting)
		want  string
	}{
		"the server": {
			func(s *setting) { s.redis.SetError("LOADING") },
			"the shared token cache could not read a token: the server answered LOADING",
		},
		"the password": {
			func(s *setting) { s.redis.RequireAuth("x"); s.server.Login = as("", "y") },
			"the shared token cache cannot be reached: the server answered WRONGPASS; check the user and its password, or whether the identity of the function may connect",
		},
		"the issuer": {
			func(s *setting) { s.issuer.fail = &identity.Error{Public: "the issuer is down"} },
			"the issuer is down",
		},
		"an issuer that hangs": {
			func(s *setting) { s.issuer.takes = time.Hour },
			"the issuer did not answer: timed out",
		},
		"a token that has ended": {
			func(s *setting) { s.issuer.lifetime = 0 },
			"the issuer gave out a token that has expired or that does not say when it will, which cannot be shared",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *setting) {
				if _, err := s.redis.Dial(); err != nil {
					t.Fatal(err)
				}
				test.given(s)
				got, err := s.source(t).Refresh(t.Context(), identity.ReasonScheduled)
				if err == nil || err.Error() != test.want || got != (redistokens.Refreshed{}) {
					t.Errorf("got %+v and error %v", got, err)
				}
			})
		})
	}
}
