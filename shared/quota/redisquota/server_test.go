package redisquota_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/quota"
	"github.com/postern-ai/postern/shared/quota/redisquota"
	"github.com/postern-ai/postern/shared/redis"
)

// TestARealServerCountsWithTheRightsThatAreSaid runs the scripts in a redis-server, as a user who may do what the documentation says and no
// more. It runs where one is installed.
func TestARealServerCountsWithTheRightsThatAreSaid(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("POSTERN_E2E") == "required" {
		t.Fatal("redis-server is not installed")
	} else if err != nil {
		t.Skip("redis-server is not installed")
	}
	address := serve(t, program)
	server, err := redis.New(redis.Options{
		URL: "redis://" + address, Timeout: patient,
		Login: func(context.Context) (redis.Login, error) {
			return redis.Login{User: "gateway", Password: "hunter2-hunter2"}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var faults atomic.Value
	instance := func() *redisquota.Store {
		return redisquota.New(redisquota.Options{Server: server, Patience: patient, OnFault: func(_ context.Context, f redisquota.Fault) { faults.Store(f.Err.Error()) }})
	}
	use := func(id string) quota.Use {
		return quota.Use{
			Owner: "o", ID: id, Windows: []quota.Window{{Key: "tokens", Limit: 100, Amount: 10}}, Leases: []quota.Lease{{Key: "streams", Limit: 4, For: time.Minute}},
		}
	}
	var granted atomic.Int64
	var all sync.WaitGroup
	one, two := instance(), instance()
	for i := range 20 {
		all.Go(func() {
			if _, ok, err := []*redisquota.Store{one, two}[i%2].Take(t.Context(), use(fmt.Sprint(i))); err != nil {
				t.Error(err)
			} else if ok {
				granted.Add(1)
			}
		})
	}
	all.Wait()
	if n := granted.Load(); n != 4 {
		t.Errorf("%d leases were granted, of exactly 4", n)
	}
	for i := range 20 {
		back := use(fmt.Sprint(i))
		back.Windows[0].Amount = -1
		if err := two.Give(t.Context(), back); err != nil {
			t.Error(err)
		}
	}
	// Four uses of 10, and twenty corrections of one.
	states, ok, err := one.Take(t.Context(), use("last"))
	if err != nil || !ok || states.Windows[0].Used != 4*10-20+10 || states.Leases[0].Used != 1 || states.Windows[0].Reset <= 0 || states.Windows[0].Reset > time.Minute {
		t.Errorf("got %+v, %v, %v", states, ok, err)
	}
	if !one.First(t.Context(), "proof", time.Minute) || two.First(t.Context(), "proof", time.Minute) {
		t.Error("a proof counts twice, or never")
	}
	if text := faults.Load(); text != nil {
		t.Error(text)
	}
}

// serve starts a redis-server for this machine and returns where it listens.
func serve(t *testing.T, program string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(address)
	command := exec.CommandContext(t.Context(), program, "-")
	command.Dir = t.TempDir()
	command.Stdin = strings.NewReader(fmt.Sprintf(`bind 127.0.0.1
port %s
save ""
appendonly no
user default off
user gateway on >hunter2-hunter2 ~postern:limit:* ~postern:used:* -@all +eval +time +set +get +del +incrby +pttl +pexpire +zadd +zcard +zrem +zremrangebyscore
`, port))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for range 100 {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the redis-server does not start")
	return ""
}
