// Package dynamodb is a stand-in for Amazon DynamoDB, API version 2012-08-10
// (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/), with tables of one partition key. It keeps what compare-and-swap rests on:
// conditions, reads that see the last write only if they ask for it, limits of size, and a time to live that removes an item long after
// its end.
//
// The package must not know how the gateway reads and writes.
package dynamodb

import (
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

const (
	targetPrefix = "DynamoDB_20120810."
	contentType  = "application/x-amz-json-1.0"
	errorPrefix  = "com.amazonaws.dynamodb.v20120810#"
	commonPrefix = "com.amazon.coral.service#"
	maxBody      = 1 << 20
	maxItem      = 400 << 10
	maxKey       = 2048
)

// Table describes a table whose key is one string.
type Table struct {
	Name string
	// Partition names the key. Empty means pk.
	Partition string
	// TTL names the attribute for the time to live. Empty means that there is none.
	TTL string
}

// Options describes the account, its tables and who may do what.
type Options struct {
	// Keys finds the credentials of the callers.
	Keys awsauth.Lookup
	// Region is the region that requests have to be signed for. Empty means eu-central-1.
	Region string
	// Account owns the tables. Empty means 123456789012.
	Account string
	Tables  []Table
	// Allow decides whether a key may do something. Nil means that all may do everything.
	Allow func(access Access) bool
}

// Access is one thing that somebody wants to do.
type Access struct {
	Key awsauth.Key
	// Action is a permission, such as dynamodb:GetItem.
	Action string
	// Resource is the table's ARN.
	Resource string
}

// Server holds the tables of one account in one region. It is safe for concurrent use.
type Server struct {
	// Faults makes operations misbehave, by names such as PutItem.
	Faults faultplan.Plan

	options Options
	mu      sync.Mutex
	tables  map[string]*table
}

type table struct {
	Table
	arn   string
	items map[string]*row
}

// row is an item now, and as it was before the last write: a read that is not consistent may still see that.
type row struct{ now, before item }

// New returns a Server with empty tables.
func New(options Options) *Server {
	if options.Region == "" {
		options.Region = "eu-central-1"
	}
	if options.Account == "" {
		options.Account = "123456789012"
	}
	s := &Server{options: options, tables: map[string]*table{}}
	for _, t := range options.Tables {
		if t.Partition == "" {
			t.Partition = "pk"
		}
		s.tables[t.Name] = &table{Table: t, items: map[string]*row{}, arn: "arn:aws:dynamodb:" + options.Region + ":" + options.Account + ":table/" + t.Name}
	}
	return s
}

// Sweep removes the items whose time to live has ended, which the service does within a few days.
func (s *Server) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		maps.DeleteFunc(t.items, func(_ string, r *row) bool {
			end, ok := r.now[t.TTL]
			if !ok || end.N == nil {
				return false
			}
			seconds, err := strconv.ParseInt(*end.N, 10, 64)
			return err == nil && time.Unix(seconds, 0).Before(time.Now())
		})
	}
}

// ServeHTTP answers one request in the AWS JSON 1.0 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	s.Faults.Serve(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, operation) }, operation)(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, operation string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		write(w, http.StatusRequestEntityTooLarge, &problem{Type: commonPrefix + "RequestEntityTooLargeException"})
		return
	}
	// The signature comes first: who is not known learns nothing about what there is.
	key, err := awsauth.Verifier{Keys: s.options.Keys, Service: "dynamodb", Region: s.options.Region}.Verify(r, body)
	if err != nil {
		refuse(w, err)
		return
	}
	handle, ok := map[string]func(*call) (any, error){
		"GetItem": (*call).getItem, "PutItem": (*call).putItem, "DeleteItem": (*call).deleteItem, "DescribeTable": (*call).describeTable,
	}[operation]
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || !ok || !strings.HasPrefix(r.Header.Get("X-Amz-Target"), targetPrefix):
		write(w, http.StatusBadRequest, &problem{Type: commonPrefix + "UnknownOperationException"})
		return
	case r.Header.Get("Content-Type") != contentType:
		write(w, http.StatusBadRequest, &problem{Type: commonPrefix + "SerializationException", Message: "the content type has to be " + contentType})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, err := handle(&call{server: s, key: key, operation: operation, body: body})
	if told, ok := errors.AsType[*problem](err); ok {
		write(w, http.StatusBadRequest, told)
		return
	}
	write(w, http.StatusOK, reply)
}

// refuse answers that a signature is not good. This service does so with status 400 in all cases
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html).
func refuse(w http.ResponseWriter, err error) {
	told := &problem{Type: commonPrefix + "InternalFailure"}
	if refusal, ok := errors.AsType[*awsauth.Error](err); ok {
		told = &problem{Type: commonPrefix + refusal.JSONCode(), Lower: refusal.Message}
	}
	write(w, http.StatusBadRequest, told)
}

func write(w http.ResponseWriter, status int, reply any) {
	body, err := json.Marshal(reply, json.Deterministic(true))
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"__type":"`+errorPrefix+`InternalServerError"}`)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// problem is an error as the service reports it. The front end and the tables spell the message differently.
type problem struct {
	Type    string `json:"__type"`
	Message string `json:"Message,omitempty"`
	Lower   string `json:"message,omitempty"`
	Item    item   `json:"Item,omitempty"`
}

func (p *problem) Error() string { return p.Type + ": " + p.Message + p.Lower }

func invalid(message string) error {
	return &problem{Type: "com.amazon.coral.validate#ValidationException", Lower: message}
}

// call is one verified request. The server's lock is held while it runs.
type call struct {
	server    *Server
	key       awsauth.Key
	operation string
	body      []byte
}

// read decodes the request. Members that the service does not know are ignored, as they are there.
func (c *call) read(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return &problem{Type: commonPrefix + "SerializationException", Message: "the body is not a JSON object with members of the right types"}
	}
	return nil
}

// table finds a table by its name or ARN. Who may not use it does not learn whether it exists.
func (c *call) table(name string) (*table, error) {
	if name == "" {
		return nil, invalid("1 validation error detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null")
	}
	arnPrefix := "arn:aws:dynamodb:" + c.server.options.Region + ":" + c.server.options.Account + ":table/"
	name = strings.TrimPrefix(name, arnPrefix)
	access := Access{Key: c.key, Action: "dynamodb:" + c.operation, Resource: arnPrefix + name}
	if c.server.options.Allow != nil && !c.server.options.Allow(access) {
		return nil, &problem{Type: commonPrefix + "AccessDeniedException", Message: "User: " + c.key.ARN + " is not authorized to perform: " +
			access.Action + " on resource: " + access.Resource + " because no identity-based policy allows the " + access.Action + " action"}
	}
	found, ok := c.server.tables[name]
	if !ok {
		return nil, &problem{Type: errorPrefix + "ResourceNotFoundException", Lower: "Requested resource not found"}
	}
	return found, nil
}
