package redisquota_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/postern-ai/postern/shared/quota"
	"github.com/postern-ai/postern/shared/quota/redisquota"
	"github.com/postern-ai/postern/shared/redis"
)

func TestWhatIsUsedOnceIsUsedOnceByAllInstances(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var faults []string
	one, two := store(t, m, &faults), store(t, m, &faults)
	for _, use := range []struct {
		name  string
		store *redisquota.Store
		what  string
		want  bool
	}{
		{"a first use", one, "a", true},
		{"a second one by the same instance", one, "a", false},
		{"a second one by another instance", two, "a", false},
		{"the first use of something else", two, "b", true},
	} {
		if got := use.store.First(t.Context(), use.what, 2*time.Minute); got != use.want {
			t.Errorf("%s: got %v", use.name, got)
		}
	}
	m.FastForward(2*time.Minute + time.Second)
	if !one.First(t.Context(), "a", time.Minute) {
		t.Error("it is remembered for ever")
	}
	for _, key := range m.Keys() {
		if !strings.HasPrefix(key, "postern:used:v1:") || len(key) != len("postern:used:v1:")+32 {
			t.Errorf("the server knows %q", key)
		}
	}
	if len(faults) > 0 {
		t.Error(faults)
	}
}

func TestWithoutTheServerAUseIsTakenForTheFirst(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var faults []string
	s := store(t, m, &faults)
	m.SetError("LOADING")
	for range 2 {
		if !s.First(t.Context(), "a", time.Minute) {
			t.Error("somebody is turned away for the server's sake")
		}
	}
	if len(faults) != 1 || !strings.Contains(faults[0], "LOADING") {
		t.Errorf("got the faults %q", faults)
	}
}

func TestALoginThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	server, err := redis.New(redis.Options{URL: "rediss://cache.example", Login: func(context.Context) (redis.Login, error) {
		return redis.Login{}, errors.New("the function has no identity")
	}})
	if err != nil {
		t.Fatal(err)
	}
	var fault string
	s := redisquota.New(redisquota.Options{Server: server, OnFault: func(_ context.Context, f redisquota.Fault) { fault = f.Err.Error() }})
	s.First(t.Context(), "a", time.Minute)
	if want := "nobody can log in to the Redis server that counts for all instances: the function has no identity"; fault != want {
		t.Errorf("got %q", fault)
	}
}

// node passes a server's conversations on. answer may say something in the server's place, and lose says which replies do not arrive.
func node(t *testing.T, server string, answer func(command string) string, lose func(command string) bool) string {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listen.Close() })
	converse := func(client net.Conn) {
		defer client.Close()
		behind, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer behind.Close()
		said, reply := make([]byte, 8<<10), make([]byte, 8<<10)
		for {
			n, err := client.Read(said)
			if err != nil {
				return
			}
			command := string(said[:n])
			if text := answer(command); text != "" {
				_, _ = client.Write([]byte(text))
				continue
			}
			_, _ = behind.Write(said[:n])
			if n, err = behind.Read(reply); err != nil || lose(command) {
				return
			}
			_, _ = client.Write(bytes.Clone(reply[:n]))
		}
	}
	go func() {
		for {
			client, err := listen.Accept()
			if err != nil {
				return
			}
			go converse(client)
		}
	}()
	return listen.Addr().String()
}

func storeAt(t *testing.T, address string, faults *atomic.Int64) *redisquota.Store {
	t.Helper()
	server, err := redis.New(redis.Options{URL: "redis://" + address, Timeout: patient})
	if err != nil {
		t.Fatal(err)
	}
	return redisquota.New(redisquota.Options{Server: server, Patience: patient, OnFault: func(context.Context, redisquota.Fault) { faults.Add(1) }})
}

// TestAUseWhoseReplyWasLostIsStillTheFirst loses the reply on a kept connection, after which the command is sent again.
func TestAUseWhoseReplyWasLostIsStillTheFirst(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var faults, sets atomic.Int64
	s := storeAt(t, node(t, m.Addr(), func(string) string { return "" }, func(command string) bool {
		return strings.Contains(command, "SET") && sets.Add(1) == 2
	}), &faults)
	for _, what := range []string{"a", "b"} { // b is noted on the kept connection, and its reply is lost
		if !s.First(t.Context(), what, time.Minute) {
			t.Errorf("the first use of %s is taken for a second one", what)
		}
	}
	if s.First(t.Context(), "b", time.Minute) {
		t.Error("the second use is taken for a first one")
	}
	if sets.Load() != 4 || faults.Load() != 0 {
		t.Errorf("%d commands, %d faults", sets.Load(), faults.Load())
	}
}

