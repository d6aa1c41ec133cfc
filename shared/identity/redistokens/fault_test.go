package redistokens_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/redis"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	unreachable = "the shared token cache cannot be reached"
	loginless   = "nobody can log in to the shared token cache"
	unread      = "the shared token cache could not read a token"
	notOurs     = unread + ": what is stored under the token's name is not a token that was sealed under this key for this name"
	resting     = " (5s)"
)

// on answers one command of the server in a way of its own.
func on(s *setting, command string, answer func(peer *server.Peer)) {
	if _, err := s.redis.Dial(); err != nil {
		panic(err)
	}
	s.redis.Server().SetPreHook(func(peer *server.Peer, got string, _ ...string) bool {
		if got == command {
			answer(peer)
		}
		return got == command
	})
}

// says makes the server answer each command with the same bytes.
func says(s *setting, reply string) {
	s.dial = func(context.Context, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			buffer := make([]byte, 4096)
			for {
				if _, err := theirs.Read(buffer); err != nil {
					return
				}
				if _, err := io.WriteString(theirs, reply); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}

// slow is a connection over which everything takes almost too long.
type slow struct{ net.Conn }

func (s slow) Write(p []byte) (int, error) {
	time.Sleep(190 * time.Millisecond)
	return s.Conn.Write(p)
}

func stored(t *testing.T, s *setting, value string) {
	t.Helper()
	if err := s.redis.Set(s.name(t), value); err != nil {
		t.Fatal(err)
	}
	s.redis.SetTTL(s.name(t), time.Hour)
}

// faults are what can be wrong with the server. In each the token comes from the issuer, which takes 300 ms.
var faults = map[string]struct {
	given func(t *testing.T, s *setting)
	takes time.Duration // 300 ms at the issuer left out
	want  []string
	// later is what happens when the next instance asks: whether it gets its token from the server.
	later bool
}{
	"the server is down": {
		given: func(_ *testing.T, s *setting) {
			s.dial = func(context.Context, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("to 10.0.0.1:6379")}
			}
		},
		want: []string{unreachable + resting},
	},
	"the server is not there at all": {
		given: func(_ *testing.T, s *setting) {
			s.dial = func(ctx context.Context, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		},
		takes: 400 * time.Millisecond,
		want:  []string{unreachable + ": timed out" + resting},
	},
	"the server never answers": {
		given: func(_ *testing.T, s *setting) {
			s.dial = func(context.Context, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				return ours, nil
			}
		},
		takes: 200 * time.Millisecond,
		want:  []string{unread + ": timed out" + resting},
	},
	"the server takes nothing": {
		given: func(_ *testing.T, s *setting) {
			s.dial = func(context.Context, string) (net.Conn, error) {
				ours, _ := net.Pipe()
				return ours, nil
			}
		},
		takes: 200 * time.Millisecond,
		want:  []string{unread + ": timed out" + resting},
	},
	"the server is slow at each step": {
		given: func(_ *testing.T, s *setting) {
			s.dial = func(context.Context, string) (net.Conn, error) {
				conn, err := s.redis.Dial()
				return slow{conn}, err
			}
		},
		// To read, to lock, to read again and to store.
		takes: 4 * 190 * time.Millisecond,
		later: true,
	},
	"the server loses the connection": {
		given: func(_ *testing.T, s *setting) {
			on(s, "GETRANGE", func(peer *server.Peer) { peer.Close() })
		},
		want: []string{unread + ": connection closed" + resting},
	},
	"the server is not Redis": {
		given: func(_ *testing.T, s *setting) { says(s, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		want:  []string{unread + resting},
	},
	"the server sends a line without end": {
		given: func(_ *testing.T, s *setting) { says(s, "+"+strings.Repeat("x", 1<<20)) },
		want:  []string{unread + resting},
	},
	"the server announces an immense value": {
		given: func(_ *testing.T, s *setting) { says(s, "$536870912\r\n") },
		want:  []string{unread + resting},
	},
	"the server wants a password": {
		given: func(_ *testing.T, s *setting) { s.redis.RequireAuth("secret") },
		want:  []string{unread + ": the server answered NOAUTH; it wants a password" + resting},
	},
	"the password is wrong": {
		given: func(_ *testing.T, s *setting) {
			s.redis.RequireUserAuth("gateway", "secret")
			s.server.Login = as("gateway", "hunter2")
		},
		want: []string{unreachable + ": the server answered WRONGPASS; check the user and its password, or whether the identity of the function may connect" + resting},
	},
	"the password cannot be read": {
		given: func(_ *testing.T, s *setting) {
			s.server.Login = func(context.Context) (redis.Login, error) {
				return redis.Login{}, &secrets.Error{Ref: secrets.Ref{Store: "env", Name: "REDIS"}, Reason: "gone"}
			}
		},
		want: []string{loginless + `: read secret "env://REDIS": gone` + resting},
	},
	"nobody can log in": {
		given: func(_ *testing.T, s *setting) {
			s.server.Login = func(context.Context) (redis.Login, error) {
				return redis.Login{}, errors.New("the function has no identity")
			}
		},
		want: []string{loginless + ": the function has no identity" + resting},
	},
	"the key cannot be read": {
		given: func(_ *testing.T, s *setting) {
			s.Key = func(context.Context) (secrets.Value, error) { return secrets.Value{}, errors.New("secret") }
		},
		want: []string{"the shared token cache could not read the key" + resting},
	},
	"the secret store hangs": {
		given: func(_ *testing.T, s *setting) {
			s.Key = func(ctx context.Context) (secrets.Value, error) {
				<-ctx.Done()
				return secrets.Value{}, ctx.Err()
			}
		},
		takes: time.Second,
		want:  []string{"the shared token cache could not read the key: timed out" + resting},
	},
	"the key is not one": {
		given: func(_ *testing.T, s *setting) { s.Key = fixed(secrets.NewValue("hunter2")) },
		want: []string{"the shared token cache could not read the key: the key of the shared token cache is not 32 bytes in base64 or " +
			"hexadecimal; make one with: openssl rand -base64 32" + resting},
	},
	"the server is loading": {
		given: func(_ *testing.T, s *setting) { s.redis.SetError("LOADING Redis is loading the dataset in memory") },
		want:  []string{unread + ": the server answered LOADING" + resting},
	},
	"the server quotes what it was sent": {
		given: func(_ *testing.T, s *setting) { s.redis.SetError("unknown command 'GETRANGE' with args 'secret'") },
		want:  []string{unread + ": the server answered ERR" + resting},
	},
	"the user may not write": {
		given: func(_ *testing.T, s *setting) {
			on(s, "SET", func(peer *server.Peer) { peer.WriteError("NOPERM this user has no permissions") })
		},
		want: []string{"the shared token cache could not lock a token: the server answered NOPERM; its user needs the commands GETRANGE, " +
			"PTTL, SET, GET, DEL and EVAL on the keys postern:token:v1:*" + resting},
	},
	"the server is a replica": {
		given: func(_ *testing.T, s *setting) {
			on(s, "SET", func(peer *server.Peer) { peer.WriteError("READONLY You can't write against a read only replica.") })
		},
		want: []string{"the shared token cache could not lock a token: the server answered READONLY; it is a replica, so use the address " +
			"of the primary" + resting},
	},
	"the server is full": {
		given: func(_ *testing.T, s *setting) {
			on(s, "EVAL", func(peer *server.Peer) { peer.WriteError("OOM command not allowed when used memory > 'maxmemory'.") })
		},
		want: []string{"the shared token cache could not store a token: the server answered OOM; its memory is full" + resting},
	},
	"the entry is garbage": {
		given: func(t *testing.T, s *setting) { stored(t, s, "garbage") },
		want:  []string{notOurs, notOurs},
		later: true,
	},
	"the entry is empty": {
		given: func(t *testing.T, s *setting) { stored(t, s, "") },
		later: true,
	},
	"the entry is immense": {
		given: func(t *testing.T, s *setting) { stored(t, s, "\x01"+strings.Repeat("x", 10<<20)) },
		want:  []string{notOurs, notOurs},
		later: true,
	},
	"the entry was sealed under another key": {
		given: func(t *testing.T, s *setting) { move(t, s, fixed(otherKey), s.Identity) },
		want:  []string{notOurs, notOurs},
		later: true,
	},
	"the entry was moved here from another identity": {
		given: func(t *testing.T, s *setting) { move(t, s, s.Key, []string{"another"}) },
		want:  []string{notOurs, notOurs},
		later: true,
	},
	"the entry has lost its end": {
		given: func(t *testing.T, s *setting) {
			wantToken(t, s.instance(t), "t1")
			value, err := s.redis.Get(s.name(t))
			if err != nil {
				t.Fatal(err)
			}
			s.redis.Del(s.name(t))
			if err := s.redis.Set(s.name(t), value); err != nil {
				t.Fatal(err)
			}
			s.issuer.set(func(i *issuer) { i.calls = 0 })
		},
		want:  []string{unread + ": what is stored under the token's name has no end", unread + ": what is stored under the token's name has no end"},
		later: true,
	},
	"the entry is a list": {
		given: func(t *testing.T, s *setting) {
			if _, err := s.redis.Push(s.name(t), "x"); err != nil {
				t.Fatal(err)
			}
		},
		want: []string{unread + ": what is stored under the token's name is not a text",
			unread + ": what is stored under the token's name is not a text"},
		later: true,
	},
	"the lock is a list": {
		given: func(t *testing.T, s *setting) {
			if _, err := s.redis.Push(s.name(t)+":lock", "x"); err != nil {
				t.Fatal(err)
			}
		},
		takes: time.Second,
	},
	"the key moved to a node that cannot be reached without TLS": {
		given: func(_ *testing.T, s *setting) { s.redis.SetError("MOVED 1234 10.0.0.1:6379") },
		want:  []string{unread + ": the server answered MOVED" + resting},
	},
}

// move puts what another key or identity shares under this one's name.
func move(t *testing.T, s *setting, key func(context.Context) (secrets.Value, error), whose []string) {
	t.Helper()
	other := &setting{redis: s.redis, server: s.server, issuer: s.issuer, Options: s.Options, SourceOptions: s.SourceOptions}
	other.Key, other.Identity = key, whose
	wantToken(t, other.instance(t), "t1")
	names := s.redis.Keys()
	if len(names) != 1 {
		t.Fatalf("the keys are %q", names)
	}
	value, err := s.redis.Get(names[0])
	if err != nil {
		t.Fatal(err)
	}
	s.redis.FlushAll()
	stored(t, s, value)
	s.issuer.set(func(i *issuer) { i.calls = 0 })
}

func TestWhateverIsWrongWithTheServerTheTokenIsFetched(t *testing.T) {
	t.Parallel()
	for name, test := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *setting) {
				test.given(t, s)
				start := time.Now()
				wantToken(t, s.instance(t), "t1")
				if took := time.Since(start) - 300*time.Millisecond; took != test.takes {
					t.Errorf("it took %v at the server, want %v", took, test.takes)
				}
				s.wantFaults(t, test.want...)
				want := "t2"
				if test.later {
					want = "t1"
				}
				wantToken(t, s.instance(t), want)
				synctest.Wait()
			})
		})
	}
}

