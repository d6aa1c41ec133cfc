package provider

import (
	"context"
	"io"
)

type waitKey struct{}

// BeforeWait returns a context under which a [Sender] calls f each time before
// it reads more of an answer, and so perhaps before it waits. Whoever passes an
// answer on can gather what arrived together and send it on as one, without
// holding anything back: f is where to send it. It may be called from another
// goroutine than the one that ranges over the answer.
func BeforeWait(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, waitKey{}, f)
}

// announced is a body that says when it is about to be waited for.
type announced struct {
	io.ReadCloser
	before func()
}

func (a announced) Read(p []byte) (int, error) {
	a.before()
	return a.ReadCloser.Read(p)
}

func announce(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	f, ok := ctx.Value(waitKey{}).(func())
	if !ok {
		return body
	}
	return announced{body, f}
}
