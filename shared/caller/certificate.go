package caller

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// maxCertificateBytes bounds a client's certificate, as it is passed on. API Gateway and the load balancer have lower bounds.
const maxCertificateBytes = 16 << 10

// certificates reads the certificates of clients from the fronts that the document declares and this cloud has. Nil reads none.
type certificates struct {
	fronts map[string]*front
	// verified and balanced are those of Options, and never nil.
	verified func(*http.Request) (pem string, ok bool)
	balanced func(*http.Request) bool
}

// front is one that passes certificates on.
type front struct {
	admit       bool
	authorities *x509.CertPool // nil if the front's own check is enough
}

// certificate is a client's, of which the front or the document's authorities have vouched that its key was there.
type certificate struct {
	*x509.Certificate
	front string
	admit bool
}

func newCertificates(d *config.Document, o Options) *certificates {
	c := &certificates{fronts: map[string]*front{}, verified: o.Certificate, balanced: o.balanced}
	if c.verified == nil {
		c.verified = func(*http.Request) (string, bool) { return "", false }
	}
	for name, declared := range d.Fronts.CertificatesOn(o.Cloud) {
		f := &front{admit: declared.Admit}
		// Loading has made sure that there is no problem.
		if authorities, _ := config.ParseAuthorities(declared.ClientCA); len(authorities) > 0 {
			f.authorities = x509.NewCertPool()
			for _, authority := range authorities {
				f.authorities.AddCert(authority)
			}
		}
		c.fronts[name] = f
	}
	return c
}

// admit reports whether a certificate alone can name a caller here.
func (c *certificates) admit() bool {
	for _, f := range c.fronts {
		if f.admit {
			return true
		}
	}
	return false
}

// of returns the certificate that came with the request, or nil when none did.
func (c *certificates) of(r *http.Request) (*certificate, *Error) {
	if c == nil {
		return nil, nil
	}
	name, der, err := c.passedOn(r)
	if name == "" {
		return nil, nil
	}
	if err != nil {
		return nil, badCertificate(fmt.Errorf("%s: %w", name, err))
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, badCertificate(fmt.Errorf("%s: it cannot be parsed", name)) // the cause quotes it
	}
	f := c.fronts[name]
	if failure := f.check(parsed); failure != nil {
		return nil, failure
	}
	return &certificate{parsed, name, f.admit}, nil
}

// passedOn returns the certificate in DER and the front that it is from, or no name. Which front a request came through is known
// from what no client can write: the event on AWS, and on Azure that there is only one.
func (c *certificates) passedOn(r *http.Request) (name string, der []byte, err error) {
	switch {
	case c.fronts[config.FrontALB] != nil && c.balanced(r):
		text, err := onlyOne(r, headerALB)
		if text == "" && err == nil {
			return "", nil, nil
		}
		// URL-encoded PEM, save for the characters + = and /
		// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/mutual-authentication.html).
		if err == nil {
			text, err = url.PathUnescape(text)
		}
		der, problem := fromPEM(text)
		return config.FrontALB, der, first(err, problem)
	case c.fronts[config.FrontAPIGateway] != nil:
		text, ok := c.verified(r)
		if !ok {
			return "", nil, nil
		}
		der, err := fromPEM(text)
		return config.FrontAPIGateway, der, err
	case c.fronts[config.FrontAppService] != nil:
		text, err := onlyOne(r, headerAppService)
		if text == "" && err == nil {
			return "", nil, nil
		}
		// The base64 of PEM, without its lines
		// (https://learn.microsoft.com/azure/app-service/app-service-web-configure-tls-mutual-auth).
		der, problem := base64.StdEncoding.DecodeString(text)
		return config.FrontAppService, der, first(err, problem)
	}
	return "", nil, nil
}

// first returns the first error that there is.
func first(all ...error) error {
	i := slices.IndexFunc(all, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return all[i]
}

// onlyOne returns a header that has to be given once at most.
func onlyOne(r *http.Request, name string) (string, error) {
	values := r.Header[name]
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", errors.New("the header is given more than once")
	case len(values[0]) > maxCertificateBytes:
		return "", errors.New("the header is too long")
	}
	return values[0], nil
}

// fromPEM returns the first certificate of a text; API Gateway and the load balancer pass on the client's own alone.
func fromPEM(text string) ([]byte, error) {
	if len(text) > maxCertificateBytes {
		return nil, errors.New("it is too long")
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is not PEM")
	}
	return block.Bytes, nil
}

// check applies what a certificate has to be for a client to use it now.
func (f *front) check(c *x509.Certificate) *Error {
	now := wallClock()
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return &Error{Code: Expired, Public: "the client certificate is not valid at this time; get a new one"}
	}
	if f.authorities == nil {
		// The front has checked the chain. It need not have looked at what the certificate is for.
		forClients := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
		if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !forClients {
			return badCertificate(errors.New("it is not for clients"))
		}
		return nil
	}
	if _, err := c.Verify(x509.VerifyOptions{
		Roots: f.authorities, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return badCertificate(errors.New("none of the authorities of client_ca made it for a client"))
	}
	return nil
}

func badCertificate(cause error) *Error {
	return &Error{Code: BadCertificate, Public: "the client certificate is not one that this gateway accepts", Err: cause}
}

// thumbprint is how a token names the certificate that it is bound to (RFC 8705 section 3.1).
func (c *certificate) thumbprint() string {
	return hashOf(string(c.Raw))
}

// subject names whom the certificate is for: its one URI, as SPIFFE has it, or else its distinguished name. The former begins with
// a scheme, in which there can be no =, and the latter with an attribute and a =, so that neither can be spelled as the other.
func (c *certificate) subject() string {
	if len(c.URIs) == 1 && c.URIs[0].IsAbs() {
		return c.URIs[0].String()
	}
	return distinguishedName(c.RawSubject)
}

// distinguishedName is the text of a name (RFC 4514), with all its parts in their order: what [pkix.Name] makes of one leaves out all common
// names but one, and sorts. In values a comma and a plus are written as numbers, or else a * of a rule that stands for a value would also
// stand for one that spells the parts behind it. It is "" for what is no name.
func distinguishedName(raw []byte) string {
	var parts pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &parts); err != nil || len(rest) > 0 {
		return ""
	}
	text := parts.String()
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\' || i+1 == len(text):
			b.WriteByte(text[i])
			continue
		case text[i+1] == ',':
			b.WriteString(`\2C`)
		case text[i+1] == '+':
			b.WriteString(`\2B`)
		default:
			b.WriteString(text[i : i+2])
		}
		i++
	}
	return b.String()
}

// Authenticate names the caller by its certificate, if the front that passed it on is one that names callers.
func (c *certificates) Authenticate(r *http.Request) (*Principal, error) {
	found, failure := c.of(r)
	if failure != nil {
		return nil, failure
	}
	if found == nil || !found.admit {
		return nil, missing()
	}
	subject := found.subject()
	if subject == "" || len(subject) > maxSubjectBytes {
		return nil, badCertificate(errors.New("it names nobody, or by a name that is too long"))
	}
	p := &Principal{
		Method: MTLS, Issuer: config.CertificateIssuer + found.front, Subject: subject, Name: found.front + "/" + subject,
		Tenant: distinguishedName(found.RawIssuer), Expires: found.NotAfter,
	}
	if strings.HasPrefix(subject, "spiffe://") {
		p.Kind = Workload
	}
	return p, nil
}
