// Package contract checks HTTP requests and replies against the API
// descriptions that the vendors publish themselves: OpenAI's OpenAPI document,
// the AWS service models and Google's Discovery documents. A stand-in whose
// traffic passes here in both directions cannot share a misunderstanding with
// the client that calls it.
//
// The package is for tests and for local runs. It must not know anything of
// this product: neither its wire types nor its stand-ins, or it would repeat
// what they believe instead of testing it. It holds no copy of a description;
// they are read from a folder that need not exist (see Dir).
package contract

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
)

// Dir returns the folder that holds the vendors' descriptions and whether there
// is one: $CONTRACTS where it is set, else shared/contracts beside the folder
// that holds go.mod. A test that finds none skips and says so.
func Dir() (string, bool) {
	if dir := os.Getenv("CONTRACTS"); dir != "" {
		return dir, isDir(dir)
	}
	root, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			dir := filepath.Join(root, "..", "shared", "contracts")
			return dir, isDir(dir)
		}
		parent := filepath.Dir(root)
		if parent == root {
			return "", false
		}
		root = parent
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// A Description is one vendor's API description. It is safe for concurrent use.
// Loading one takes tens of milliseconds; callers load it once and keep it.
type Description struct {
	service service
	variant Variant
}

// service is one vendor's description format.
type service interface {
	// find returns the operation that a request means, or an error that says
	// why there is none.
	find(Request, Variant) (operation, error)
}

// operation is one operation of a description. Its methods write what is wrong
// to the spots that they are handed.
type operation interface {
	request(spot, Request)
	response(spot, Response)
	event(spot, Event)
}

// A Request is what a client sent. Path is percent-encoded as it was on the
// wire: a label may hold an encoded slash.
type Request struct {
	Method, Path string
	Query        url.Values
	Header       http.Header
	Body         []byte
}

// A Response is a whole, unstreamed reply.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// An Event is one message of a streamed reply: an SSE event, whose type is
// usually empty, or an AWS event stream message, whose type is its :event-type
// or :exception-type.
type Event struct {
	Type string
	Data []byte
}

// A Problem is one way in which a message departs from its description.
type Problem struct {
	// Operation names the call, for instance "Converse" or
	// "POST /chat/completions".
	Operation string
	// Path is the place, from request, response or event on:
	// request.messages[0].role.
	Path string
	// Text says what is wrong there. It never repeats content, only names and
	// values from closed sets.
	Text string
	// Unknown marks a property that the description does not list but does not
	// forbid either.
	Unknown bool
}

// String returns the problem as one line.
func (p Problem) String() string { return p.Operation + ": " + p.Path + " " + p.Text }

// OfRequest reports whether the client is at fault rather than the server. A
// test that makes a stand-in send broken replies on purpose looks at these only.
func (p Problem) OfRequest() bool { return strings.HasPrefix(p.Path, "request") }

// An Exchange is a request whose operation is known, so that its reply can be
// checked too.
type Exchange struct {
	description *Description
	name        string
	operation   operation // nil: the request meant no operation
}

// Request checks a request and returns the exchange that it opens. A request
// that means no operation is one problem, and nothing is said of its reply.
func (d *Description) Request(in Request) (*Exchange, []Problem) {
	x := &Exchange{description: d, name: in.Method + " " + in.Path}
	op, err := d.service.find(in, d.variant)
	if err != nil {
		return x, []Problem{{Operation: x.name, Path: "request", Text: err.Error()}}
	}
	x.operation = op
	if named, ok := op.(fmt.Stringer); ok {
		x.name = named.String()
	}
	at := x.root("request")
	op.request(at, in)
	return x, at.problems()
}

// Response checks an unstreamed reply.
func (x *Exchange) Response(in Response) []Problem {
	if x.operation == nil {
		return nil
	}
	at := x.root("response")
	x.operation.response(at, in)
	return at.problems()
}

// Event checks one message of a streamed reply.
func (x *Exchange) Event(in Event) []Problem {
	if x.operation == nil {
		return nil
	}
	at := x.root("event")
	x.operation.event(at, in)
	return at.problems()
}

func (x *Exchange) root(path string) spot {
	return spot{findings: &findings{operation: x.name, departures: x.description.variant.Departures}, path: path}
}

// load decodes a gzipped JSON file into target.
func load(target any, file string) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("unzip %s: %w", file, err)
	}
	data, err := io.ReadAll(unzipped)
	if err != nil {
		return fmt.Errorf("unzip %s: %w", file, err)
	}
	if err := json.Unmarshal(data, target); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}
