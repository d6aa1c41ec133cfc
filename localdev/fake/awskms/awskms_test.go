package awskms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awskms"
)

type answer struct {
	Type              string `json:"__type"`
	KeyID             string `json:"KeyId"`
	Signature         []byte
	PublicKey         []byte
	KeySpec, KeyUsage string
	SigningAlgorithms []string
}

// ask signs a request and returns what came back.
func ask(t *testing.T, server http.Handler, operation, body string) answer {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "https://kms.eu-central-1.amazonaws.com/", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "TrentService."+operation)
	sum := sha256.Sum256([]byte(body))
	keys := aws.Credentials{AccessKeyID: "AKIDTEST", SecretAccessKey: "secret"}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, request, hex.EncodeToString(sum[:]), "kms", "eu-central-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return send(t, server, request)
}

func send(t *testing.T, server http.Handler, request *http.Request) answer {
	t.Helper()
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	var out answer
	if err := json.Unmarshal(recorder.Body.Bytes(), &out); err != nil {
		t.Fatalf("%v in %s", err, recorder.Body)
	}
	if (recorder.Code == http.StatusOK) != (out.Type == "") {
		t.Errorf("status %d with %s", recorder.Code, recorder.Body)
	}
	return out
}

func open(t *testing.T) (*awskms.Server, *ecdsa.PrivateKey, *rsa.PrivateKey) {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	server := awskms.New(awskms.Options{
		Keys: func(id string) (awsauth.Key, bool) {
			return awsauth.Key{AccessKeyID: id, SecretAccessKey: "secret"}, id == "AKIDTEST"
		},
		Allow: func(access awskms.Access) bool { return !strings.HasSuffix(access.Resource, "/closed") },
	})
	server.Put(awskms.Key{ID: "ec", Alias: "audit", Private: ec})
	server.Put(awskms.Key{ID: "rs", Private: rs})
	server.Put(awskms.Key{ID: "off", Private: ec, State: "Disabled"})
	server.Put(awskms.Key{ID: "gone", Private: ec, State: "PendingDeletion"})
	server.Put(awskms.Key{ID: "enc", Private: rs, Usage: "ENCRYPT_DECRYPT"})
	server.Put(awskms.Key{ID: "closed", Private: ec})
	return server, ec, rs
}

func message(key, value, kind, algorithm string) string {
	text, err := json.Marshal(map[string]any{"KeyId": key, "Message": []byte(value), "MessageType": kind, "SigningAlgorithm": algorithm}, json.OmitZeroStructFields(true))
	if err != nil {
		panic(err)
	}
	return strings.Replace(string(text), `"MessageType":"",`, "", 1)
}

func TestADigestIsSignedAsItIsAndAMessageHashed(t *testing.T) {
	t.Parallel()
	server, ec, rs := open(t)
	digest := sha256.Sum256([]byte("message"))
	for _, body := range []string{
		message("ec", string(digest[:]), "DIGEST", "ECDSA_SHA_256"), message("alias/audit", "message", "RAW", "ECDSA_SHA_256"),
		message("arn:aws:kms:eu-central-1:123456789012:alias/audit", "message", "", "ECDSA_SHA_256"),
	} {
		out := ask(t, server, "Sign", body)
		if !ecdsa.VerifyASN1(&ec.PublicKey, digest[:], out.Signature) || out.KeyID != "arn:aws:kms:eu-central-1:123456789012:key/ec" {
			t.Errorf("%s: got %+v", body, out)
		}
	}
	out := ask(t, server, "Sign", message("rs", string(digest[:]), "DIGEST", "RSASSA_PKCS1_V1_5_SHA_256"))
	if err := rsa.VerifyPKCS1v15(&rs.PublicKey, crypto.SHA256, digest[:], out.Signature); err != nil {
		t.Error(err)
	}
	out = ask(t, server, "Sign", message("rs", string(digest[:]), "DIGEST", "RSASSA_PSS_SHA_256"))
	if err := rsa.VerifyPSS(&rs.PublicKey, crypto.SHA256, digest[:], out.Signature, nil); err != nil {
		t.Error(err)
	}
}

