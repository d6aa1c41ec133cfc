package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxSecret is the largest secret that is read, in bytes. The cloud stores have the same limit.
const maxSecret = 64 << 10

var (
	// ErrNotFound is wrapped by the error of a Reader when the store is there and the secret is not.
	ErrNotFound = errors.New("secret not found")
	// ErrDenied is wrapped by the error of a store that does not let this function do it, and ErrThrottled by that of one that is asked too often.
	ErrDenied    = errors.New("not allowed")
	ErrThrottled = errors.New("throttled")
)

// Error is why a secret could not be read or replaced. Its text names the reference and never what was read, so it is safe for logs.
type Error struct {
	Ref    Ref
	Reason string
	// Op is what was not done, such as "stage". Empty means "read".
	Op string
	// Err is the cause. It is not part of the text.
	Err error
}

// Error returns what was not done, the reference and the reason.
func (e *Error) Error() string {
	return fmt.Sprintf("%s secret %q: %s", cmp.Or(e.Op, "read"), e.Ref, e.Reason)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reader reads secrets. Implementations are safe for concurrent use, honour ctx, fetch anew at each call, and return
// errors that are an *[Error] or wrap one.
type Reader interface {
	Read(ctx context.Context, ref Ref) (Value, error)
}

// Stores is a Reader that hands each reference to the Reader of its store. A function's main fills it with the stores that it links.
type Stores map[string]Reader

// Read reads the secret from the store that ref names. A store that this function does not have is an error which says so.
func (s Stores) Read(ctx context.Context, ref Ref) (Value, error) {
	reader, ok := s[ref.Store]
	if ok {
		return reader.Read(ctx, ref)
	}
	if ref.Store == StoreOwn {
		return Value{}, &Error{Ref: ref, Reason: "a plain name means this cloud's own secret store, which this function does not have; use one of: " + s.known()}
	}
	return Value{}, &Error{Ref: ref, Reason: fmt.Sprintf("this function has no %s:// store; use one of: %s", ref.Store, s.known())}
}

func (s Stores) known() string {
	var names []string
	for name := range s {
		if name == StoreOwn {
			names = append(names, "a plain name")
			continue
		}
		names = append(names, name+"://")
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Environment is the Reader of env:// references.
type Environment struct {
	// Lookup finds a variable. Nil means the process's own environment.
	Lookup func(name string) (string, bool)
}

// Read returns the variable that ref names. An empty variable counts as missing.
func (e Environment) Read(_ context.Context, ref Ref) (Value, error) {
	lookup := e.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	text, ok := lookup(ref.Name)
	if !ok || text == "" {
		return Value{}, &Error{Ref: ref, Reason: "the environment variable is not set", Err: ErrNotFound}
	}
	return ref.Select(text)
}

// Select returns what ref means within the text that its store holds: the whole text, or one field of the JSON object in it.
// Every Reader ends with it, so that #field means the same everywhere. Its errors never quote the text.
func (r Ref) Select(text string) (Value, error) {
	if len(text) > maxSecret {
		return Value{}, &Error{Ref: r, Reason: fmt.Sprintf("larger than %d bytes", maxSecret), Err: ErrUnusable}
	}
	if text == "" {
		return Value{}, &Error{Ref: r, Reason: "it is empty", Err: ErrUnusable}
	}
	if r.Field == "" {
		return NewValue(text), nil
	}
	var fields map[string]jsontext.Value
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		// The cause is left out: it may quote the content.
		return Value{}, &Error{Ref: r, Reason: "a #field was asked for and the content is not one JSON object", Err: ErrUnusable}
	}
	raw, ok := fields[r.Field]
	if !ok {
		return Value{}, &Error{Ref: r, Reason: "the JSON object has no such field", Err: ErrNotFound}
	}
	var field string
	if err := json.Unmarshal(raw, &field); err != nil {
		return Value{}, &Error{Ref: r, Reason: "the field is not a JSON string", Err: ErrUnusable}
	}
	if field == "" {
		return Value{}, &Error{Ref: r, Reason: "the field is empty", Err: ErrUnusable}
	}
	return NewValue(field), nil
}
