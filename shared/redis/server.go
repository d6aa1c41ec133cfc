package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	defaultTimeout = 200 * time.Millisecond
	defaultPort    = "6379"
)

// Options describes a server.
type Options struct {
	// URL is rediss://host:port/database. The port defaults to 6379 and the database to 0. Without TLS (redis://) the host must be this
	// machine.
	URL string
	// Login returns who logs in. Nil means that nobody does. It is called for each connection, so that a new password is noticed, and keeps
	// what is costly to fetch. The text of its error has to be safe for logs.
	Login func(ctx context.Context) (Login, error)
	// Rejected, when set, is told which login the server did not take, so that the next connection does not come with the same.
	Rejected func(login Login)
	// RootCAs are whom to trust for the server's certificate. Nil means the system's.
	RootCAs *x509.CertPool
	// Own says that RootCAs vouch for this server and for nobody else, as the authority of an instance of Memorystore does. Any certificate
	// of theirs is then the server's, whichever name or address it has.
	Own bool
	// Timeout bounds each command; connecting has twice as long. Zero means 200 ms.
	Timeout time.Duration
	// Dial connects to host:port. Nil means over TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Login is a user of a server's access control list. It does not print itself.
type Login struct {
	// User is empty for the default one.
	User string
	// Password is empty where there is none. Then nobody logs in.
	Password string
}

// Format implements fmt.Formatter, for all verbs.
func (Login) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(a login)")) }

// LogValue implements slog.LogValuer.
func (Login) LogValue() slog.Value { return slog.StringValue("(a login)") }

// LoginError is that nobody could log in, because [Options.Login] failed. Its text is that of Login's error, which keeps it safe for logs.
type LoginError struct{ Err error }

func (e *LoginError) Error() string { return e.Err.Error() }
func (e *LoginError) Unwrap() error { return e.Err }

// Server is a Redis server. It is safe for concurrent use.
type Server struct {
	options  Options
	address  string // host:port
	database string // empty when it is the first
	tls      *tls.Config
}

// New returns a Server. It does not connect.
func New(options Options) (*Server, error) {
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	if options.Dial == nil {
		options.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	address, err := url.Parse(options.URL)
	if err != nil || address.Hostname() == "" || address.User != nil {
		return nil, errors.New("the address of the Redis server is not a URL of the form rediss://host:port/database")
	}
	s := &Server{options: options, address: net.JoinHostPort(address.Hostname(), port(address))}
	switch {
	case address.Scheme == "rediss":
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: address.Hostname(), RootCAs: options.RootCAs}
		if options.Own {
			if options.RootCAs == nil {
				return nil, errors.New("the authority of the Redis server's certificate is missing")
			}
			// What is skipped is done below, the name left out.
			s.tls.InsecureSkipVerify, s.tls.VerifyConnection = true, func(state tls.ConnectionState) error { return vouched(state, options.RootCAs) }
		}
	case address.Scheme != "redis":
		return nil, errors.New("the address of the Redis server does not begin with rediss://")
	case !isLoopback(address.Hostname()):
		return nil, errors.New("the Redis server is on another machine; use rediss://, which is Redis over TLS")
	}
	s.database = strings.Trim(address.Path, "/")
	if number, err := strconv.ParseUint(s.database, 10, 16); s.database != "" && err != nil {
		return nil, errors.New("the path in the address of the Redis server is not the number of a database")
	} else if number == 0 {
		s.database = ""
	}
	return s, nil
}

func port(address *url.URL) string {
	if port := address.Port(); port != "" {
		return port
	}
	return defaultPort
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// vouched returns an error unless a server's certificate comes from one of the authorities.
func vouched(state tls.ConnectionState, authorities *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has shown no certificate")
	}
	between := x509.NewCertPool()
	for _, certificate := range state.PeerCertificates[1:] {
		between.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: authorities, Intermediates: between})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// Connect opens a connection.
func (s *Server) Connect(ctx context.Context) (*Conn, error) { return s.connect(ctx, s.address) }

// Follow opens a connection to the node of the same cluster that keeps a key, if the refusal says which one and it may be followed; otherwise
// both results are nil. That node has to prove the same name: it gets the password.
func (s *Server) Follow(ctx context.Context, moved *Refusal) (*Conn, error) {
	if !s.mayFollow(moved) {
		return nil, nil
	}
	address := moved.Address
	// An empty host is that of the node which answers.
	if host, port, _ := net.SplitHostPort(address); host == "" {
		own, _, err := net.SplitHostPort(s.address)
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(own, port)
	}
	return s.connect(ctx, address)
}

// mayFollow reports whether a cluster's answer that the key is elsewhere can be followed. Without TLS nothing leaves this machine.
func (s *Server) mayFollow(moved *Refusal) bool {
	host, _, err := net.SplitHostPort(moved.Address)
	if err != nil {
		return false
	}
	return s.tls != nil || host == "" || !strings.EqualFold(host, "localhost") && isLoopback(host)
}

func (s *Server) connect(ctx context.Context, address string) (*Conn, error) {
	var login Login
	if s.options.Login != nil {
		var err error
		if login, err = s.options.Login(ctx); err != nil {
			return nil, &LoginError{err}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.options.Timeout)
	defer cancel()
	conn, err := s.options.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if s.tls != nil {
		secure := tls.Client(conn, s.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secure
	}
	c := newConn(conn)
	if err := s.greet(ctx, c, login); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (s *Server) greet(ctx context.Context, c *Conn, login Login) error {
	if login.Password != "" {
		command := []string{"AUTH", login.Password}
		if login.User != "" {
			command = []string{"AUTH", login.User, login.Password}
		}
		_, err := c.Do(ctx, command...)
		if refused, ok := errors.AsType[*Refusal](err); ok && refused.Code == "WRONGPASS" && s.options.Rejected != nil {
			s.options.Rejected(login)
		}
		if err != nil {
			return err
		}
	}
	if s.database == "" {
		return nil
	}
	_, err := c.Do(ctx, "SELECT", s.database)
	return err
}

// Do sends one command over a connection, within its own short time.
func (s *Server) Do(ctx context.Context, c *Conn, command ...string) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	return c.Do(ctx, command...)
}
