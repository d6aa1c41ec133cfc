// Package managedredis stands in for the Redis servers that the clouds run, as far as they differ from others: in who may log in. What is
// done after that is another server's, to which the connection is passed on.
//
// The rules are from the vendors' documentation:
//   - ElastiCache: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
//   - Memorystore for Valkey: https://cloud.google.com/memorystore/docs/valkey/about-iam-auth
//   - Azure Managed Redis: https://learn.microsoft.com/azure/redis/entra-for-authentication
//
// The package must not know how the gateway logs in.
package managedredis

import (
	"bufio"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
)

// Admit decides about a user's name, which is "default" when none was given, and a password. The error is for the test's eyes.
type Admit func(user, password string) error

// ElastiCache admits the users of a cache who log in with IAM.
type ElastiCache struct {
	// Verifier is for the service elasticache.
	Verifier   awsauth.Verifier
	Cache      string
	Serverless bool
	// Users are the ARNs of who may connect, by the users as whom.
	Users map[string]string
}

// Admit takes a signed request to connect for a password.
func (e ElastiCache) Admit(user, password string) error {
	signed, err := url.Parse("http://" + password)
	if err != nil || signed.Path != "/" {
		return errors.New("the password is no URL without its scheme")
	}
	query := signed.Query()
	kind := ""
	if e.Serverless {
		kind = "ServerlessCache"
	}
	switch {
	case signed.Host != e.Cache:
		return fmt.Errorf("the request is for the cache %q", signed.Host)
	case query.Get("Action") != "connect" || query.Get("User") != user || query.Get("ResourceType") != kind:
		return errors.New("the request is not one to connect to this kind of cache as this user")
	case query.Get("X-Amz-Expires") != "900":
		return errors.New("the request is not valid for 15 minutes")
	}
	key, err := e.Verifier.VerifyURL(signed)
	if err != nil {
		return err
	}
	if arn, ok := e.Users[user]; !ok || subtle.ConstantTimeCompare([]byte(arn), []byte(key.ARN)) != 1 {
		return fmt.Errorf("%s may not connect as %q", key.ARN, user)
	}
	return nil
}

// Memorystore admits whoever has a valid access token, as the default user.
func Memorystore(valid func(token string) bool) Admit {
	return func(user, password string) error {
		if user != "default" || !valid(password) {
			return errors.New("the user is not the default one, or the token is not valid")
		}
		return nil
	}
}

// Azure admits the holder of a valid token for the service who gives its object id.
func Azure(object string, valid func(token, resource string) bool) Admit {
	return func(user, password string) error {
		if user != object || !valid(password, "https://redis.azure.com") {
			return errors.New("the user is not the object id of an assignment, or the token is not valid for the service")
		}
		return nil
	}
}

// Server stands in front of another server.
type Server struct {
	admit  Admit
	behind string
	listen net.Listener

	mu      sync.Mutex
	refused []error
	logins  int
}

// Serve begins to serve on loopback, until the server is closed.
func Serve(admit Admit, behind string) (*Server, error) {
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{admit: admit, behind: behind, listen: listen}
	go func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s, nil
}

// Addr is host:port.
func (s *Server) Addr() string { return s.listen.Addr().String() }

// Close ends the server, and lets its connections end by themselves.
func (s *Server) Close() error { return s.listen.Close() }

// Logins returns how many have logged in, and why others have not.
func (s *Server) Logins() (int, []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins, append([]error(nil), s.refused...)
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		words, err := command(in)
		if err != nil {
			return
		}
		reply, ok := s.login(words)
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
		if ok {
			break
		}
	}
	behind, err := net.Dial("tcp", s.behind)
	if err != nil {
		return
	}
	defer behind.Close()
	go func() {
		defer conn.Close()
		_, _ = io.Copy(conn, behind)
	}()
	_, _ = io.Copy(behind, in)
}

// login answers a command of somebody who has not logged in.
func (s *Server) login(words []string) (reply string, ok bool) {
	if !strings.EqualFold(words[0], "AUTH") || len(words) < 2 || len(words) > 3 {
		return "-NOAUTH Authentication required.\r\n", false
	}
	user := "default"
	if len(words) == 3 {
		user = words[1]
	}
	err := s.admit(user, words[len(words)-1])
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refused = append(s.refused, err)
		return "-WRONGPASS invalid username-password pair or user is disabled.\r\n", false
	}
	s.logins++
	return "+OK\r\n", true
}

// command reads one command, which is a list of values (https://redis.io/docs/latest/develop/reference/protocol-spec/).
func command(in *bufio.Reader) ([]string, error) {
	count, err := number(in, '*', 8)
	if err != nil {
		return nil, err
	}
	words := make([]string, count)
	for i := range words {
		size, err := number(in, '$', 64<<10)
		if err != nil {
			return nil, err
		}
		value := make([]byte, size+2)
		if _, err := io.ReadFull(in, value); err != nil {
			return nil, err
		}
		words[i] = string(value[:size])
	}
	return words, nil
}

// number reads a line that begins with a mark, and has a number from 1 to the most.
func number(in *bufio.Reader, mark byte, most int) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok || text == "" || text[0] != mark {
		return 0, errors.New("not a command")
	}
	n, err := strconv.Atoi(text[1:])
	if err != nil || n < 1 || n > most {
		return 0, errors.New("not a length")
	}
	return n, nil
}
