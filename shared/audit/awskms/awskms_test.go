package awskms_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"flag"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	fake "github.com/postern-ai/postern/localdev/fake/awskms"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
	"github.com/postern-ai/postern/shared/audit/awskms"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	id    = "1234abcd-12ab-34cd-56ef-1234567890ab"
	arn   = "arn:aws:kms:eu-central-1:123456789012:key/" + id
	alias = "arn:aws:kms:eu-central-1:123456789012:alias/audit"
)

var live = flag.String("live", "", "ARN of a real key, which signs as whom the environment's AWS credentials stand for")

// world is a stand-in, and who signs by it.
type world struct {
	audittest.Credentials
	server *fake.Server
	denied map[string]bool
}

func newWorld() *world {
	w := &world{denied: map[string]bool{}}
	w.server = fake.New(fake.Options{
		Keys: func(id string) (awsauth.Key, bool) {
			token, _ := w.Newest()
			return awsauth.Key{AccessKeyID: id, SecretAccessKey: audittest.Canary + "-secret", SessionToken: token, ARN: "arn:aws:sts::123456789012:assumed-role/" + audittest.Canary}, w.Good(token)
		},
		Allow: func(access fake.Access) bool { return !w.denied[access.Action] && access.Resource == arn },
	})
	return w
}

// signer signs by the stand-in's key, with the newest credentials, as functions do.
func (w *world) signer(t *testing.T, key string) audit.Signer {
	t.Helper()
	own, err := sigv4.New(sigv4.Options{Service: "kms", Region: awskms.Region(key), Identity: sigv4.NewIdentity(sigv4.IdentityOptions{
		Getenv: func(string) string { return "" },
		Credentials: sigv4.NewStatic(sigv4.StaticOptions{
			Keys: func(context.Context) (sigv4.StaticKeys, error) {
				token, err := w.Newest()
				return sigv4.StaticKeys{AccessKeyID: secrets.NewValue("ASIATEST"), SecretAccessKey: secrets.NewValue(audittest.Canary + "-secret"), SessionToken: secrets.NewValue(token)}, err
			},
			OnRejected: func(rejected sigv4.StaticKeys) { w.Replace(rejected.SessionToken.Reveal()) },
		}),
	})})
	if err != nil {
		t.Fatal(err)
	}
	sign, err := awskms.New(awskms.Options{Key: key, Authorizer: own, Transport: ledgertest.Transport(w.server)})
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

func TestConformance(t *testing.T) {
	t.Parallel()
	audittest.RunSigner(t, func(t *testing.T) audittest.Key {
		w := newWorld()
		return audittest.Key{
			Sign: w.signer(t, alias), ID: arn,
			Put: func(private crypto.Signer, disabled bool) {
				key := fake.Key{ID: id, Alias: "audit", Private: private}
				if disabled {
					key.State = "Disabled"
				}
				w.server.Put(key)
			},
			Service: &audittest.Service{
				Break:       w.breaks(""),
				Throttled:   audittest.Broken{Status: 400, Body: `{"__type":"ThrottlingException","message":"` + audittest.Canary + `"}`},
				Deny:        func() { w.denied["kms:GetPublicKey"] = true },
				Permission:  "kms:GetPublicKey",
				Credentials: &w.Credentials,
				Calls:       w.server.Faults.Before("").Calls,
			},
			BreakSign:      w.breaks("Sign"),
			DenySign:       func() { w.denied["kms:Sign"] = true },
			SignPermission: "kms:Sign",
		}
	})
}

// TestLive signs by a real key: go test ./shared/audit/awskms -live ARN.
func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("-live names no key")
	}
	own, err := sigv4.New(sigv4.Options{Service: "kms", Region: awskms.Region(*live)})
	if err != nil {
		t.Fatal(err)
	}
	sign, err := awskms.New(awskms.Options{Key: *live, Authorizer: own})
	if err != nil {
		t.Fatal(err)
	}
	// A signature that its public part does not verify is an error.
	if _, err := sign(t.Context(), make([]byte, 32)); err != nil {
		t.Error(err)
	}
}

func generate(t *testing.T) crypto.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func TestAnAliasThatMovesIsFollowedWhenItsKeyCanNoLongerBeUsed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	old := fake.Key{ID: id, Alias: "audit", Private: generate(t)}
	w.server.Put(old)
	sign := w.signer(t, alias)
	want := func(id string) {
		t.Helper()
		if signature, err := sign(t.Context(), make([]byte, 32)); err != nil || signature.KeyID != id {
			t.Errorf("got %+v, error %v", signature, err)
		}
	}
	want(arn)
	w.server.Put(fake.Key{ID: "mrk-1", Alias: "audit", Private: generate(t)})
	want(arn)
	old.State, old.Alias = "PendingDeletion", ""
	w.server.Put(old)
	if _, err := sign(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "is to be deleted (KMSInvalidStateException)") {
		t.Errorf("got %v", err)
	}
	if _, err := sign(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "kms:GetPublicKey on it") {
		t.Errorf("the other key may be used: %v", err)
	}
}

