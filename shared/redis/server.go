package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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
	// Username is the user of the server's access control list. Empty means the default one.
	Username string
	// Password returns that user's password, or "" when there is none, as nil does. It is called for each connection, so that a new password
	// is noticed, and keeps what is costly to fetch.
	Password func(ctx context.Context) (string, error)
	// RootCAs are whom to trust for the server's certificate. Nil means the system's.
	RootCAs *x509.CertPool
	// Timeout bounds each command; connecting has twice as long. Zero means 200 ms.
	Timeout time.Duration
	// Dial connects to host:port. Nil means over TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

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
	return host == "localhost" || err == nil && ip.IsLoopback()
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
	return s.tls != nil || host == "" || host != "localhost" && isLoopback(host)
}

func (s *Server) connect(ctx context.Context, address string) (*Conn, error) {
	password := ""
	if s.options.Password != nil {
		var err error
		if password, err = s.options.Password(ctx); err != nil {
			return nil, err
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
	if err := s.greet(ctx, c, password); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (s *Server) greet(ctx context.Context, c *Conn, password string) error {
	if password != "" {
		login := []string{"AUTH", password}
		if user := s.options.Username; user != "" {
			login = []string{"AUTH", user, password}
		}
		if _, err := c.Do(ctx, login...); err != nil {
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
