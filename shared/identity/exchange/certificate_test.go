package exchange_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/shared/identity/exchange"
)

// pki is a certificate with its key, and whatever signed it.
type pki struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         string
}

// issue makes a certificate. Without a parent it signs itself, as an authority does.
func issue(t *testing.T, name string, parent *pki) *pki {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: parent == nil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	made := &pki{certificate: template, key: key}
	signer := made
	if parent != nil {
		signer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	if made.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	made.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + pkcs8(t, key)
	return made
}

// TestAClientCertificateAuthenticates goes through TLS: the certificate is shown in the handshake, and nothing else shows who the client is.
func TestAClientCertificateAuthenticates(t *testing.T) {
	t.Parallel()
	authorityOfClients, strangers := issue(t, "clients", nil), issue(t, "strangers", nil)
	known, other := issue(t, "gateway", authorityOfClients), issue(t, "other", authorityOfClients)
	pool := x509.NewCertPool()
	pool.AddCert(authorityOfClients.certificate)
	selfSigned := issue(t, "self", nil)
	tests := []struct {
		name, client, pem string
		want              string // "" when a token comes back
	}{
		{"a certificate of the authority, with the registered subject", "cert", known.pem, ""},
		{"a key before its certificate", "cert", known.pem[strings.Index(known.pem, "-----BEGIN PRIVATE"):] + known.pem[:strings.Index(known.pem, "-----BEGIN PRIVATE")], ""},
		{"another subject", "cert", other.pem, "invalid_client: check the client id and that the certificate"},
		{"another authority", "cert", issue(t, "gateway", strangers).pem, "invalid_client"},
		{"a self-signed certificate that is registered", "self", selfSigned.pem, ""},
		{"a self-signed certificate that is not", "self", issue(t, "self", nil).pem, "invalid_client"},
		{"a certificate without its key", "cert", known.pem[:strings.Index(known.pem, "-----BEGIN PRIVATE")], "as PEM"},
		{"a certificate with another's key", "cert", known.pem[:strings.Index(known.pem, "-----BEGIN PRIVATE")] + pkcs8(t, other.key), "as PEM"},
		{"something else", "cert", "canary", "as PEM"},
	}
	server := httptest.NewUnstartedServer(nil)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	stand := oauth.New(oauth.Options{URL: server.URL, ClientCAs: pool, Clients: []oauth.Client{
		{ID: "cert", Method: oauth.TLS, SubjectDN: known.certificate.Subject.String(), Grants: []string{oauth.ClientCredentials}},
		{ID: "self", Method: oauth.SelfSignedTLS, Certificate: selfSigned.certificate, Grants: []string{oauth.ClientCredentials}},
	}})
	server.Config.Handler = stand
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
				Server: exchange.Server{Issuer: server.URL, RootCAs: roots}, ClientID: test.client, Auth: exchange.Certificate{PEM: stored(test.pem)},
			}))
			token, err := source.Token(t.Context())
			if test.want != "" {
				failure(t, err, test.want)
				return
			}
			if err != nil || !stand.Valid(token.Value.Reveal(), oauth.Need{}) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestTheEndpointForCertificatesIsUsedByThem covers mtls_endpoint_aliases: the other endpoint does not ask for a certificate at all.
func TestTheEndpointForCertificatesIsUsedByThem(t *testing.T) {
	t.Parallel()
	client := issue(t, "gateway", nil)
	quiet := log.New(io.Discard, "", 0)
	plain, mutual := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	mutual.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	plain.Config.ErrorLog, mutual.Config.ErrorLog = quiet, quiet
	plain.StartTLS()
	defer plain.Close()
	mutual.StartTLS()
	defer mutual.Close()
	stand := oauth.New(oauth.Options{URL: plain.URL, MutualTLS: mutual.URL, Clients: []oauth.Client{
		{ID: "self", Method: oauth.SelfSignedTLS, Certificate: client.certificate, Grants: []string{oauth.ClientCredentials}},
		{ID: "poster", Method: oauth.SecretPost, Secret: secret, Grants: []string{oauth.ClientCredentials}},
	}})
	plain.Config.Handler, mutual.Config.Handler = stand, stand
	roots := x509.NewCertPool()
	roots.AddCert(plain.Certificate())
	for id, auth := range map[string]exchange.ClientAuth{"self": exchange.Certificate{PEM: stored(client.pem)}, "poster": exchange.SecretPost{Secret: stored(secret)}} {
		source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
			Server: exchange.Server{Issuer: plain.URL, RootCAs: roots}, ClientID: id, Auth: auth,
		}))
		if token, err := source.Token(t.Context()); err != nil || !stand.Valid(token.Value.Reveal(), oauth.Need{}) {
			t.Errorf("%s: %v", id, err)
		}
	}
	// A server that breaks the handshake off says nothing about why.
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: mutual.URL + "/token", RootCAs: roots}, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
	}))
	_, err := source.Token(t.Context())
	failure(t, err, "cannot be reached")
}

func TestAServerThatIsNotTrustedIsNotSpokenTo(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	stand := oauth.New(oauth.Options{URL: server.URL})
	server.Config.Handler = stand
	source := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: stand.TokenURL()}, ClientID: "poster", Auth: exchange.SecretPost{Secret: stored(secret)},
	}))
	_, err := source.Token(t.Context())
	if problem := failure(t, err, "cannot be reached: certificate not trusted"); problem.Retryable || stand.Tokens.Calls() != 0 {
		t.Errorf("retryable %v, %d calls", problem.Retryable, stand.Tokens.Calls())
	}
	plain := must[*exchange.ClientCredentials](t)(exchange.NewClientCredentials(exchange.Options{
		Server: exchange.Server{TokenEndpoint: "http://127.0.0.1:1/token"}, ClientID: "c", Auth: exchange.Certificate{PEM: stored(issue(t, "x", nil).pem)},
	}))
	_, err = plain.Token(t.Context())
	failure(t, err, "needs a token endpoint with https")
}
