// Package secrets holds secret values and reads them from where they are kept.
//
// A secret leaves its [Value] in exactly one way, [Value.Reveal], so that every place which lets one out can be found by name.
// Reading and writing are different things: everybody reads, by a [Reader] or a [Source]; only a rotation replaces, by a [Store].
//
// The package must not know what a secret is for (which provider, which header) and imports nothing from the rest of the gateway.
package secrets

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every attempt to print a Value shows.
const redacted = "[secret]"

// errMarshal names no value: it is returned by each encoding of a Value.
var errMarshal = errors.New("a secret value cannot be encoded")

// Value is one secret text. The zero Value holds nothing.
//
// A Value prints as "[secret]" under every fmt verb and in slog, refuses to be encoded, and cannot be compared with ==.
// It may be copied and used by many goroutines.
type Value struct {
	// A closure is the one container that reflection cannot look into. A plain string would be printed by fmt
	// whenever a Value sits in an unexported field of another struct, because fmt may not call our methods there.
	reveal func() string
}

// NewValue returns a Value that holds the text.
func NewValue(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{reveal: func() string { return text }}
}

// Reveal returns the secret text. Its result belongs in a request header, a request body or a signature, never in a log or an error.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// IsZero reports whether the Value holds nothing.
func (v Value) IsZero() bool { return v.reveal == nil }

// Equal reports whether both hold the same text. Its running time tells the length of the texts and nothing else about them.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(other.Reveal())) == 1
}

// String returns a fixed placeholder.
func (v Value) String() string { return redacted }

// GoString returns a fixed placeholder.
func (v Value) GoString() string { return redacted }

// Format writes a fixed placeholder whatever the verb: a String method alone would leave %d and %x to reflection.
func (v Value) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// LogValue returns a fixed placeholder.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText always returns an error, so that a secret cannot slip into a document of any format.
func (v Value) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalJSON always returns an error, so that a secret cannot slip into JSON.
func (v Value) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// MarshalBinary always returns an error, so that a secret cannot slip into a binary encoding.
func (v Value) MarshalBinary() ([]byte, error) { return nil, errMarshal }
