package cloudkms_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/localdev/fake/cloudkms"
)

const ring = "projects/p/locations/l/keyRings/r/cryptoKeys/"

type answer struct {
	Error struct {
		Status string `json:"status"`
	} `json:"error"`
	PEM                  string `json:"pem"`
	PEMCRC32C            string `json:"pemCrc32c"`
	Algorithm            string `json:"algorithm"`
	Name                 string `json:"name"`
	Signature            []byte `json:"signature"`
	SignatureCRC32C      string `json:"signatureCrc32c"`
	VerifiedDigestCRC32C bool   `json:"verifiedDigestCrc32c"`
}

func ask(t *testing.T, server http.Handler, method, path, body string) answer {
	t.Helper()
	request := httptest.NewRequest(method, "https://cloudkms.googleapis.com/v1/"+path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer good")
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
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
	if (recorder.Code == http.StatusOK) != (out.Error.Status == "") {
		t.Errorf("status %d with %s", recorder.Code, recorder.Body)
	}
	return out
}

func checksum(of string) string {
	return strconv.FormatUint(uint64(crc32.Checksum([]byte(of), crc32.MakeTable(crc32.Castagnoli))), 10)
}

func open(t *testing.T) (*cloudkms.Server, *ecdsa.PrivateKey, *rsa.PrivateKey) {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	server := cloudkms.New(cloudkms.Options{
		Member: func(token string) (string, bool) { return "user:a", token == "good" },
		Allow:  func(access cloudkms.Access) bool { return !strings.Contains(access.Key, "/closed/") },
	})
	server.Put(cloudkms.Key{Name: ring + "ec/cryptoKeyVersions/1", Private: ec, Algorithm: "EC_SIGN_P256_SHA256"})
	server.Put(cloudkms.Key{Name: ring + "ec/cryptoKeyVersions/2", Private: ec, Algorithm: "EC_SIGN_P256_SHA256", State: "DISABLED"})
	server.Put(cloudkms.Key{Name: ring + "rs/cryptoKeyVersions/1", Private: rs, Algorithm: "RSA_SIGN_PKCS1_2048_SHA256"})
	server.Put(cloudkms.Key{Name: ring + "pss/cryptoKeyVersions/1", Private: rs, Algorithm: "RSA_SIGN_PSS_2048_SHA256"})
	server.Put(cloudkms.Key{Name: ring + "long/cryptoKeyVersions/1", Private: rs, Algorithm: "RSA_SIGN_PKCS1_4096_SHA512"})
	server.Put(cloudkms.Key{Name: ring + "enc/cryptoKeyVersions/1", Private: rs, Algorithm: "RSA_DECRYPT_OAEP_2048_SHA256"})
	return server, ec, rs
}

func digested(kind, digest, checksum string) string {
	return `{"digest":{"` + kind + `":"` + base64.StdEncoding.EncodeToString([]byte(digest)) + `"}` + checksum + `}`
}

func TestWhatIsSignedIsVerifiedByThePublicPart(t *testing.T) {
	t.Parallel()
	server, ec, rs := open(t)
	sum := sha256.Sum256([]byte("message"))
	body := digested("sha256", string(sum[:]), `,"digestCrc32c":"`+checksum(string(sum[:]))+`"`)
	out := ask(t, server, http.MethodPost, ring+"ec/cryptoKeyVersions/1:asymmetricSign", body)
	if !ecdsa.VerifyASN1(&ec.PublicKey, sum[:], out.Signature) || !out.VerifiedDigestCRC32C || out.SignatureCRC32C != checksum(string(out.Signature)) {
		t.Errorf("got %+v", out)
	}
	if out := ask(t, server, http.MethodPost, ring+"ec/cryptoKeyVersions/1:asymmetricSign", digested("sha256", string(sum[:]), "")); out.VerifiedDigestCRC32C || out.Signature == nil {
		t.Errorf("without a checksum: got %+v", out)
	}
	out = ask(t, server, http.MethodPost, ring+"rs/cryptoKeyVersions/1:asymmetricSign", body)
	if err := rsa.VerifyPKCS1v15(&rs.PublicKey, crypto.SHA256, sum[:], out.Signature); err != nil {
		t.Error(err)
	}
	out = ask(t, server, http.MethodPost, ring+"pss/cryptoKeyVersions/1:asymmetricSign", body)
	if err := rsa.VerifyPSS(&rs.PublicKey, crypto.SHA256, sum[:], out.Signature, nil); err != nil {
		t.Error(err)
	}
	shown := ask(t, server, http.MethodGet, ring+"ec/cryptoKeyVersions/1/publicKey", "")
	block, _ := pem.Decode([]byte(shown.PEM))
	if block == nil || shown.PEMCRC32C != checksum(shown.PEM) || shown.Algorithm != "EC_SIGN_P256_SHA256" || shown.Name != ring+"ec/cryptoKeyVersions/1" {
		t.Fatalf("got %+v", shown)
	}
	if public, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil || !ec.PublicKey.Equal(public) {
		t.Errorf("got %v, error %v", public, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	server, _, _ := open(t)
	digest := strings.Repeat("x", 32)
	for _, test := range []struct{ method, path, body, want string }{
		{"POST", "ec/cryptoKeyVersions/1:asymmetricSign", digested("sha256", digest[1:], ""), "INVALID_ARGUMENT"},
		{"POST", "ec/cryptoKeyVersions/1:asymmetricSign", digested("sha384", digest+digest[16:], ""), "INVALID_ARGUMENT"},
		{"POST", "ec/cryptoKeyVersions/1:asymmetricSign", digested("sha256", digest, `,"digestCrc32c":"1"`), "INVALID_ARGUMENT"},
		{"POST", "ec/cryptoKeyVersions/1:asymmetricSign", digested("sha256", digest, `,"other":1`), "INVALID_ARGUMENT"},
		{"POST", "ec/cryptoKeyVersions/1:asymmetricSign", "", "INVALID_ARGUMENT"},
		{"POST", "long/cryptoKeyVersions/1:asymmetricSign", digested("sha256", digest, ""), "INVALID_ARGUMENT"},
		{"POST", "enc/cryptoKeyVersions/1:asymmetricSign", digested("sha256", digest, ""), "FAILED_PRECONDITION"},
		{"POST", "ec/cryptoKeyVersions/2:asymmetricSign", digested("sha256", digest, ""), "FAILED_PRECONDITION"},
		{"GET", "ec/cryptoKeyVersions/2/publicKey", "", "FAILED_PRECONDITION"},
		{"GET", "ec/cryptoKeyVersions/3/publicKey", "", "NOT_FOUND"},
		{"GET", "closed/cryptoKeyVersions/1/publicKey", "", "PERMISSION_DENIED"},
		{"GET", "ec/cryptoKeyVersions/1:asymmetricSign", "", "NOT_FOUND"},
	} {
		if out := ask(t, server, test.method, ring+test.path, test.body); out.Error.Status != test.want {
			t.Errorf("%s %s %s: got %+v", test.method, test.path, test.body, out)
		}
	}
	request := httptest.NewRequest(http.MethodGet, "https://cloudkms.googleapis.com/v1/"+ring+"ec/cryptoKeyVersions/1/publicKey", nil)
	if out := send(t, server, request); out.Error.Status != "UNAUTHENTICATED" {
		t.Errorf("without a token: got %+v", out)
	}
}
