package audittest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/audit"
)

// Key is a key at a stand-in of its service, and a signer by it. What the Service breaks are all calls, and what it denies is to read the public part.
type Key struct {
	Sign audit.Signer
	// ID is what signatures say of the key.
	ID string
	// Put changes the key, or whether it may be used.
	Put     func(private crypto.Signer, disabled bool)
	Service *Service
	// BreakSign makes the following calls for a signature fail.
	BreakSign func(broken Broken)
	// DenySign takes the right to sign away, and SignPermission is what an error has to say then.
	DenySign       func()
	SignPermission string
}

// RunSigner is what every signer has to pass. Each test has a new key with the curve P-256, and a clock of its own.
func RunSigner(t *testing.T, connect func(t *testing.T) Key) {
	ec, other, rs := ellipticKey(t), ellipticKey(t), rsaKey(t, 2048)
	for name, test := range map[string]func(*testing.T, Key){
		"what an elliptic key has signed is verified by its public key": func(t *testing.T, k Key) { signs(t, k, ec, audit.ES256) },
		"what an RSA key has signed is verified by its public key":      func(t *testing.T, k Key) { k.Put(rs, false); signs(t, k, rs, audit.RS256) },
		"a longer RSA key signs too": func(t *testing.T, k Key) {
			long := rsaKey(t, 3072)
			k.Put(long, false)
			signs(t, k, long, audit.RS256)
		},
		"the public part is read once": func(t *testing.T, k Key) {
			for range 3 {
				signs(t, k, ec, audit.ES256)
			}
			if calls := k.Service.Calls(); calls != 4 {
				t.Errorf("%d calls", calls)
			}
		},
		"a signature by another key than was shown is not given out": func(t *testing.T, k Key) {
			signs(t, k, ec, audit.ES256)
			k.Put(other, false)
			signs(t, k, other, audit.ES256)
		},
		"what is no digest is not signed": func(t *testing.T, k Key) {
			if _, err := k.Sign(t.Context(), make([]byte, 20)); err == nil || k.Service.Calls() != 0 {
				t.Errorf("after %d calls: %v", k.Service.Calls(), err)
			}
		},
		"another curve": func(t *testing.T, k Key) {
			private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			k.Put(private, false)
			refuses(t, k, "")
		},
		"a key that is disabled": func(t *testing.T, k Key) {
			signs(t, k, ec, audit.ES256)
			k.Put(ec, true)
			refuses(t, k, "disabled")
			k.Put(ec, false)
			signs(t, k, ec, audit.ES256)
		},
		"throttled":            func(t *testing.T, k Key) { slow(t, k, ec) },
		"away":                 func(t *testing.T, k Key) { gone(t, k) },
		"something in between": func(t *testing.T, k Key) { strangers(t, k, ec) },
		"a credential that is no longer good is replaced": func(t *testing.T, k Key) {
			signs(t, k, ec, audit.ES256)
			k.Service.Credentials.set(func(c *Credentials) { c.expired = true })
			signs(t, k, ec, audit.ES256)
			if calls := k.Service.Calls(); calls != 4 {
				t.Errorf("%d calls", calls)
			}
		},
		"a credential that is never good": func(t *testing.T, k Key) {
			k.Service.Credentials.set(func(c *Credentials) { c.never = true })
			refuses(t, k, "does not accept this function's")
			if calls := k.Service.Calls(); calls != 2 {
				t.Errorf("%d calls", calls)
			}
		},
		"no credential": func(t *testing.T, k Key) {
			cause := errors.New(Canary)
			k.Service.Credentials.set(func(c *Credentials) { c.err = cause })
			if err := refuses(t, k, "no credential of its own"); !errors.Is(err, cause) {
				t.Errorf("got %v", err)
			}
		},
		"a missing right to read the public part is named": func(t *testing.T, k Key) {
			k.Service.Deny()
			refuses(t, k, k.Service.Permission)
			if calls := k.Service.Calls(); calls != 1 {
				t.Errorf("%d calls", calls)
			}
		},
		"a missing right to sign is named": func(t *testing.T, k Key) {
			k.DenySign()
			refuses(t, k, k.SignPermission)
			if calls := k.Service.Calls(); calls != 2 {
				t.Errorf("%d calls", calls)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := connect(t)
				k.Put(ec, false)
				test(t, k)
			})
		})
	}
}

