// Package secretsmanager is a stand-in for AWS Secrets Manager, API version 2017-10-17
// (https://docs.aws.amazon.com/secretsmanager/latest/apireference/). It keeps the rules on which a rotation rests: a version's id is the
// token of the request that made it, a version is written once, and a staging label moves only for who knows where it is. Rotations of the
// service's own begin when they are asked for, and never by the clock.
//
// The package must not know how the gateway reads, or how it rotates.
package secretsmanager

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	targetPrefix = "secretsmanager."
	contentType  = "application/x-amz-json-1.1"
	// maxBody holds a secret of 64 KiB however it is escaped.
	maxBody = 1 << 20
)

// Options describes the account and the region.
type Options struct {
	// Keys finds the credentials of the callers.
	Keys awsauth.Lookup
	// Region is the region that requests have to be signed for. Empty means eu-central-1.
	Region string
	// Account owns the secrets. Empty means 123456789012.
	Account string
	// Allow decides whether a key may do something. Nil means that all may do everything.
	Allow func(access Access) bool
	// Rotate is the rotation function, which is called once per step and again when it fails, in the way of an asynchronous invocation. Nil
	// means that there is none that may be invoked.
	Rotate func(ctx context.Context, event Event) error
}

// Access is one thing that somebody wants to do.
type Access struct {
	Key awsauth.Key
	// Action is a permission, such as secretsmanager:GetSecretValue.
	Action string
	// Resource is the secret's ARN, or the name that was asked for when there is no such secret.
	Resource string
}

// Server holds the secrets of one account in one region. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by names such as GetSecretValue.
	Faults faultplan.Plan

	options  Options
	mu       sync.Mutex
	secrets  map[string]*secret // by name
	rotating sync.WaitGroup
}

// New returns a Server without secrets.
func New(options Options) *Server {
	if options.Region == "" {
		options.Region = "eu-central-1"
	}
	if options.Account == "" {
		options.Account = "123456789012"
	}
	return &Server{options: options, secrets: map[string]*secret{}}
}

// ServeHTTP answers one request in the AWS JSON 1.1 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, operation) }, operation)(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, operation string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeError(w, &problem{Code: "RequestEntityTooLargeException", Message: "Request too large", status: http.StatusRequestEntityTooLarge})
		return
	}
	// The signature comes first: who is not known learns nothing about what there is.
	key, err := awsauth.Verifier{Keys: s.options.Keys, Service: "secretsmanager", Region: s.options.Region}.Verify(r, body)
	if err != nil {
		awsauth.WriteJSON(w, err)
		return
	}
	handle, ok := s.operation(operation)
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || !ok || !strings.HasPrefix(r.Header.Get("X-Amz-Target"), targetPrefix):
		writeError(w, &problem{Code: "UnknownOperationException"})
		return
	case r.Header.Get("Content-Type") != contentType:
		writeError(w, &problem{Code: "SerializationException", Message: "the content type has to be " + contentType})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, err := handle(&call{server: s, key: key, operation: operation, body: body, now: time.Now()})
	if err != nil {
		writeError(w, err)
		return
	}
	encoded, err := json.Marshal(reply)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(encoded)
}

func (s *Server) operation(name string) (func(*call) (any, error), bool) {
	handle, ok := map[string]func(*call) (any, error){
		"CancelRotateSecret":       (*call).cancelRotateSecret,
		"CreateSecret":             (*call).createSecret,
		"DeleteSecret":             (*call).deleteSecret,
		"DescribeSecret":           (*call).describeSecret,
		"GetRandomPassword":        (*call).getRandomPassword,
		"GetSecretValue":           (*call).getSecretValue,
		"ListSecretVersionIds":     (*call).listSecretVersionIDs,
		"PutSecretValue":           (*call).putSecretValue,
		"RestoreSecret":            (*call).restoreSecret,
		"RotateSecret":             (*call).rotateSecret,
		"UpdateSecretVersionStage": (*call).updateSecretVersionStage,
	}[name]
	return handle, ok
}

// call is one verified request. The server's lock is held while it runs.
type call struct {
	server    *Server
	key       awsauth.Key
	operation string
	body      []byte
	now       time.Time
}

// read decodes the request. Members that the service does not know are ignored, as they are there; a name in another case is unknown.
func (c *call) read(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return &problem{Code: "SerializationException", Message: "the body is not a JSON object with members of the right types"}
	}
	return nil
}

// find returns a secret that the caller may do this with. Whether it exists is not told to who may not.
func (c *call) find(id string) (*secret, error) {
	if len(id) < 1 || len(id) > 2048 {
		return nil, invalid("SecretId must have 1 to 2048 characters.")
	}
	found := c.server.lookup(id)
	resource := id
	if found != nil {
		resource = found.arn
	}
	if err := c.allowed(resource); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, &problem{Code: "ResourceNotFoundException", Message: "Secrets Manager can't find the specified secret."}
	}
	return found, nil
}

func (c *call) allowed(resource string) error {
	access := Access{Key: c.key, Action: "secretsmanager:" + c.operation, Resource: resource}
	if c.server.options.Allow == nil || c.server.options.Allow(access) {
		return nil
	}
	return &problem{Code: "AccessDeniedException", Message: "User: " + c.key.ARN + " is not authorized to perform: " + access.Action +
		" on resource: " + resource + " because no identity-based policy allows the " + access.Action + " action"}
}

// lookup finds a secret by its name, its ARN, or its ARN without the random characters at the end.
func (s *Server) lookup(id string) *secret {
	if found, ok := s.secrets[id]; ok {
		return found
	}
	for _, found := range s.secrets {
		if id == found.arn || id == found.arn[:len(found.arn)-len("-AbCdEf")] {
			return found
		}
	}
	return nil
}

// problem is an error as the service reports it.
type problem struct {
	Code    string `json:"__type"`
	Message string `json:"Message,omitempty"`
	status  int    // 400 when it is not set
}

func (p *problem) Error() string { return p.Code + ": " + p.Message }

func invalid(message string) error {
	return &problem{Code: "InvalidParameterException", Message: message}
}

func writeError(w http.ResponseWriter, err error) {
	told, ok := errors.AsType[*problem](err)
	if !ok {
		told = &problem{Code: "InternalServiceError", status: http.StatusInternalServerError}
	}
	if told.status == 0 {
		told.status = http.StatusBadRequest
	}
	body, _ := json.Marshal(told)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(told.status)
	_, _ = w.Write(body)
}

// seconds is a time in this protocol.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func sorted(labels map[string]bool) []string {
	return slices.Sorted(maps.Keys(labels))
}