func TestAKeyForSomethingElse(t *testing.T) {
	t.Parallel()
	w := newWorld()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w.server.Put(fake.Key{ID: id, Private: private, Usage: "ENCRYPT_DECRYPT"})
	if _, err := w.signer(t, arn)(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "the key usage SIGN_VERIFY") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	const kind = "the key is of another kind than is needed; make one of the key spec ECC_NIST_P256, or RSA_2048 or longer, and the key usage SIGN_VERIFY"
	signed := func(id, signature string) string {
		return `{"KeyId":"` + id + `","SigningAlgorithm":"ECDSA_SHA_256","Signature":"` + signature + `"}`
	}
	for code, test := range map[string]struct {
		status int
		body   string
		want   string
		calls  int
	}{
		"NotFoundException":         {400, "", "AWS KMS has no key of the configured ARN (NotFoundException)", 2},
		"InvalidArnException":       {400, "", "AWS KMS has no key of the configured ARN (InvalidArnException)", 2},
		"InvalidKeyUsageException":  {400, "", kind, 2},
		"ExpiredTokenException":     {400, "", "AWS does not accept this function's credentials (ExpiredTokenException)", 3},
		"KMSInternalException":      {500, "", "the key's service has failed (KMSInternalException)", 5},
		"KeyUnavailableException":   {500, "", "the key's service has failed (KeyUnavailableException)", 5},
		"a b<" + audittest.Canary:   {400, "", "the key's service answers with status 400", 2},
		"another key":               {200, signed(arn+"0", "MAA="), "the key's service's reply is not what its API describes", 5},
		"a signature that is none":  {200, signed(arn, "MAA="), "the key's service's reply is not what its API describes", 5},
		"a negative signature":      {200, signed(arn, base64.StdEncoding.EncodeToString([]byte{0x30, 6, 2, 1, 0xff, 2, 1, 1})), "the key's service's reply is not what its API describes", 5},
		"another signature of ones": {200, signed(arn, base64.StdEncoding.EncodeToString([]byte{0x30, 6, 2, 1, 1, 2, 1, 1})), "the signature is not by the public key that the service has shown", 8},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.server.Put(fake.Key{ID: id, Private: generate(t)})
				if test.body == "" {
					test.body = `{"__type":"com.amazonaws.kms#` + code + `","message":"` + audittest.Canary + `"}`
				}
				w.server.Faults.Before("Sign").Set(fault.Fault{Status: test.status, Body: test.body})
				_, err := w.signer(t, arn)(t.Context(), make([]byte, 32))
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

// hosts records where requests go, and sends none.
type hosts struct{ seen []string }

func (h *hosts) RoundTrip(request *http.Request) (*http.Response, error) {
	h.seen = append(h.seen, request.URL.String())
	return &http.Response{StatusCode: http.StatusTeapot, Header: http.Header{}, Body: http.NoBody}, nil
}

func FuzzReplies(f *testing.F) {
	f.Add(200, `{"KeyId":"`+arn+`","PublicKey":"MAA=","SigningAlgorithms":["ECDSA_SHA_256"],"SigningAlgorithm":"ECDSA_SHA_256","Signature":"MAYCAQECAQE="}`)
	audittest.FuzzSigner(f, func(transport http.RoundTripper) (audit.Signer, error) {
		return awskms.New(awskms.Options{Key: arn, Authorizer: &audittest.Credentials{}, Transport: transport})
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	transport := &hosts{}
	for _, key := range []string{arn, alias, "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab", "arn:aws-cn:kms:cn-north-1:123456789012:alias/a/b"} {
		sign, err := awskms.New(awskms.Options{Key: key, Authorizer: &audittest.Credentials{}, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sign(t.Context(), make([]byte, 32)); err == nil {
			t.Error("there is a network")
		}
	}
	const want = "https://kms.eu-central-1.amazonaws.com/ https://kms.eu-central-1.amazonaws.com/ https://kms.us-gov-west-1.amazonaws.com/ https://kms.cn-north-1.amazonaws.com.cn/"
	if got := strings.Join(transport.seen, " "); got != want {
		t.Errorf("got %s", got)
	}
	for name, options := range map[string]awskms.Options{
		"authorizer":   {Key: arn},
		"such as arn:": {Key: id, Authorizer: &audittest.Credentials{}},
		"or of an al":  {Key: "alias/audit", Authorizer: &audittest.Credentials{}},
		"https://":     {Key: arn, Authorizer: &audittest.Credentials{}, Endpoint: "http://kms.example.com"},
	} {
		if _, err := awskms.New(options); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
