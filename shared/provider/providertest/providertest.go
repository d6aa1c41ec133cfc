// Package providertest is the conformance suite that every provider runs: one
// wire format more or less must not show in what a caller of the gateway sees.
//
// A provider's test fills a [Harness] and calls [Run]. The suite drives the
// provider through the product's own sender against the provider's stand-in,
// then breaks what the stand-in answers in every way that a network or a
// service can, without knowing any wire format: it records an answer and plays
// it back cut, torn, delayed or spoiled.
//
// The package must not know any service, and it does not import the stand-ins:
// they come in with the Harness.
package providertest

import (
	"net/http"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/secrets"
)

// Harness is a provider under test and the stand-in of its service.
//
// The model behind the stand-in must answer as localdev's brain.Echo does: it
// repeats the last user text, states the turn's number, the instructions, the
// images and the results of tools, calls the tools that the text mentions or
// that the request forces, and obeys #say, #long, #filter, #reason and
// #cached.
type Harness struct {
	// Service is the stand-in. It accepts the credential of Auth and the
	// model Model, and refuses what the real service refuses.
	Service http.Handler

	// Build is the provider's own constructor, and Upstream the entry of the
	// document for a service at an address without a trailing slash.
	Build    provider.Builder
	Upstream func(address string) *config.Upstream

	// Auth puts the credential on. Secret is that credential, or the secret
	// part of it, which no error may show.
	Auth   identity.Authorizer
	Secret string

	// Name is what errors call the upstream, as in "Google Vertex AI", and
	// Model the upstream's id of a model that can do everything.
	Name  string
	Model string

	// Fault makes the service's answer with an error status, in the shape and
	// with the headers that the real service would use, Retry-After excepted.
	Fault func(status int, message string) Answer

	// StreamFault makes the bytes with which the service reports, between two
	// events of a stream, that it failed by its own fault.
	StreamFault func(message string) []byte

	// Refuses names the request parameters that the upstream cannot carry,
	// each with the code of the 400 that says so. Every other documented
	// parameter must be accepted.
	Refuses map[string]string

	// Want replaces what the suite expects of a row of its table of failures,
	// by the row's name, where the service means something else by it.
	Want map[string]Want

	// NoReasoningCount says that the service does not report how many tokens
	// of an answer were reasoning.
	NoReasoningCount bool
}

// Answer is what a server sends.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Want is what a failure must look like to the caller.
type Want struct {
	Status     int
	Type       string
	Code       string
	Param      string
	Message    string
	RetryAfter time.Duration
}

// Run tests a provider.
func Run(t *testing.T, h Harness) {
	t.Run("answers", func(t *testing.T) { t.Parallel(); h.answers(t) })
	t.Run("tools", func(t *testing.T) { t.Parallel(); h.tools(t) })
	t.Run("parameters", func(t *testing.T) { t.Parallel(); h.parameters(t) })
	t.Run("failures before the answer", func(t *testing.T) { t.Parallel(); h.refusals(t) })
	t.Run("failures of a whole answer", func(t *testing.T) { t.Parallel(); h.spoiledAnswers(t) })
	t.Run("failures of a stream", func(t *testing.T) { t.Parallel(); h.spoiledStreams(t) })
	t.Run("connections", func(t *testing.T) { t.Parallel(); h.connections(t) })
	t.Run("concurrency", func(t *testing.T) { t.Parallel(); h.concurrency(t) })
}

// Bearer returns an authorizer that always puts on the same token.
func Bearer(token string) identity.Authorizer { return bearer{secrets.NewValue(token)} }

type bearer struct{ token secrets.Value }

func (b bearer) Authorize(r *http.Request) error {
	r.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	identity.Note(r.Context(), identity.Principal{Name: "test", Source: "fixed token"})
	return nil
}

func (bearer) Rejected(*http.Request) {}
