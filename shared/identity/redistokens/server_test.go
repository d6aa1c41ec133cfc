package redistokens_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/secrets"
)

// realServer is a redis-server with TLS and an access control list, as a cloud runs one.
type realServer struct {
	port  string
	roots *x509.CertPool
	ready *redis.Client // the usual client, as its administrator
}

const adminPassword, userPassword = "administrator", "hunter2-hunter2"

// serve starts a redis-server. Elsewhere these tests run where one is installed; in continuous integration it must be.
func serve(t *testing.T) realServer {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("POSTERN_E2E") == "required" {
		t.Fatal("redis-server is not installed")
	} else if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	s := realServer{port: freePort(t), roots: certificate(t, dir)}
	configuration := fmt.Sprintf(`bind 127.0.0.1
port 0
tls-port %s
tls-cert-file server.crt
tls-key-file server.key
tls-ca-cert-file server.crt
tls-auth-clients no
save ""
appendonly no
dir %s
user default on >%s allkeys allcommands
user gateway on >%s ~postern:token:* -@all +getrange +pttl +set +get +del +eval
`, s.port, dir, adminPassword, userPassword)
	command := exec.CommandContext(t.Context(), program, "-")
	command.Dir = dir
	command.Stdin = bytes.NewBufferString(configuration)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("redis-server said:\n%s", output.String())
		}
	})
	address, err := redis.ParseURL("rediss://default:" + adminPassword + "@localhost:" + s.port)
	if err != nil {
		t.Fatal(err)
	}
	address.TLSConfig.RootCAs = s.roots
	s.ready = redis.NewClient(address)
	t.Cleanup(func() { _ = s.ready.Close() })
	for range 500 {
		if err = s.ready.Ping(t.Context()).Err(); err == nil {
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("redis-server does not start: %v", err)
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// certificate writes a certificate for localhost and its key into the directory.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"server.crt": {Type: "CERTIFICATE", Bytes: der}, "server.key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return roots
}

// network is a setting whose server is a real one, and whose clock is that of the machine.
func (s realServer) network() *setting {
	n := &setting{issuer: &issuer{lifetime: time.Hour}}
	n.server.URL, n.server.RootCAs = "rediss://localhost:"+s.port, s.roots
	n.server.Login = as("gateway", userPassword)
	n.Key, n.Identity = fixed(key), whoseName
	// What is slow here is the machine that the tests share.
	n.server.Timeout = 5 * time.Second
	n.dial = func(ctx context.Context, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	return n
}

func TestARealServerOverTLSWithTheLeastRights(t *testing.T) {
	t.Parallel()
	server := serve(t)
	t.Run("instances that start together fetch once", func(t *testing.T) {
		n := server.network()
		n.Identity = []string{"cold"}
		n.issuer.takes = 50 * time.Millisecond
		var wait sync.WaitGroup
		for range 8 {
			instance := n.instance(t)
			wait.Go(func() { wantToken(t, instance, "t1") })
		}
		wait.Wait()
		n.issuer.wantCalls(t, 1)
		n.wantFaults(t)
	})
	t.Run("the usual client finds one name, which ends by itself, and no token", func(t *testing.T) {
		n := server.network()
		wantToken(t, n.instance(t), "t1")
		name := n.name(t)
		keys, err := server.ready.Keys(t.Context(), "*"+name[len("postern:token:v1:"):]+"*").Result()
		if err != nil || !cmp.Equal(keys, []string{name}) {
			t.Errorf("the keys are %q, error %v", keys, err)
		}
		left, err := server.ready.TTL(t.Context(), name).Result()
		if err != nil || left <= 59*time.Minute || left > time.Hour-30*time.Second {
			t.Errorf("it ends in %v, error %v", left, err)
		}
		value, err := server.ready.Get(t.Context(), name).Bytes()
		if err != nil || value[0] != 1 || bytes.Contains(value, []byte("t1")) {
			t.Errorf("stored is %q, error %v", value, err)
		}
	})
	t.Run("a rejected token is replaced, and by a scheduled refresh too", func(t *testing.T) {
		n := server.network()
		n.Identity = []string{"replaced"}
		instance := n.instance(t)
		wantToken(t, instance, "t1")
		instance.Rejected(secrets.NewValue("t1"))
		wantToken(t, instance, "t2")
		if got := refresh(t, n.source(t), identity.ReasonManual); !got.Replaced {
			t.Errorf("got %+v", got)
		}
		wantToken(t, n.instance(t), "t3")
		n.wantReplaced(t, "t1 -> t2: rejected", "t2 -> t3: manual")
		n.wantFaults(t)
	})
	t.Run("an entry of another type is passed over and replaced", func(t *testing.T) {
		n := server.network()
		n.Identity = []string{"type"}
		if err := server.ready.LPush(t.Context(), n.name(t), "x").Err(); err != nil {
			t.Fatal(err)
		}
		wantToken(t, n.instance(t), "t1")
		wantToken(t, n.instance(t), "t1")
	})
	t.Run("a lock of the usual client is respected", func(t *testing.T) {
		n := server.network()
		n.Identity = []string{"locked"}
		if err := server.ready.SetNX(t.Context(), n.name(t)+":lock", "other", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		wantToken(t, n.instance(t), "t1")
		if count, err := server.ready.Exists(t.Context(), n.name(t)).Result(); err != nil || count != 0 {
			t.Errorf("stored: %d, error %v", count, err)
		}
	})
	for name, test := range map[string]struct {
		change func(*setting)
		want   string
	}{
		"a wrong password": {
			func(n *setting) { n.server.Login = as("gateway", "wrong") },
			unreachable + ": the server answered WRONGPASS; check the user and its password, or whether the identity of the function may connect (5s)",
		},
		"no password": {
			func(n *setting) { n.server.Login = nil },
			unread + ": the server answered NOAUTH; it wants a password (5s)",
		},
		"a certificate that nobody vouches for": {
			func(n *setting) { n.server.RootCAs = x509.NewCertPool() },
			unreachable + ": certificate not trusted (5s)",
		},
		"a certificate for another name": {
			func(n *setting) { n.server.URL = "rediss://127.0.0.1:" + server.port },
			unreachable + ": certificate not trusted (5s)",
		},
		"a database that does not exist": {
			func(n *setting) {
				n.server.URL += "/99"
				n.server.Login = as("", adminPassword)
			},
			unreachable + ": the server answered ERR (5s)",
		},
	} {
		t.Run(name+" is a fault and no error", func(t *testing.T) {
			n := server.network()
			n.Identity = []string{name}
			test.change(n)
			wantToken(t, n.instance(t), "t1")
			n.wantFaults(t, test.want)
		})
	}
	t.Run("a server that ends is a fault and no error", func(t *testing.T) {
		n := server.network()
		instance := n.instance(t)
		_ = server.ready.ShutdownNoSave(t.Context()).Err()
		wantToken(t, instance, "t1")
		n.wantFaults(t, unreachable+": connection refused (5s)")
	})
}

// TestAClustersAnswerIsFollowed plays a cluster of two: the first node sends each key to the second.
func TestAClustersAnswerIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T, s *setting) {
		var dialled []string
		s.dial = func(_ context.Context, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			if address != "localhost:6379" {
				return s.redis.Dial()
			}
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				if _, err := theirs.Read(make([]byte, 4096)); err == nil {
					_, _ = theirs.Write([]byte("-MOVED 7638 127.0.0.1:7001\r\n"))
				}
			}()
			return ours, nil
		}
		wantToken(t, s.instance(t), "t1")
		wantToken(t, s.instance(t), "t1")
		s.wantFaults(t)
		if diff := cmp.Diff([]string{"localhost:6379", "127.0.0.1:7001", "localhost:6379", "127.0.0.1:7001"}, dialled); diff != "" {
			t.Error(diff)
		}
	})
}

var _ identity.TokenSource = (*redistokens.Source)(nil)
