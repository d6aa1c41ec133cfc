package entra

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// proof is a way in which an app shows who it is.
type proof interface {
	// show gets what is shown this time.
	show(ctx context.Context) (evidence, error)
}

// evidence is what is shown once.
type evidence struct {
	// source is how the token came about, for the log.
	source string
	// value is the stored secret in it, if there is one.
	value secrets.Value
	// described is what an operator needs for a federated credential.
	described string
	// credential makes the library's credential of it.
	credential func(options AppOptions, client azcore.ClientOptions) (azcore.TokenCredential, error)
}

// rejectedBy reports whether an error says that the stored secret was not accepted.
func (e evidence) rejectedBy(err error) bool {
	refused, ok := errors.AsType[*failure](err)
	return ok && !e.value.IsZero() && slices.ContainsFunc(refused.numbers, func(number int) bool {
		return slices.Contains([]int{7000215, 7000222, 700027, 1000502}, number)
	})
}

// prove picks the one way that the options describe.
func (o AppOptions) prove() (proof, error) {
	var ways []proof
	if o.Secret != nil {
		ways = append(ways, bySecret{o.Secret})
	}
	if o.Certificate != nil {
		ways = append(ways, byCertificate{o.Certificate, o.CertificatePassword})
	}
	if o.Assertion != nil {
		ways = append(ways, byAssertion{o.Assertion})
	}
	if o.AssertionFile != "" {
		if !filepath.IsAbs(o.AssertionFile) {
			return nil, errors.New("the file with the federated token must have an absolute path")
		}
		ways = append(ways, byAssertion{tokenFile(o.AssertionFile)})
	}
	switch {
	case len(ways) != 1:
		return nil, errors.New("an app registration shows who it is in exactly one way: by a secret, a certificate, a token of another cloud, or a file with one")
	case o.Certificate == nil && (o.CertificatePassword != nil || o.SendChain):
		return nil, errors.New("a certificate's password and its chain have no effect without a certificate")
	}
	return ways[0], nil
}

type bySecret struct {
	read func(ctx context.Context) (secrets.Value, error)
}

func (b bySecret) show(ctx context.Context) (evidence, error) {
	secret, err := b.read(ctx)
	if err != nil {
		return evidence{}, &identity.Error{Public: "the client secret cannot be read", Err: err, Retryable: true}
	}
	if text := secret.Reveal(); text == "" || strings.TrimSpace(text) != text {
		return evidence{}, &identity.Error{Public: "the client secret is empty, or has spaces or line breaks around it; store the secret alone"}
	}
	return evidence{source: "app registration, client secret", value: secret, credential: func(o AppOptions, client azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewClientSecretCredential(o.Tenant, o.ClientID, secret.Reveal(), &azidentity.ClientSecretCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: true})
	}}, nil
}

type byCertificate struct {
	read, password func(ctx context.Context) (secrets.Value, error)
}

func (b byCertificate) show(ctx context.Context) (evidence, error) {
	stored, err := b.read(ctx)
	if err != nil {
		return evidence{}, &identity.Error{Public: "the certificate cannot be read", Err: err, Retryable: true}
	}
	var password secrets.Value
	if b.password != nil {
		if password, err = b.password(ctx); err != nil {
			return evidence{}, &identity.Error{Public: "the certificate's password cannot be read", Err: err, Retryable: true}
		}
	}
	certificates, key, err := parseCertificate(stored, password)
	if err != nil {
		return evidence{}, err
	}
	return evidence{source: "app registration, certificate", value: stored, credential: func(o AppOptions, client azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewClientCertificateCredential(o.Tenant, o.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: client, DisableInstanceDiscovery: true, SendCertificateChain: o.SendChain,
		})
	}}, nil
}

// parseCertificate reads a certificate in any of its forms, and refuses one that the token service would refuse. Its errors hold nothing of
// it but its dates.
func parseCertificate(stored, password secrets.Value) ([]*x509.Certificate, crypto.PrivateKey, error) {
	data := []byte(stored.Reveal())
	isPEM := strings.Contains(stored.Reveal(), "-----BEGIN ")
	if !isPEM {
		// Key Vault and other stores of text hold PKCS #12 in base64.
		if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(stored.Reveal()), "")); err == nil {
			data = decoded
		}
	}
	if isPEM && !password.IsZero() {
		return nil, nil, &identity.Error{Public: "the certificate is in PEM, which has no password here; store its key without one, and leave the password out"}
	}
	certificates, key, err := azidentity.ParseCertificates(data, []byte(password.Reveal()))
	if err != nil {
		return nil, nil, &identity.Error{Public: "the certificate cannot be read as PEM or PKCS #12 with its private key; of PKCS #12 only the older kind with SHA-1 is known: " +
			"store it as PEM (openssl pkcs12 -in FILE -nodes)"}
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, &identity.Error{Public: "the certificate's key is not an RSA key, the only kind that Entra takes"}
	}
	at := slices.IndexFunc(certificates, func(c *x509.Certificate) bool {
		public, ok := c.PublicKey.(*rsa.PublicKey)
		return ok && private.PublicKey.Equal(public)
	})
	if at < 0 {
		return nil, nil, &identity.Error{Public: "none of the certificates belongs to the private key that is stored with them"}
	}
	if now := time.Now(); now.Before(certificates[at].NotBefore) || now.After(certificates[at].NotAfter) {
		return nil, nil, &identity.Error{Public: fmt.Sprintf("the certificate is valid from %s to %s, and not now",
			certificates[at].NotBefore.UTC().Format(time.DateOnly), certificates[at].NotAfter.UTC().Format(time.DateOnly))}
	}
	return certificates, key, nil
}

type byAssertion struct{ source identity.TokenSource }

func (b byAssertion) show(ctx context.Context) (evidence, error) {
	token, err := b.source.Token(ctx)
	if err != nil {
		return evidence{}, err
	}
	described := identity.DescribeJWT(token.Value)
	if described == "" {
		return evidence{}, &identity.Error{Public: "what should show who the app is, is not a JSON Web Token with an issuer, a subject and an audience"}
	}
	// The credential names the application and not its id.
	described = strings.Replace(described, tokenExchangeID, TokenExchange, 1)
	return evidence{source: "app registration, federated credential", described: described, credential: func(o AppOptions, client azcore.ClientOptions) (azcore.TokenCredential, error) {
		assertion := func(context.Context) (string, error) { return token.Value.Reveal(), nil }
		return azidentity.NewClientAssertionCredential(o.Tenant, o.ClientID, assertion, &azidentity.ClientAssertionCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: true})
	}}, nil
}

// tokenFile is a token that the platform keeps fresh in a file. The library would keep what it has read for 10 minutes.
type tokenFile string

// Token reads the file.
func (t tokenFile) Token(context.Context) (identity.Token, error) {
	file, err := os.Open(string(t))
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "the file with the federated token cannot be opened", Err: err, Retryable: true}
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxAnswer))
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "the file with the federated token cannot be read", Err: err, Retryable: true}
	}
	return identity.Token{Value: secrets.NewValue(strings.TrimSpace(string(text)))}, nil
}
