package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/redis"
)

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}

// serve answers nothing, over TLS, with a certificate of the authority for a name.
func (a authority) serve(t *testing.T, name string, ends time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	listen, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listen.Close() })
	go func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	return listen.Addr().String()
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func TestWhoseCertificateAServerMayHave(t *testing.T) {
	t.Parallel()
	ours, other := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		address string
		own     bool
		want    bool
	}{
		"of the server's own authority, for another name":    {ours.serve(t, "node-1", later), true, true},
		"of an authority of many servers, for another name":  {ours.serve(t, "node-1", later), false, false},
		"of another authority":                               {other.serve(t, "node-1", later), true, false},
		"of another authority of that name, for the address": {other.serve(t, "127.0.0.1", later), true, false},
		"of the server's own authority, and no longer valid": {ours.serve(t, "node-1", time.Now().Add(-time.Minute)), true, false},
	} {
		server, err := redis.New(redis.Options{
			URL: "rediss://" + test.address, RootCAs: ours.pool(), Own: test.own, Timeout: 5 * time.Second,
			Login: func(context.Context) (redis.Login, error) { return redis.Login{}, nil },
			Dial: func(ctx context.Context, address string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := server.Connect(t.Context())
		if (err == nil) != test.want {
			t.Errorf("%s: got %v", name, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

func TestWhyAServerIsNotReached(t *testing.T) {
	t.Parallel()
	ours, other := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for name, test := range map[string]struct {
		url     string
		dial    func(context.Context, string) (net.Conn, error)
		timeout time.Duration
		want    string
	}{
		"its certificate is of another authority": {url: "rediss://" + other.serve(t, "127.0.0.1", later), want: ": its certificate is not trusted"},
		"its certificate is for another name":     {url: "rediss://" + ours.serve(t, "node-1", later), want: ": its certificate is not trusted"},
		"nothing listens":                         {url: "redis://" + closed.Addr().String(), want: ": connection refused"},
		"its name is unknown": {url: "rediss://cache.example", want: ": its host name is not found", dial: func(context.Context, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host canary", Name: "cache.example"}}
		}},
		"it hangs up": {url: "rediss://cache.example", want: ": it ends the connection", dial: func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				_, _ = theirs.Read(make([]byte, 64<<10))
				_ = theirs.Close()
			}()
			return ours, nil
		}},
		"it says nothing": {url: "rediss://cache.example", want: ": it does not answer in time", timeout: 10 * time.Millisecond, dial: func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		}},
		"whatever else": {url: "rediss://cache.example", dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("canary") }},
	} {
		if test.timeout == 0 {
			test.timeout = 5 * time.Second
		}
		server, err := redis.New(redis.Options{URL: test.url, RootCAs: ours.pool(), Timeout: test.timeout, Dial: test.dial})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := server.Connect(t.Context())
		if err == nil {
			_, err = conn.Do(t.Context(), "PING")
		}
		if got := redis.Unreached(err); err == nil || got != test.want {
			t.Errorf("%s: got %q of %v", name, got, err)
		}
	}
}

func TestALoginDoesNotPrintItself(t *testing.T) {
	t.Parallel()
	login := redis.Login{User: "gateway", Password: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("login", login))
	if text := fmt.Sprintf("%v %+v %#v %s %q %d", login, login, login, login, &login, login) + log.String(); strings.Contains(text, "hunter2") {
		t.Errorf("it prints %s", text)
	}
}

func TestAnAuthorityOfTheServersOwnHasToBeThere(t *testing.T) {
	t.Parallel()
	if _, err := redis.New(redis.Options{URL: "rediss://10.0.0.3", Own: true}); err == nil {
		t.Error("any certificate would be the server's")
	}
}
