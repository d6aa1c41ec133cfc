// Package iam is a stand-in for AWS Identity and Access Management, API version 2010-05-08, as far as the keys of users go: access keys, and
// the credentials of users for one service, of which Amazon Bedrock's long-term API keys are some
// (https://docs.aws.amazon.com/IAM/latest/APIReference/).
//
// The keys that it makes can be used with other stand-ins: [Server.Lookup] finds access keys for those that verify signatures, and
// [Server.FoundationModels] is the one call of Bedrock that tells good API keys from bad ones. A new key may take a while to be known there, as
// it does in AWS.
//
// The package must not know how the gateway rotates keys.
package iam

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awsquery"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	version   = "2010-05-08"
	namespace = "https://iam.amazonaws.com/doc/2010-05-08/"
	maxBody   = 64 << 10
	// maxKeys is how many access keys a user may have, and how many credentials for each service
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
	maxKeys = 2
)

// Options describes the account, its users and who may do what.
type Options struct {
	// Keys finds the credentials of those who call IAM, besides the users' own.
	Keys awsauth.Lookup
	// Account owns the users. Empty means 123456789012.
	Account string
	// Users are the names of the users. They have no keys yet.
	Users []string
	// Region is the one that requests have to be signed for. Empty means us-east-1, which is that of IAM outside China and GovCloud.
	Region string
	// Late is how many times a new key is not accepted where it is used, because it is not known there yet.
	Late int
	// Page is how many keys a list holds at most. Zero means 100.
	Page int
	// Allow decides whether a key may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Key awsauth.Key
	// Action is a permission, such as iam:CreateAccessKey.
	Action string
	// User is the user whom it is about.
	User string
}

// Server holds the users of one account. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by names such as CreateAccessKey. ListFoundationModels is that of Bedrock.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	users   map[string]*user
	// order numbers the keys, so that lists are in the order of their making.
	order int
}

type user struct {
	name     string
	id       string
	keys     map[string]*accessKey
	services map[string]*serviceCredential
}

// standing is what both kinds of keys have.
type standing struct {
	order   int
	created time.Time
	// status is Active or Inactive.
	status string
	// late is how many times more it is not accepted.
	late int
}

// known reports whether a key is accepted where it is used.
func (s *standing) known() bool {
	if s.late > 0 {
		s.late--
		return false
	}
	return s.status == active
}

// The states of a key.
const (
	active   = "Active"
	inactive = "Inactive"
	expired  = "Expired"
)

// New returns a Server.
func New(options Options) *Server {
	if options.Account == "" {
		options.Account = "123456789012"
	}
	if options.Region == "" {
		options.Region = "us-east-1"
	}
	if options.Page == 0 {
		options.Page = 100
	}
	s := &Server{options: options, users: map[string]*user{}}
	for _, name := range options.Users {
		s.users[name] = &user{name: name, id: "AIDA" + identifier(), keys: map[string]*accessKey{}, services: map[string]*serviceCredential{}}
	}
	return s
}

func protocol() awsquery.Service { return awsquery.Service{Version: version, Namespace: namespace} }

// operation is what the service can do.
type operation struct {
	parameters []string
	run        func(c *call) (any, error)
}

func operations() map[string]operation {
	return map[string]operation{
		"CreateAccessKey":                 {[]string{"UserName"}, (*call).createAccessKey},
		"ListAccessKeys":                  {[]string{"UserName", "Marker", "MaxItems"}, (*call).listAccessKeys},
		"UpdateAccessKey":                 {[]string{"UserName", "AccessKeyId", "Status"}, (*call).updateAccessKey},
		"DeleteAccessKey":                 {[]string{"UserName", "AccessKeyId"}, (*call).deleteAccessKey},
		"GetAccessKeyLastUsed":            {[]string{"AccessKeyId"}, (*call).accessKeyLastUsed},
		"CreateServiceSpecificCredential": {[]string{"UserName", "ServiceName", "CredentialAgeDays"}, (*call).createServiceCredential},
		"ListServiceSpecificCredentials":  {[]string{"UserName", "ServiceName", "Marker", "MaxItems"}, (*call).listServiceCredentials},
		"UpdateServiceSpecificCredential": {[]string{"UserName", "ServiceSpecificCredentialId", "Status"}, (*call).updateServiceCredential},
		"DeleteServiceSpecificCredential": {[]string{"UserName", "ServiceSpecificCredentialId"}, (*call).deleteServiceCredential},
		"ResetServiceSpecificCredential":  {[]string{"UserName", "ServiceSpecificCredentialId"}, (*call).resetServiceCredential},
	}
}

