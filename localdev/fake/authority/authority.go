// Package authority is a stand-in for those who make clients' certificates.
//
// It must not know anything about the gateway, and serves tests only.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"time"
)

// Authority makes certificates. The zero value makes clients sign theirs themselves.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// New returns an authority of that name, of which there can be several.
func New(name string) (*Authority, error) {
	template := template(name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	return (&Authority{}).sign(template)
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
}

func (a *Authority) sign(template *x509.Certificate) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &Authority{certificate, key}, err
}

// Client makes the certificate of a client named "app" of the organisation "Partner", valid for an hour before and after now; change
// makes it another.
func (a *Authority) Client(change func(*x509.Certificate)) (*x509.Certificate, error) {
	client := template("app")
	client.Subject.Organization, client.ExtKeyUsage = []string{"Partner"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(client)
	}
	made, err := a.sign(client)
	if err != nil {
		return nil, err
	}
	return made.certificate, nil
}

// PEM returns the authority's own certificate.
func (a *Authority) PEM() string { return PEM(a.certificate) }

// PEM returns a certificate as API Gateway passes it on.
func PEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// Leaf returns a certificate as a load balancer passes it on.
func Leaf(c *x509.Certificate) string {
	return strings.NewReplacer("\n", "%0A", " ", "%20").Replace(PEM(c))
}

// Base64 returns a certificate as App Service passes it on.
func Base64(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }
