// Package provider calls models. It holds what all upstreams have in common:
// the [Model] that the gateway talks to, the way a request is authorized and
// sent ([Sender]), and the [Client] that turns a pure [Dialect] into a Model.
//
// The service packages below it (bedrock, vertex, azureopenai, openai) each
// speak one wire format. None of them knows which credential is put on its
// requests, who the caller is, or which cloud the process runs on.
package provider

import (
	"context"
	"iter"
	"net/http"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/sse"
)

// Model answers chat requests. Implementations are safe for concurrent use.
//
// Request.Model is the upstream's own name of the model (an id, an ARN, a
// deployment). Every error is a *[chat.Error], or wraps one.
type Model interface {
	// Chat returns the whole answer.
	Chat(ctx context.Context, req *chat.Request) (*chat.Response, error)

	// Stream returns once the upstream has accepted the request, so that a
	// refusal can still be answered with its own status. The sequence then
	// yields chunks in the order that [chat.Chunk] describes; usage is always
	// included where the upstream counts it, whether or not the caller asked. It
	// ends after the last chunk, or with one error if the answer broke off: a
	// stream that ends without an error is complete. A chunk and what it holds are
	// valid until the next one is asked for; its usage alone may be kept. The
	// sequence must be ranged over exactly once, even if only to stop at once,
	// since that is what releases the connection.
	Stream(ctx context.Context, req *chat.Request) (iter.Seq2[*chat.Chunk, error], error)
}

// Doer sends one upstream request with a credential on it. *[Sender] is the
// Doer of the product.
type Doer interface {
	Do(req *http.Request) (*http.Response, error)
}

// Builder makes the Model of one upstream of the document. It opens no
// connection and needs no credential yet.
type Builder func(upstream *config.Upstream, doer Doer) (Model, error)

// Call is an upstream request before it has a credential. The method is POST
// and the body JSON.
type Call struct {
	URL    string
	Header http.Header // beyond Content-Type and Accept; may be nil
	Body   []byte
}

// Dialect is one wire format over HTTP and JSON: bytes in, bytes out. It has
// no clock, no credential and no connection, which is what makes it testable
// with files alone. Implementations are safe for concurrent use and never
// change a request.
type Dialect interface {
	// Encode renders the request; req.Stream tells whether as a stream. Its
	// error is a *[chat.Error] with status 400 for what the upstream cannot
	// carry.
	Encode(req *chat.Request) (*Call, error)

	// Decode reads a whole answer of status 200. ID and Created may be left
	// empty. An error means that the upstream's answer cannot be understood,
	// unless it is a *[chat.Error], which is what the caller is then told.
	Decode(req *chat.Request, body []byte) (*chat.Response, error)

	// Decoder returns the reader of one streamed answer.
	Decoder(req *chat.Request) Decoder

	// Fault reads an answer with another status than 200. It sets Status, Type,
	// Code, Param and Message; see [Fault] for the table that most upstreams
	// share. [Client] adds what stands in the Retry-After header.
	Fault(status int, header http.Header, body []byte) *chat.Error
}

// Decoder reads the events of one streamed answer. It keeps the state of that
// stream and is not safe for concurrent use.
type Decoder interface {
	// Event returns the chunks that an event gives, often one, sometimes none.
	// The slice and its chunks are valid until the next call. A
	// *[chat.Error] is what the upstream itself reported within the stream; any
	// other error means that the event cannot be understood.
	Event(e sse.Event) ([]*chat.Chunk, error)

	// Done reports whether the upstream has said that the answer is complete, so
	// that nothing which may follow belongs to it. A wire without a word for that
	// is done only when the stream ends.
	Done() bool

	// End is called when the upstream has closed the stream. It returns the
	// chunks that are still due, such as the usage chunk, or
	// [ErrIncomplete] if the upstream had more to say.
	End() ([]*chat.Chunk, error)
}