// ServeHTTP answers one request in the query protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		protocol().Refuse(w, awsquery.Refused(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request too large"))
		return
	}
	form, ok := awsquery.Form(r, body)
	if !ok || r.URL.Path != "/" {
		protocol().Refuse(w, awsquery.Refused(http.StatusBadRequest, "MalformedQueryString", "The request is not a form"))
		return
	}
	name := form.Get("Action")
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, incoming{name: name, form: form, body: body})
	}, name)(w, r)
}

type incoming struct {
	name string
	form awsquery.Parameters
	body []byte
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, in incoming) {
	// The signature comes first: who is not known learns nothing about what there is.
	key, err := awsauth.Verifier{Keys: s.caller, Service: "iam", Region: s.options.Region}.Verify(r, in.body)
	if err != nil {
		awsauth.WriteQuery(w, err)
		return
	}
	chosen, known := operations()[in.name]
	if !known || in.form.Get("Version") != version {
		protocol().Refuse(w, awsquery.Unknown(in.name, in.form.Get("Version")))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{server: s, key: key, form: in.form, operation: in.name}
	if err = c.form.Only(chosen.parameters); err == nil {
		err = c.admit()
	}
	var result any
	if err == nil {
		result, err = chosen.run(c)
	}
	if err != nil {
		protocol().Refuse(w, err)
		return
	}
	protocol().Reply(w, in.name, result)
}

// caller finds the credentials of a caller.
func (s *Server) caller(id string) (awsauth.Key, bool) {
	if s.options.Keys != nil {
		if key, ok := s.options.Keys(id); ok {
			return key, true
		}
	}
	return s.Lookup(id)
}

// call is one verified request. The server's lock is held while it runs.
type call struct {
	server    *Server
	key       awsauth.Key
	form      awsquery.Parameters
	operation string
	user      *user
}

// admit finds the user whom the request is about. Who may not do it does not learn whether there is one.
func (c *call) admit() error {
	name, err := c.form.Text("UserName", awsquery.Constraint{Min: 1, Max: 64, Pattern: userName})
	if err != nil {
		return err
	}
	if c.operation == "GetAccessKeyLastUsed" {
		name = c.owner()
	}
	access := Access{Key: c.key, Action: "iam:" + c.operation, User: name}
	if c.server.options.Allow != nil && !c.server.options.Allow(access) {
		return awsquery.Refused(http.StatusForbidden, "AccessDenied", "User: "+c.key.ARN+" is not authorized to perform: "+access.Action+
			" on resource: user "+name+" because no identity-based policy allows the "+access.Action+" action")
	}
	if c.user = c.server.users[name]; c.user == nil && c.operation != "GetAccessKeyLastUsed" {
		return awsquery.Refused(http.StatusNotFound, "NoSuchEntity", "The user with name "+name+" cannot be found.")
	}
	return nil
}

// page is the part of a list that a request asks for, between two numbers.
func (c *call) page(length int) (from, to int, err error) {
	size, err := c.form.Number("MaxItems", 1, 1000, c.server.options.Page)
	if err != nil {
		return 0, 0, err
	}
	from, err = c.form.Number("Marker", 0, length, 0)
	return from, min(from+size, length), err
}

// state reads the status that a key is to have.
func (c *call) state() (string, error) {
	status, err := c.form.Text("Status", awsquery.Constraint{Required: true, Min: 1, Max: 16})
	switch {
	case err != nil:
		return "", err
	case status == expired:
		return "", awsquery.Refused(http.StatusBadRequest, "InvalidInput", "A key cannot be made to expire")
	case status != active && status != inactive:
		return "", awsquery.Invalid("1 validation error detected: Value at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive, Expired]")
	}
	return status, nil
}

func (c *call) begin() standing {
	c.server.order++
	return standing{order: c.server.order, created: time.Now().UTC().Truncate(time.Second), status: active, late: c.server.options.Late}
}