// TestAnExchangeWhoseReplyWasLostIsCountedOnce loses the reply to a command on a kept connection, after which it is sent again.
func TestAnExchangeWhoseReplyWasLostIsCountedOnce(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]int64{"to the second use": 2, "to the settlement of the second use": 3} {
		m := miniredis.RunT(t)
		var faults, scripts atomic.Int64
		s := storeAt(t, node(t, m.Addr(), func(string) string { return "" }, func(command string) bool {
			return strings.Contains(command, "EVAL") && scripts.Add(1) == lost
		}), &faults)
		use := func(id string, amount int64) quota.Use {
			return quota.Use{
				Owner: "o", ID: id, Windows: []quota.Window{{Key: "tokens", Limit: 100, Amount: amount}}, Leases: []quota.Lease{{Key: "streams", Limit: 2, For: time.Hour}},
			}
		}
		for _, id := range []string{"a", "b"} {
			if _, ok, err := s.Take(t.Context(), use(id, 40)); !ok || err != nil {
				t.Errorf("%s: %s: got %v, error %v", name, id, ok, err)
			}
		}
		if err := s.Give(t.Context(), use("b", -30)); err != nil {
			t.Error(err)
		}
		states, ok, err := s.Take(t.Context(), use("c", 1))
		if !ok || err != nil || states.Windows[0].Used != 40+40-30+1 || states.Leases[0].Used != 2 {
			t.Errorf("%s: got %+v, %v, error %v", name, states, ok, err)
		}
		if scripts.Load() != 5 || faults.Load() != 0 {
			t.Errorf("%s: %d commands, %d faults", name, scripts.Load(), faults.Load())
		}
	}
}

// TestALeaseThatTheServerHasAllTheSameIsGivenBack loses each reply to a use, which is then counted by the instance alone.
func TestALeaseThatTheServerHasAllTheSameIsGivenBack(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var faults, scripts atomic.Int64
	lossy := storeAt(t, node(t, m.Addr(), func(string) string { return "" }, func(command string) bool {
		return strings.Contains(command, "EVAL") && scripts.Add(1) == 1
	}), &faults)
	use := quota.Use{Owner: "o", ID: "a", Leases: []quota.Lease{{Key: "s", Limit: 1, For: time.Hour}}}
	if _, ok, err := lossy.Take(t.Context(), use); !ok || err != nil || faults.Load() != 1 {
		t.Fatalf("got %v, error %v, %d faults", ok, err, faults.Load())
	}
	redisquota.Rested(lossy)
	if err := lossy.Give(t.Context(), use); err != nil {
		t.Error(err)
	}
	use.ID = "b"
	if _, ok, err := lossy.Take(t.Context(), use); !ok || err != nil || faults.Load() != 1 {
		t.Errorf("the next one: got %v, error %v, %d faults", ok, err, faults.Load())
	}
}

// TestACallerThatGoesAwayWhileItIsCountedHoldsNoLease goes away when the server has counted it.
func TestACallerThatGoesAwayWhileItIsCountedHoldsNoLease(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var faults atomic.Int64
	s := storeAt(t, node(t, m.Addr(), func(string) string { return "" }, func(command string) bool {
		if strings.Contains(command, "EVAL") && ctx.Err() == nil {
			cancel()
			return true
		}
		return false
	}), &faults)
	use := quota.Use{Owner: "o", ID: "a", Leases: []quota.Lease{{Key: "s", Limit: 1, For: time.Hour}}}
	if _, _, err := s.Take(ctx, use); !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v", err)
	}
	use.ID = "b"
	if _, ok, err := s.Take(t.Context(), use); !ok || err != nil || faults.Load() != 0 {
		t.Errorf("the next one: got %v, error %v, %d faults", ok, err, faults.Load())
	}
}

// TestAKeptConnectionThatIsRefusedIsReplaced has a server refuse what comes over connections that have been used before.
func TestAKeptConnectionThatIsRefusedIsReplaced(t *testing.T) {
	t.Parallel()
	for _, refusal := range []string{"NOAUTH Authentication required.", "READONLY You can't write against a read only replica.", "ERR the token has expired"} {
		m := miniredis.RunT(t)
		var faults, commands atomic.Int64
		s := storeAt(t, node(t, m.Addr(), func(string) string {
			if commands.Add(1) == 2 {
				return "-" + refusal + "\r\n"
			}
			return ""
		}, func(string) bool { return false }), &faults)
		for _, what := range []string{"a", "b"} {
			if !s.First(t.Context(), what, time.Minute) {
				t.Errorf("%s: %s is not the first", refusal, what)
			}
		}
		if s.First(t.Context(), "b", time.Minute) || faults.Load() != 0 {
			t.Errorf("%s: the server is left alone, with %d faults", refusal, faults.Load())
		}
	}
}

// TestKeptConnectionsAreNotOfOneNodeAlone has two nodes of a cluster, each of which has the keys of one kind.
func TestKeptConnectionsAreNotOfOneNodeAlone(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	var faults atomic.Int64
	var first, second string
	never := func(string) bool { return false }
	elsewhere := func(key string, node *string) func(string) string {
		return func(command string) string {
			if strings.Contains(command, key) {
				return "-MOVED 1 " + *node + "\r\n"
			}
			return ""
		}
	}
	first = node(t, m.Addr(), elsewhere("postern:used", &second), never)
	second = node(t, m.Addr(), elsewhere("postern:limit", &first), never)
	s := storeAt(t, first, &faults)
	for i := range 6 {
		if got := s.First(t.Context(), "a", time.Minute); got != (i == 0) {
			t.Errorf("use %d: got %v", i, got)
		}
		use := quota.Use{Owner: "o", ID: "x", Windows: []quota.Window{{Key: "r", Limit: 4, Amount: 1}}}
		if _, ok, err := s.Take(t.Context(), use); ok != (i < 4) || err != nil {
			t.Errorf("request %d: got %v, error %v", i, ok, err)
		}
	}
	if faults.Load() != 0 {
		t.Errorf("%d faults", faults.Load())
	}
}
