package rotation_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
)

// signer is what signs the events of this kind of key, as a function reaches it. No two of its signatures are the same.
func (f *function) signer() audit.Signer {
	if !f.kind.signs {
		return nil
	}
	return func(ctx context.Context, digest []byte) (audit.Signature, error) {
		var signature audit.Signature
		err, _ := f.call(ctx, "sign", func() (err error) {
			if f.signing == nil {
				if f.signing, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
					return err
				}
			}
			r, s, err := ecdsa.Sign(rand.Reader, f.signing, digest)
			if err != nil {
				return err
			}
			both := make([]byte, 64)
			r.FillBytes(both[:32])
			s.FillBytes(both[32:])
			signature = audit.Signature{KeyID: "k", Algorithm: audit.ES256, Value: base64.RawURLEncoding.EncodeToString(both)}
			return nil
		})
		return signature, err
	}
}

// unsigned returns what is wrong with the chain of the events that were published, and with the signatures where there have to be some. The caller
// holds the lock.
func (w *world) unsigned() []string {
	var wrong []string
	var verifier audit.Verifier
	if w.signing != nil {
		der, err := x509.MarshalPKIXPublicKey(w.signing.Public())
		if err != nil {
			return []string{err.Error()}
		}
		if verifier.Keys, err = audit.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})); err != nil {
			return []string{err.Error()}
		}
	}
	for i, e := range w.events {
		if w.kind.signs != strings.Contains(string(e.Data), `"signature":{`) {
			wrong = append(wrong, fmt.Sprintf("whether event %d is signed: %s", i, e.Data))
		}
	}
	report := verifier.Verify(func(yield func(audit.Recorded) bool) {
		for i, e := range w.events {
			if !yield(audit.Recorded{Line: i + 1, Event: e}) {
				return
			}
		}
	})
	for _, finding := range report.Findings {
		wrong = append(wrong, fmt.Sprint(finding))
	}
	return wrong
}

// signingKind is a kind of key whose events are signed, and of which an emergency can be told at once.
func signingKind() kind {
	k := kinds()[0]
	k.signs = true
	return k
}

// away has nothing signed until it is called off.
func away(off *bool) func(string) fault {
	return func(call string) fault {
		if call == "sign" && !*off {
			return throttled
		}
		return none
	}
}

func TestEventsWaitForTheirSignature(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(signingKind())
		w.due()
		back := false
		for range 3 {
			_, err := w.run(t.Context(), away(&back))
			if err == nil || !strings.Contains(err.Error(), "publish: its audit events cannot be signed, and are kept") {
				t.Errorf("got %v", err)
			}
			time.Sleep(tick)
		}
		if status := w.status(t.Context()); status.Unpublished == 0 || len(w.events) > 0 {
			t.Errorf("%d events wait, and %d were published", status.Unpublished, len(w.events))
		}
		if usable := w.usable(); len(usable) > 2 {
			t.Errorf("%d keys are usable", len(usable))
		}
		back = true
		if _, err := w.rest(t.Context(), away(&back)); err != nil {
			t.Fatal(err, w.last())
		}
		for _, wrong := range w.atRest() {
			t.Error(wrong)
		}
	})
}

func TestAnEmergencyDoesNotWaitForSignatures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(signingKind())
		if err := (&function{world: w}).job().Emergency(t.Context(), rotation.Request{Credential: credential, Actor: "somebody"}); err != nil {
			t.Fatal(err)
		}
		w.emergency = true
		back := false
		for range 3 {
			_, err := w.run(t.Context(), away(&back))
			if err == nil || !strings.Contains(err.Error(), "cannot be signed") {
				t.Errorf("got %v", err)
			}
			time.Sleep(tick)
		}
		if w.bySecret(w.versions[0].text).works() || len(w.usable()) != 1 || len(w.events) > 0 {
			t.Errorf("the old key still works, or %d keys are usable, or %d events were published", len(w.usable()), len(w.events))
		}
		back = true
		if _, err := w.rest(t.Context(), away(&back)); err != nil {
			t.Fatal(err, w.last())
		}
		for _, wrong := range w.atRest() {
			t.Error(wrong)
		}
	})
}
