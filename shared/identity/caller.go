package identity

import "context"

// Caller is for whom an upstream request is made, as far as an upstream's records are to say it.
type Caller struct {
	// ID tells callers apart and is made of letters and digits.
	ID string
	// Name is what the gateway's log calls the caller. Empty means that it is not to be told.
	Name string
}

type callerKey struct{}

// WithCaller returns a context for requests that are made for a caller.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerOf returns for whom requests under a context are made. For nobody's, such as the gateway's own, it is the zero Caller.
func CallerOf(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)
	return caller
}