func TestThePublicPart(t *testing.T) {
	t.Parallel()
	server, ec, _ := open(t)
	der, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	out := ask(t, server, "GetPublicKey", `{"KeyId":"ec"}`)
	if !bytes.Equal(out.PublicKey, der) || out.KeySpec != "ECC_NIST_P256" || out.KeyUsage != "SIGN_VERIFY" || strings.Join(out.SigningAlgorithms, " ") != "ECDSA_SHA_256" {
		t.Errorf("got %+v", out)
	}
	if out := ask(t, server, "GetPublicKey", `{"KeyId":"rs"}`); out.KeySpec != "RSA_2048" || len(out.SigningAlgorithms) != 6 {
		t.Errorf("got %+v", out)
	}
	if out := ask(t, server, "GetPublicKey", `{"KeyId":"enc"}`); out.KeyUsage != "ENCRYPT_DECRYPT" || out.SigningAlgorithms != nil {
		t.Errorf("got %+v", out)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	server, _, _ := open(t)
	digest := strings.Repeat("x", 32)
	for _, test := range []struct{ operation, body, want string }{
		{"Sign", message("ec", digest[1:], "DIGEST", "ECDSA_SHA_256"), "ValidationException"},
		{"Sign", message("ec", digest, "HASH", "ECDSA_SHA_256"), "ValidationException"},
		{"Sign", message("ec", "", "DIGEST", "ECDSA_SHA_256"), "ValidationException"},
		{"Sign", message("", digest, "DIGEST", "ECDSA_SHA_256"), "ValidationException"},
		{"Sign", message("ec", digest, "DIGEST", "ECDSA_SHA_384"), "InvalidKeyUsageException"},
		{"Sign", message("rs", digest, "DIGEST", "ECDSA_SHA_256"), "InvalidKeyUsageException"},
		{"Sign", message("enc", digest, "DIGEST", "RSASSA_PKCS1_V1_5_SHA_256"), "InvalidKeyUsageException"},
		{"Sign", message("off", digest, "DIGEST", "ECDSA_SHA_256"), "DisabledException"},
		{"Sign", message("gone", digest, "DIGEST", "ECDSA_SHA_256"), "KMSInvalidStateException"},
		{"Sign", message("closed", digest, "DIGEST", "ECDSA_SHA_256"), "AccessDeniedException"},
		{"Sign", message("other", digest, "DIGEST", "ECDSA_SHA_256"), "NotFoundException"},
		{"Sign", message("alias/other", digest, "DIGEST", "ECDSA_SHA_256"), "NotFoundException"},
		{"Sign", message("arn:aws:kms:us-east-1:123456789012:key/ec", digest, "DIGEST", "ECDSA_SHA_256"), "NotFoundException"},
		{"Sign", `{"KeyId":"ec","Other":1}`, "SerializationException"},
		{"Sign", `{"KeyId":1}`, "SerializationException"},
		{"GetPublicKey", message("ec", digest, "DIGEST", "ECDSA_SHA_256"), "SerializationException"},
		{"GetPublicKey", `{"KeyId":"off"}`, "DisabledException"},
		{"GetPublicKey", `{"KeyId":"closed"}`, "AccessDeniedException"},
		{"Decrypt", `{"KeyId":"ec"}`, "UnknownOperationException"},
	} {
		if out := ask(t, server, test.operation, test.body); out.Type != test.want {
			t.Errorf("%s %s: got %+v", test.operation, test.body, out)
		}
	}
	request := httptest.NewRequest(http.MethodPost, "https://kms.eu-central-1.amazonaws.com/", strings.NewReader(`{"KeyId":"ec"}`))
	request.Header.Set("X-Amz-Target", "TrentService.GetPublicKey")
	if out := send(t, server, request); out.Type != "MissingAuthenticationTokenException" {
		t.Errorf("without a signature: got %+v", out)
	}
}
