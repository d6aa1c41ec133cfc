package exchange

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-ai/postern/shared/identity"
)

const (
	ok = http.StatusOK
	// maxReply bounds what is read of an answer, in bytes. Tokens are far shorter, and so are the descriptions of servers.
	maxReply = 64 << 10
	// maxRest is the longest that a server's wish to be left alone is respected. It may be mistaken about it, or its clock may be.
	maxRest = 5 * time.Minute

	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// Server is an authorization server. Exactly one of TokenEndpoint and Issuer is set.
type Server struct {
	// TokenEndpoint is where tokens are asked for: an https URL, or http on this machine. It may have a query (RFC 6749 section 3.2).
	TokenEndpoint string
	// Issuer is the server's identifier. Where tokens are asked for is then found out from its description (OpenID Connect Discovery 1.0,
	// or else RFC 8414), which is fetched when it is needed and used for an hour.
	//
	// The description must name exactly this issuer, and its endpoint must be on the issuer's host or on a host beneath that one; a port
	// does not count. Credentials for one server can so not be drawn to another by whoever can change a description.
	Issuer string
	// EndpointHosts are further hosts where the issuer's token endpoint may be: the issuer of Amazon Cognito's user pools, for one, is on
	// another host than their endpoint.
	EndpointHosts []string
	// RootCAs are trusted in place of the system's, for a server within a private network.
	RootCAs *x509.CertPool
	// HTTP sends the requests, with redirects and cookies switched off whatever it says. Nil means a client of its own, which uses no
	// proxy and keeps no connections: tokens are fetched about once an hour, and by then a kept one would be dead.
	HTTP *http.Client
}

// server is a Server in use.
type server struct {
	fixed     *url.URL   // nil when discovery finds it
	discovery *discovery // nil when fixed
	http      *http.Client
	roots     *x509.CertPool
	mutualTLS bool
	restUntil atomic.Int64 // Unix milliseconds: before this, the server wants no request
}

// place is where and how a request is sent.
type place struct {
	url    *url.URL
	name   string // for errors
	issuer string // empty when it is not known
	// methods are the ways to authenticate that the server says it knows, as far as they are known here. Empty when it does not say.
	methods []string
}

func newServer(options Server, auth ClientAuth) (*server, error) {
	s := &server{http: options.HTTP, roots: options.RootCAs}
	_, s.mutualTLS = auth.(Certificate)
	switch {
	case options.HTTP != nil && (s.mutualTLS || options.RootCAs != nil):
		return nil, errors.New("an HTTP client of your own brings its own certificates; set one or the other")
	case s.http == nil:
		s.http = newClient(options.RootCAs, nil)
	default:
		s.http = isolated(s.http)
	}
	var err error
	switch {
	case (options.TokenEndpoint == "") == (options.Issuer == ""):
		return nil, errors.New("set either the token endpoint or the issuer")
	case options.TokenEndpoint != "":
		if s.fixed, err = parseURL(options.TokenEndpoint); err != nil {
			return nil, fmt.Errorf("token endpoint: %w", err)
		}
	default:
		if s.discovery, err = newDiscovery(options, s.http); err != nil {
			return nil, fmt.Errorf("issuer: %w", err)
		}
	}
	return s, nil
}

// newClient returns a client for token endpoints.
func newClient(roots *x509.CertPool, certificate *tls.Certificate) *http.Client {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if certificate != nil {
		// The certificate is shown whatever authorities the server names: for a self-signed one (RFC 8705 section 2.2) it can name none.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return isolated(&http.Client{Transport: &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    2 * time.Second,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxReply,
	}})
}

// isolated returns a copy of a client that takes a request nowhere else and brings nothing along.
func isolated(client *http.Client) *http.Client {
	alone := *client
	alone.Jar = nil
	alone.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &alone
}

// parseURL parses an address that secrets will be sent to.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" || len(text) > 2048 || !printable(text) || strings.Trim(u.Host, hostCharacters) != "" {
		return nil, errors.New("this is not a URL")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("the URL must not hold a user name or password")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, errors.New("the URL must not have a fragment")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, errors.New("the URL must be https, or http on this machine")
	}
	return u, nil
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// locate finds the token endpoint.
func (s *server) locate(ctx context.Context) (place, error) {
	if s.discovery == nil {
		return place{url: s.fixed, name: "the token endpoint at " + s.fixed.Host}, nil
	}
	known, err := s.discovery.find(ctx)
	if err != nil {
		return place{}, err
	}
	at := known.endpoint
	if s.mutualTLS && known.mutualTLS != nil {
		at = known.mutualTLS
	}
	return place{url: at, name: "the token endpoint at " + at.Host, issuer: s.discovery.issuer, methods: known.methods}, nil
}

// call is one request to a token endpoint while it is put together: a form, unless there is a body.
type call struct {
	to          place
	clientID    string
	form        url.Values
	body        []byte
	header      http.Header
	certificate *tls.Certificate
	signed      bool // it carries a token whose dates are judged by the server's clock
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
	began  time.Time     // before the request, by the wall clock
	behind time.Duration // how far this machine's clock is behind the server's, where that matters
}

// post sends a call. Its errors are *identity.Error.
func (s *server) post(ctx context.Context, c *call) (*reply, error) {
	kind, body := jsonType, c.body
	if body == nil {
		kind, body = formType, []byte(c.form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.to.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, &identity.Error{Public: c.to.name + " is not an address", Err: err}
	}
	for name, values := range c.header {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", kind)
	client := s.http
	if c.certificate != nil {
		client = newClient(s.roots, c.certificate)
	}
	got, err := send(client, request, c.to.name)
	if problem, failed := errors.AsType[*identity.Error](err); failed {
		if c.certificate != nil && problem.Retryable {
			// A server that does not accept a certificate breaks the connection off, which looks like any other end of one.
			problem.Public += ", or does not accept the client certificate"
		}
		return nil, problem
	}
	if !c.signed {
		got.behind = 0
	}
	return got, nil
}

// send sends one request, once: trying again is for whoever holds the old token and knows how much time is left.
func send(client *http.Client, request *http.Request, name string) (*reply, error) {
	ctx := request.Context()
	request.Header.Set("Accept", jsonType)
	began := time.Now().Round(0)
	response, err := client.Do(request)
	if err != nil {
		return nil, unreached(ctx, err, name)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	if err != nil {
		return nil, unreached(ctx, err, name)
	}
	if len(body) > maxReply {
		return nil, &identity.Error{Public: fmt.Sprintf("%s answered with more than %d bytes; check that it is one", name, maxReply)}
	}
	got := &reply{status: response.StatusCode, header: response.Header, body: body, began: began}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		got.behind = date.Sub(time.Now().Round(0)).Round(time.Second)
	}
	return got, nil
}

// unreached is the error for a server that gave no answer.
func unreached(ctx context.Context, err error, name string) error {
	if ended := ctx.Err(); ended != nil {
		return &identity.Error{Public: name + " does not answer", Err: errors.Join(ended, err), Retryable: true}
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return &identity.Error{Public: name + " cannot be reached", Err: err, Retryable: !untrusted}
}

// gone reports whether the endpoint seems to have moved.
func (r *reply) gone() bool {
	return r.status == http.StatusNotFound || r.status == http.StatusGone || r.status/100 == 3
}