func ellipticKey(t *testing.T) crypto.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// signs has an event signed and verified as anybody does who has the public key alone.
func signs(t *testing.T, k Key, private crypto.Signer, algorithm audit.Algorithm) {
	t.Helper()
	event, _, err := audit.Link(event(t, 1), audit.Head{})
	if err != nil {
		t.Fatal(err)
	}
	signed, changed, err := audit.SignAll(t.Context(), []audit.Event{event}, k.Sign)
	if err != nil || !changed {
		t.Errorf("changed %v, error %v", changed, err)
		return
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := audit.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	report := audit.Verifier{Keys: keys}.Verify(func(yield func(audit.Recorded) bool) { yield(audit.Recorded{Line: 1, Event: signed[0]}) })
	if len(report.Findings) > 0 || report.Linked != 1 {
		t.Errorf("got %+v", report)
	}
	for _, want := range []string{`"key_id":"` + k.ID + `"`, `"alg":"` + string(algorithm) + `"`} {
		if !strings.Contains(string(signed[0].Data), want) {
			t.Errorf("%s is not in %s", want, signed[0].Data)
		}
	}
	if again, changed, err := audit.SignAll(t.Context(), signed, k.Sign); err != nil || changed || string(again[0].Data) != string(signed[0].Data) {
		t.Errorf("it was signed again: %s, error %v", again[0].Data, err)
	}
}

func refuses(t *testing.T, k Key, want string) error {
	t.Helper()
	_, err := k.Sign(t.Context(), make([]byte, 32))
	wantError(t, err)
	if _, ok := errors.AsType[*audit.SignError](err); !ok || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	return err
}

func slow(t *testing.T, k Key, private crypto.Signer) {
	broken := k.Service.Throttled
	broken.Times = 2
	k.BreakSign(broken)
	start := time.Now()
	signs(t, k, private, audit.ES256)
	// The public part is read once, whatever becomes of the signature.
	if took := time.Since(start); k.Service.Calls() != 4 || took < 200*time.Millisecond || took > time.Second {
		t.Errorf("%d calls in %v", k.Service.Calls(), took)
	}
}

func gone(t *testing.T, k Key) {
	for _, broken := range []Broken{k.Service.Throttled, {Status: http.StatusServiceUnavailable, Body: Canary}, {Hangup: true}} {
		before := k.Service.Calls()
		k.Service.Break(broken)
		start := time.Now()
		refuses(t, k, "the key's service")
		if took, calls := time.Since(start), k.Service.Calls()-before; took > 5*time.Second || calls != 4 {
			t.Errorf("%d calls in %v", calls, took)
		}
	}
}

func strangers(t *testing.T, k Key, private crypto.Signer) {
	for _, broken := range []Broken{
		{Status: http.StatusOK, Body: "<html>" + Canary}, {Status: http.StatusOK, Body: "{}"}, {Status: http.StatusNoContent},
		{Status: http.StatusFound, Header: http.Header{"Location": {"https://" + Canary + ".example.com"}}},
		{Status: http.StatusNotFound, Body: "<html>" + Canary}, {Status: http.StatusForbidden, Body: "<html>" + Canary},
	} {
		k.BreakSign(broken)
		refuses(t, k, "the key's service")
		k.Service.Break(broken)
		refuses(t, k, "the key's service")
		k.Service.Break(Broken{})
	}
	k.BreakSign(Broken{})
	signs(t, k, private, audit.ES256)
}

// FuzzSigner: whatever the service answers, no reply makes a signature out of nothing, and no error repeats what it says.
func FuzzSigner(f *testing.F, connect func(transport http.RoundTripper) (audit.Signer, error)) {
	for _, status := range []int{200, 400, 401, 403, 404, 503} {
		f.Add(status, "{}")
		f.Add(status, `{"__type":"`+Canary+`"}`)
		f.Add(status, `{"error":{"code":"`+Canary+`","status":"`+Canary+`","innererror":{"code":"`+Canary+`"},"details":[{"reason":"`+Canary+`"}]}}`)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		sign, err := connect(answers{status, body})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // before a second attempt
		defer cancel()
		_, err = sign(ctx, make([]byte, 32))
		wantError(t, err)
	})
}

// answers are the same, whatever is asked.
type answers struct {
	status int
	body   string
}

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}