func TestAServerThatFailsIsLeftAloneForLongerAndLonger(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		dials := 0
		s.dial = func(context.Context, string) (net.Conn, error) {
			dials++
			return nil, io.EOF
		}
		s.issuer.takes = 0
		source := s.source(t)
		for range 300 {
			if _, err := source.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		// At 0, 5, 15, 35, 75, 135, 195 and 255 s.
		if dials != 8 {
			t.Errorf("it was dialled %d times in 5 minutes", dials)
		}
	})
}

func TestAServerThatIsBackIsUsedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.redis.SetError("LOADING")
		source := s.source(t)
		wantToken(t, source, "t1")
		s.redis.SetError("")
		wantToken(t, source, "t2")
		time.Sleep(5 * time.Second)
		wantToken(t, source, "t3")
		wantToken(t, source, "t3")
		wantToken(t, s.instance(t), "t3")
		// What happened before does not count against it.
		s.redis.SetError("LOADING")
		wantToken(t, source, "t4")
		loading := unread + ": the server answered LOADING" + resting
		s.wantFaults(t, loading, loading)
	})
}

func TestARequestThatEndsSaysNothingAboutTheServer(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.dial = func(context.Context, string) (net.Conn, error) {
			ours, _ := net.Pipe()
			return ours, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		if _, err := s.source(t).Token(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != 50*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		s.wantFaults(t)
	})
}

func TestTheServerHasOnlyAShareOfAShortDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		if err := s.redis.Set(s.name(t)+":lock", "dead"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := s.source(t).Token(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 700*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAPanicOfWhoListensIsNotTheRequests(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.Options.OnFault = func(context.Context, redistokens.Fault) { panic("fault") }
		s.redis.SetError("LOADING")
		s.Options.Server = s.reached(t)
		cache, err := redistokens.New(s.Options)
		if err != nil {
			t.Fatal(err)
		}
		source := cache.Source(s.issuer, redistokens.SourceOptions{
			OnReplace: func(context.Context, identity.Replacement[identity.Token]) { panic("replacement") },
		})
		wantToken(t, source, "t1")
		wantToken(t, source, "t2")
	})
}

func TestTheSecondTokenOfAnInstanceIsAReplacementWithoutTheServerToo(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		s.redis.SetError("LOADING")
		instance := s.instance(t)
		wantToken(t, instance, "t1")
		instance.Rejected(secrets.NewValue("t1"))
		wantToken(t, instance, "t2")
		s.wantReplaced(t, "t1 -> t2: rejected")
	})
}
