// Package sts is a stand-in for AWS's Security Token Service, API version 2011-06-15: GetCallerIdentity, AssumeRole,
// AssumeRoleWithWebIdentity and GetWebIdentityToken, for callers whose signature or token is right
// (https://docs.aws.amazon.com/STS/latest/APIReference/).
//
// It issues credentials and tokens that other stand-ins can verify, and refuses what the service refuses: a trust policy that does not
// hold, a chained session of more than an hour, a session tag that is not allowed. It is stricter in one thing: a parameter that the
// operation does not have is an error, where the service would ignore a misspelt one.
//
// The package must not know how the gateway asks.
package sts

import (
	"io"
	"net/http"
	"sync"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awsquery"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	version   = "2011-06-15"
	namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	// maxBody is far above what any STS request needs.
	maxBody = 256 << 10
)

// Options describes the accounts that the service knows.
type Options struct {
	// Keys finds credentials that come from elsewhere: long-term keys, and those that a platform gives its functions.
	Keys awsauth.Lookup
	// Region is the one that requests must be signed for.
	Region string
	// Roles are the roles that can be assumed.
	Roles []Role
	// Issuers finds the keys of the identity providers whose tokens roles may trust. Nil means that there is none.
	Issuers jwtauth.KeySets
	// Outbound is the account's outbound web identity federation. Nil means that it is not enabled.
	Outbound *Outbound
}

// Server answers for one region. It is safe for concurrent use.
type Server struct {
	// Faults makes the service misbehave, and counts all its requests.
	Faults fault.Injector

	options Options

	mu       sync.Mutex
	sessions map[string]Session
	calls    map[string]int
}

// New returns a Server that knows no roles. It accepts the keys that are found by the lookup, signed for the region.
func New(keys awsauth.Lookup, region string) *Server {
	return NewWith(Options{Keys: keys, Region: region})
}

// NewWith returns a Server.
func NewWith(options Options) *Server {
	return &Server{options: options, sessions: map[string]Session{}, calls: map[string]int{}}
}

// Lookup finds credentials: those that were issued here, and those from elsewhere. It is an awsauth.Lookup.
func (s *Server) Lookup(accessKeyID string) (awsauth.Key, bool) {
	s.mu.Lock()
	session, ok := s.sessions[accessKeyID]
	s.mu.Unlock()
	if ok {
		return session.Key, true
	}
	return s.options.Keys(accessKeyID)
}

// Calls returns how many requests for an operation had a good signature, or needed none.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

func protocol() awsquery.Service { return awsquery.Service{Version: version, Namespace: namespace} }

// operation is what the service can do. Only one that needs no signature is called without a key.
type operation struct {
	parameters []string
	unsigned   bool
	run        func(s *Server, call call) (any, error)
}

// call is one request that may be answered.
type call struct {
	form awsquery.Parameters
	key  awsauth.Key
}

func operations() map[string]operation {
	return map[string]operation{
		"GetCallerIdentity": {run: (*Server).callerIdentity},
		"AssumeRole": {run: (*Server).assumeRole, parameters: []string{"RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId", "SourceIdentity",
			"Tags.member.#.Key", "Tags.member.#.Value", "TransitiveTagKeys.member.#"}},
		"AssumeRoleWithWebIdentity": {run: (*Server).assumeRoleWithWebIdentity, unsigned: true, parameters: []string{"RoleArn", "RoleSessionName", "DurationSeconds", "WebIdentityToken"}},
		"GetWebIdentityToken": {run: (*Server).webIdentityToken, parameters: []string{"Audience.member.#", "DurationSeconds", "SigningAlgorithm",
			"Tags.member.#.Key", "Tags.member.#.Value"}},
	}
}

// ServeHTTP answers one request in the query protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Faults.Handle(w, r) {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		protocol().Refuse(w, awsquery.Refused(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request too large"))
		return
	}
	if r.URL.Path != "/" {
		protocol().Refuse(w, awsquery.Refused(http.StatusNotFound, "InvalidAction", "Could not find operation at this path"))
		return
	}
	form, ok := awsquery.Form(r, body)
	if !ok {
		protocol().Refuse(w, awsquery.Refused(http.StatusBadRequest, "MalformedQueryString", "The request is not a form"))
		return
	}
	name := form.Get("Action")
	chosen, known := operations()[name]
	known = known && form.Get("Version") == version
	in := call{form: form}
	if !known || !chosen.unsigned {
		// The signature comes first: who is not known learns nothing about what the service can do.
		if in.key, err = (awsauth.Verifier{Keys: s.Lookup, Service: "sts", Region: s.options.Region}).Verify(r, body); err != nil {
			awsauth.WriteQuery(w, err)
			return
		}
	}
	if !known {
		protocol().Refuse(w, awsquery.Unknown(name, form.Get("Version")))
		return
	}
	s.mu.Lock()
	s.calls[name]++
	s.mu.Unlock()
	if err := in.form.Only(chosen.parameters); err != nil {
		protocol().Refuse(w, err)
		return
	}
	result, err := chosen.run(s, in)
	if err != nil {
		protocol().Refuse(w, err)
		return
	}
	protocol().Reply(w, name, result)
}

type callerIdentity struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}

func (s *Server) callerIdentity(in call) (any, error) {
	return callerIdentity{in.key.ARN, in.key.UserID, in.key.Account}, nil
}
