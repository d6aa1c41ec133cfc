package cloudkms_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	fake "github.com/postern-ai/postern/localdev/fake/cloudkms"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/cloudkms"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

const (
	name = "projects/some-project/locations/europe-west3/keyRings/postern/cryptoKeys/audit/cryptoKeyVersions/1"

	view = "cloudkms.cryptoKeyVersions.viewPublicKey"
	use  = "cloudkms.cryptoKeyVersions.useToSign"
)

var live = flag.String("live", "", "full name of a real key version, which signs as whom Google's Application Default Credentials stand for")

// world is a stand-in, and who signs by it.
type world struct {
	audittest.Credentials
	server *fake.Server
	denied map[string]bool
}

func newWorld() *world {
	w := &world{denied: map[string]bool{}}
	w.server = fake.New(fake.Options{
		Member: func(token string) (string, bool) { return "serviceAccount:" + audittest.Canary, w.Good(token) },
		Allow:  func(access fake.Access) bool { return !w.denied[access.Permission] && access.Key == name },
	})
	return w
}

func (w *world) signer(t *testing.T) audit.Signer {
	t.Helper()
	sign, err := cloudkms.New(cloudkms.Options{Key: name, Authorizer: w, Transport: ledgertest.Transport(w.server)})
	if err != nil {
		t.Fatal(err)
	}
	return sign
}

func (w *world) breaks(operation string) func(audittest.Broken) {
	return func(b audittest.Broken) {
		w.server.Faults.Before(operation).Set(fault.Fault{Status: b.Status, Header: b.Header, Body: b.Body, Hangup: b.Hangup, Times: b.Times})
	}
}

// key is a version by a private key, of the algorithm that it is usual for.
func key(private crypto.Signer) fake.Key {
	algorithm := ""
	switch private := private.(type) {
	case *ecdsa.PrivateKey:
		bits := private.Curve.Params().BitSize
		algorithm = fmt.Sprintf("EC_SIGN_P%d_SHA%d", bits, bits)
	case *rsa.PrivateKey:
		algorithm = fmt.Sprintf("RSA_SIGN_PKCS1_%d_SHA256", private.N.BitLen())
	}
	return fake.Key{Name: name, Private: private, Algorithm: algorithm}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	audittest.RunSigner(t, func(t *testing.T) audittest.Key {
		w := newWorld()
		return audittest.Key{
			Sign: w.signer(t), ID: name,
			Put: func(private crypto.Signer, disabled bool) {
				made := key(private)
				if disabled {
					made.State = "DISABLED"
				}
				w.server.Put(made)
			},
			Service: &audittest.Service{
				Break:       w.breaks(""),
				Throttled:   audittest.Broken{Status: 429, Body: `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"` + audittest.Canary + `"}}`},
				Deny:        func() { w.denied[view] = true },
				Permission:  view,
				Credentials: &w.Credentials,
				Calls:       w.server.Faults.Before("").Calls,
			},
			BreakSign:      w.breaks("asymmetricSign"),
			DenySign:       func() { w.denied[use] = true },
			SignPermission: use,
		}
	})
}

// TestLive signs by a real key: go test ./shared/audit/cloudkms -live NAME.
func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("-live names no key")
	}
	own := identity.Bearer(identity.NewCache(googleid.New(googleid.Options{}), identity.CacheOptions{}))
	sign, err := cloudkms.New(cloudkms.Options{Key: *live, Authorizer: own})
	if err != nil {
		t.Fatal(err)
	}
	// A signature that its public part does not verify is an error.
	if _, err := sign(t.Context(), make([]byte, 32)); err != nil {
		t.Error(err)
	}
}

func elliptic256(t *testing.T) crypto.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

const kind = "the key is of another kind than is needed; make one of the algorithm EC_SIGN_P256_SHA256 or RSA_SIGN_PKCS1_3072_SHA256"

