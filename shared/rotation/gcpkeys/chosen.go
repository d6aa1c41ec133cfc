package gcpkeys

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	keyBits = 2048
	// unlimited is how long a key is valid that was ordered without an end, which is what Google gives those that it makes.
	unlimited = 10 * 365 * 24 * time.Hour
	// assertionLife is how long the assertion of a verification is good.
	assertionLife = 5 * time.Minute
)

type generator func() (*rsa.PrivateKey, error)

func generateRSA() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, keyBits) }

// certificate is what Google gets of a key.
type certificate struct {
	id   string
	pem  []byte
	ends time.Time
}

// Choose implements [rotation.Chooser]. It makes a key and its certificate, and returns the JSON that Google's libraries read a service account's
// key from. In it, the certificate follows the key in the same text, where readers of the key pass over it; so what is staged is all that an
// upload needs, and an upload that is repeated is the same.
func (k *AccountKeys) Choose(order rotation.Order) (secrets.Value, error) {
	failed := func(reason string, err error) error {
		return &rotation.Error{Op: "create", Reason: reason, Err: errors.Join(rotation.ErrRefused, err)}
	}
	members, _ := rotation.ParseContent(order.Content)
	if kind := members.Text("type"); kind != "" && kind != "service_account" || members["client_email"] != nil && members.Text("client_email") != k.email {
		return secrets.Value{}, failed("the secret in use is no key of the service account (service_account_email); store another secret", nil)
	}
	private, err := k.generate()
	if err != nil {
		return secrets.Value{}, failed("no key could be made", err)
	}
	signed, err := selfSign(private, order.Expires)
	if err != nil {
		return secrets.Value{}, failed("no certificate could be made", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return secrets.Value{}, failed("the key cannot be written down", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	next := map[string]string{
		"type": "service_account", "client_email": k.email, "token_uri": tokenURL,
		"private_key_id": idOf(signed), "private_key": string(text) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
	}
	if members["client_x509_cert_url"] == nil {
		next["client_x509_cert_url"] = "https://www.googleapis.com/robot/v1/metadata/x509/" + url.PathEscape(k.email)
	}
	value, err := members.With(next)
	if err != nil {
		return secrets.Value{}, failed("the key cannot be written down", err)
	}
	return value, nil
}

// selfSign returns a certificate of a key, which is valid until its end. It begins now, since Google says of an uploaded key that it was made
// when its certificate begins, and a rotation tells keys apart by that.
func selfSign(private *rsa.PrivateKey, ends time.Time) ([]byte, error) {
	now := time.Now().Truncate(time.Second)
	if ends.IsZero() {
		ends = now.Add(unlimited)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "unused"}, NotBefore: now, NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	return x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
}

// idOf returns the id that Google gives a key: the SHA-1 of its certificate. It is a name, and secures nothing.
func idOf(certificate []byte) string {
	sum := sha1.Sum(certificate)
	return hex.EncodeToString(sum[:])
}

// blocks returns the key and the certificate in a stored content.
func blocks(members rotation.Content) (key, signed *pem.Block) {
	rest := []byte(members.Text("private_key"))
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return key, signed
		}
		switch block.Type {
		case "PRIVATE KEY", "RSA PRIVATE KEY":
			key = block
		case "CERTIFICATE":
			signed = block
		}
	}
}

// certificateOf returns the certificate in what was chosen.
func certificateOf(chosen secrets.Value) (certificate, bool) {
	members, _ := rotation.ParseContent(chosen)
	_, block := blocks(members)
	if block == nil {
		return certificate{}, false
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return certificate{}, false
	}
	return certificate{id: idOf(block.Bytes), pem: pem.EncodeToMemory(block), ends: parsed.NotAfter.UTC()}, true
}

// assert signs an assertion that is exchanged for an access token
// (https://developers.google.com/identity/protocols/oauth2/service-account). It is for Google alone, whatever token_uri is stored. Its errors
// hold nothing of what is stored.
func assert(members rotation.Content) (string, error) {
	block, _ := blocks(members)
	if block == nil {
		return "", errors.New("private_key is not a PEM block")
	}
	var parsed any
	var err error
	if block.Type == "PRIVATE KEY" {
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	} else {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return "", errors.New("private_key is not an RSA key")
	}
	email, now := members.Text("client_email"), time.Now()
	head := map[string]string{"alg": "RS256", "typ": "JWT"}
	if id := members.Text("private_key_id"); id != "" {
		head["kid"] = id
	}
	claims := map[string]any{
		"iss": email, "sub": email, "aud": tokenURL, "scope": cloudPlatform, "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	}
	first, err := json.Marshal(head, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	second, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(first) + "." + base64.RawURLEncoding.EncodeToString(second)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("private_key cannot sign")
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
