package oauth

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// maxAssertion is the longest life of a client's own assertion.
	maxAssertion = 5 * time.Minute
)

// authenticate finds the client of a request and checks that it is the one (RFC 6749 section 2.3).
func (s *Server) authenticate(r *http.Request, form url.Values) (Client, *failure) {
	credentials, method, problem := s.presented(r, form)
	if problem != nil {
		return Client{}, problem
	}
	client, found := s.client(credentials.id)
	if !found {
		return Client{}, refuse("invalid_client", "there is no such client")
	}
	if client.Method != method && (client.Method != SelfSignedTLS && client.Method != TLS || method != Public) {
		return Client{}, refuse("invalid_client", fmt.Sprintf("the client is registered for %s and came with %s", client.Method, method))
	}
	var err error
	switch client.Method {
	case SecretBasic, SecretPost:
		if client.Secret == "" || subtle.ConstantTimeCompare([]byte(client.Secret), []byte(credentials.secret)) != 1 {
			err = errors.New("the secret is wrong")
		}
	case PrivateKeyJWT:
		err = s.checkAssertion(client, credentials.assertion)
	case TLS, SelfSignedTLS:
		err = s.checkCertificate(client, r)
	case Public:
	default:
		err = errors.New("the client has no method")
	}
	if err != nil {
		return Client{}, refuse("invalid_client", err.Error())
	}
	return client, nil
}

func (s *Server) client(id string) (Client, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.options.Clients, func(c Client) bool { return c.ID == id })
	if at < 0 {
		return Client{}, false
	}
	return s.options.Clients[at], true
}

type presented struct{ id, secret, assertion string }

// presented reads what the client shows. There must be one thing only: a client must not use more than one method in a request.
func (s *Server) presented(r *http.Request, form url.Values) (presented, string, *failure) {
	var methods []string
	var got presented
	if header := r.Header.Values("Authorization"); len(header) > 0 {
		methods = append(methods, SecretBasic)
		var err error
		if got.id, got.secret, err = basic(header); err != nil {
			return got, methodNotFound, refuse("invalid_client", err.Error())
		}
	}
	if form.Has("client_secret") {
		methods = append(methods, SecretPost)
		got.secret = form.Get("client_secret")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		methods = append(methods, PrivateKeyJWT)
		got.assertion = form.Get("client_assertion")
		if form.Get("client_assertion_type") != assertionType || got.assertion == "" {
			return got, methodNotFound, refuse("invalid_request", "the assertion or its type is missing or not known")
		}
	}
	switch {
	case len(methods) > 1:
		return got, methodNotFound, refuse("invalid_request", "more than one method of client authentication")
	case len(methods) == 1 && methods[0] == PrivateKeyJWT && form.Get("client_id") == "":
		// The assertion's subject says who it is from (RFC 7521 section 4.2). It is verified later.
		got.id = unverifiedSubject(got.assertion)
		return got, PrivateKeyJWT, nil
	case len(methods) == 1 && methods[0] == SecretBasic:
		if form.Has("client_id") && form.Get("client_id") != got.id {
			return got, methodNotFound, refuse("invalid_request", "two client ids")
		}
		return got, SecretBasic, nil
	}
	got.id = form.Get("client_id")
	if got.id == "" {
		return got, methodNotFound, refuse("invalid_client", "no client")
	}
	if len(methods) == 0 {
		return got, Public, nil
	}
	return got, methods[0], nil
}

// basic reads the header of RFC 6749 section 2.3.1: both parts are form-encoded.
func basic(header []string) (id, secret string, err error) {
	scheme, text, _ := strings.Cut(header[0], " ")
	if len(header) != 1 || !strings.EqualFold(scheme, "Basic") {
		return "", "", errors.New("the Authorization header is not Basic")
	}
	pair, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", "", errors.New("the Authorization header is not base64")
	}
	rawID, rawSecret, found := strings.Cut(string(pair), ":")
	if !found || strings.Contains(rawSecret, ":") {
		return "", "", errors.New("the Authorization header does not hold one colon")
	}
	if id, err = url.QueryUnescape(rawID); err != nil {
		return "", "", errors.New("the client id is not form-encoded")
	}
	if secret, err = url.QueryUnescape(rawSecret); err != nil {
		return "", "", errors.New("the client secret is not form-encoded")
	}
	return id, secret, nil
}

func unverifiedSubject(assertion string) string {
	parsed, err := jwt.ParseSigned(assertion, Algorithms())
	if err != nil {
		return ""
	}
	var claims jwt.Claims
	if parsed.UnsafeClaimsWithoutVerification(&claims) != nil {
		return ""
	}
	return claims.Subject
}

// checkAssertion checks what stands for the client (RFC 7523 section 3).
func (s *Server) checkAssertion(client Client, assertion string) error {
	if client.Federated != nil {
		return client.Federated.check(assertion)
	}
	claims, err := verify(assertion, client.Keys, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return err
	}
	now := time.Now()
	switch {
	case claims.Issuer != client.ID || claims.Subject != client.ID:
		return errors.New("issuer and subject must be the client id")
	case len(claims.Audience) != 1 || claims.Audience[0] != s.options.URL && claims.Audience[0] != s.TokenURL():
		return errors.New("the audience must be this server alone")
	case claims.ID == "":
		return errors.New("the id is missing")
	case claims.IssuedAt != nil && claims.IssuedAt.Time().After(now.Add(leeway)):
		return errors.New("the time of issue has not come yet")
	}
	if err := claims.inTime(now); err != nil {
		return err
	}
	if claims.Expiry.Time().After(now.Add(maxAssertion + leeway)) {
		return errors.New("it lives too long")
	}
	return s.once(client.ID+" "+claims.ID, claims.Expiry.Time().Add(leeway))
}

// once refuses an id that has been used before.
func (s *Server) once(id string, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for old, end := range s.used {
		if now.After(end) {
			delete(s.used, old)
		}
	}
	if _, used := s.used[id]; used {
		return errors.New("it has been used before")
	}
	s.used[id] = until
	return nil
}

func (f Federated) check(token string) error {
	claims, err := f.Verify(token)
	switch {
	case err != nil:
		return err
	case claims.Subject != f.Subject:
		return fmt.Errorf("the subject is %q, not %q", claims.Subject, f.Subject)
	case len(claims.Audience) != 1 || claims.Audience[0] != f.Audience:
		return fmt.Errorf("the audience is %q, not %q", claims.Audience, f.Audience)
	}
	return nil
}

// checkCertificate checks the certificate of the connection (RFC 8705 section 2).
func (s *Server) checkCertificate(client Client, r *http.Request) error {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errors.New("there is no client certificate")
	}
	shown := r.TLS.PeerCertificates[0]
	if client.Method == SelfSignedTLS {
		if client.Certificate == nil || !shown.Equal(client.Certificate) {
			return errors.New("the certificate is not the registered one")
		}
		return nil
	}
	chain := x509.NewCertPool()
	for _, certificate := range r.TLS.PeerCertificates[1:] {
		chain.AddCert(certificate)
	}
	if s.options.ClientCAs == nil {
		return errors.New("no authority for client certificates is known")
	}
	_, err := shown.Verify(x509.VerifyOptions{Roots: s.options.ClientCAs, Intermediates: chain, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	switch {
	case err != nil:
		return err
	case client.SubjectDN == "" || shown.Subject.String() != client.SubjectDN:
		return fmt.Errorf("the certificate's subject is %q", shown.Subject)
	}
	return nil
}