func TestAKeyThatSignsByAnotherAlgorithmIsRefusedBeforeItSigns(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"RSA_SIGN_PSS_2048_SHA256", "RSA_SIGN_RAW_PKCS1_2048", "RSA_SIGN_PKCS1_4096_SHA512", "RSA_DECRYPT_OAEP_2048_SHA256"} {
		w := newWorld()
		w.server.Put(fake.Key{Name: name, Private: private, Algorithm: algorithm})
		if _, err := w.signer(t)(t.Context(), make([]byte, 32)); err == nil || err.Error() != kind || w.server.Faults.Before("asymmetricSign").Calls() != 0 {
			t.Errorf("%s: got %v", algorithm, err)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	failed := func(status, details string) string {
		return `{"error":{"code":400,"status":"` + status + `","message":"` + audittest.Canary + `","details":[` + details + `]}}`
	}
	// A signature of two ones, and its checksum.
	signed := func(name, checksum, verified string) string {
		return `{"name":"` + name + `","signature":"MAYCAQECAQE=","signatureCrc32c":"` + checksum + `","verifiedDigestCrc32c":` + verified + `}`
	}
	const malformed = "the key's service's reply is not what its API describes"
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   string
		calls  int
	}{
		{"no such key", 404, failed("NOT_FOUND", ""), "Cloud KMS has no key version of the configured name", 2},
		{"destroyed", 400, failed("FAILED_PRECONDITION", ""), "the key version is disabled or destroyed, or not made yet", 2},
		{"another digest", 400, failed("INVALID_ARGUMENT", ""), kind, 2},
		{"no API", 403, failed("PERMISSION_DENIED", `{"reason":"SERVICE_DISABLED"}`), "the Cloud KMS API is not enabled in the project; enable cloudkms.googleapis.com there", 2},
		{"an abort", 409, failed("ABORTED", ""), "the key's service has failed (ABORTED)", 5},
		{"an outage", 503, failed("UNAVAILABLE", ""), "the key's service has failed (503)", 5},
		{"another key", 200, signed(name+"0", "3771100744", "true"), malformed, 5},
		{"a signature that was damaged", 200, signed(name, "1", "true"), malformed, 5},
		{"a signature of ones", 200, signed(name, "3771100744", "true"), "the signature is not by the public key that the service has shown", 8},
		{"a digest that was not checked", 200, signed(name, "3771100744", "false"), malformed, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.server.Put(key(elliptic256(t)))
				w.server.Faults.Before("asymmetricSign").Set(fault.Fault{Status: test.status, Body: test.body})
				_, err := w.signer(t)(t.Context(), make([]byte, 32))
				if err == nil || err.Error() != test.want {
					t.Errorf("got  %v\nwant %s", err, test.want)
				}
				if calls := w.server.Faults.Before("").Calls(); calls != test.calls {
					t.Errorf("%d calls, want %d", calls, test.calls)
				}
			})
		})
	}
}

func TestAPublicPartThatWasDamagedIsNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.server.Put(key(elliptic256(t)))
		w.server.Faults.Before("getPublicKey").Set(fault.Fault{Status: 200, Body: `{"name":"` + name + `","algorithm":"EC_SIGN_P256_SHA256","pem":"x","pemCrc32c":"1"}`})
		if _, err := w.signer(t)(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "not what its API describes") {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzReplies(f *testing.F) {
	f.Add(200, `{"name":"`+name+`","algorithm":"EC_SIGN_P256_SHA256","pem":"","pemCrc32c":"0","signature":"MAYCAQECAQE=","signatureCrc32c":"3771100744","verifiedDigestCrc32c":true}`)
	audittest.FuzzSigner(f, func(transport http.RoundTripper) (audit.Signer, error) {
		return cloudkms.New(cloudkms.Options{Key: name, Authorizer: &audittest.Credentials{}, Transport: transport})
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for want, options := range map[string]cloudkms.Options{
		"authorizer":           {Key: name},
		"cryptoKeyVersions/1":  {Key: strings.TrimSuffix(name, "/cryptoKeyVersions/1"), Authorizer: &audittest.Credentials{}},
		"full name":            {Key: "audit", Authorizer: &audittest.Credentials{}},
		"begin with https://":  {Key: name, Authorizer: &audittest.Credentials{}, Endpoint: "http://kms.example.com"},
		"full name of a versi": {Key: name + "/../2", Authorizer: &audittest.Credentials{}},
	} {
		if _, err := cloudkms.New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
