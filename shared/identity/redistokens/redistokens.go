// Package redistokens shares tokens between the instances of a function through a Redis server, so that a hundred instances that start
// together ask the issuer once.
//
// The server is an optimisation and is trusted with nothing. The name under which a token is kept is a keyed hash of the whole identity that
// the token stands for, the token is sealed under a key from the secret store and bound to that name, and whatever goes wrong with the
// server ends in a fetch from the issuer, never in an error.
//
// The package must not know any issuer, any cloud or any configuration. It keeps no connection: tokens are fetched about once an hour, a
// function is frozen in between, and by then a kept connection would be dead. So there is nothing to check, to refill or to close in the
// background, and nothing breaks when a function thaws.
package redistokens

import (
	"context"
	"errors"
	"time"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/redis"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// patience bounds everything that is done with the server before the issuer is asked, and patienceShare what of the time that a fetch
	// has left, because the fetch has to fit into the same deadline.
	patience      = time.Second
	patienceShare = 0.4
)

// Options describes a Redis server and what is needed to use it.
type Options struct {
	// Server is where tokens are kept.
	Server *redis.Server
	// Key returns the key that names are hashed and tokens are sealed under: 32 bytes in base64 or hexadecimal. Instances with different
	// keys do not see one another's tokens, so a new key simply starts an empty cache. It is called for each connection, and
	// keeps what is costly to fetch.
	Key func(ctx context.Context) (secrets.Value, error)
	// OnFault, when set, is told of everything that went wrong with the server, for the log. It runs within a request and has to be quick.
	OnFault func(ctx context.Context, fault Fault)
}

// Step is a part of the work with the server.
type Step string

// The steps.
const (
	StepKey     Step = "read the key"
	StepConnect Step = "connect"
	StepRead    Step = "read a token"
	StepLock    Step = "lock a token"
	StepStore   Step = "store a token"
)

// Fault is something that went wrong with the server. Tokens are fetched from their issuer meanwhile.
type Fault struct {
	Step Step
	// Err says what went wrong. It is an [*identity.Error], whose text is safe for logs.
	Err error
	// Until is when the server will be asked again. The zero time means that it goes on being asked, because only one entry is unusable.
	Until time.Time
}

// Cache is a Redis server on which tokens are shared. It is safe for concurrent use.
type Cache struct {
	options Options
	pause   redis.Pause
}

// New returns a Cache on the server. It does not connect; that is done when a token is needed.
func New(options Options) (*Cache, error) {
	if options.Server == nil {
		return nil, errors.New("a shared token cache needs a server")
	}
	if options.Key == nil {
		return nil, errors.New("a shared token cache needs a key, because tokens are never shared in clear")
	}
	return &Cache{options: options}, nil
}

// failed makes the server rest, and reports why. When it was the request that ended, nothing is known about the server.
func (c *Cache) failed(ctx context.Context, step Step, err error) {
	if ctx.Err() != nil {
		return
	}
	if _, ok := errors.AsType[*unshareable](err); ok {
		c.report(ctx, Fault{Step: step, Err: explain(step, err)})
		return
	}
	c.report(ctx, Fault{Step: step, Err: explain(step, err), Until: c.pause.Failed()})
}

func (c *Cache) report(ctx context.Context, fault Fault) {
	if c.options.OnFault == nil {
		return
	}
	// What listens must not be able to fail the request that waits for the token.
	defer func() { _ = recover() }()
	c.options.OnFault(ctx, fault)
}

// explain returns an error whose text is safe for logs. What a server says is not: it may quote what it was sent.
func explain(step Step, err error) error {
	if login, ok := errors.AsType[*redis.LoginError](err); ok {
		return &identity.Error{Public: "nobody can log in to the shared token cache: " + login.Error(), Retryable: true}
	}
	public := "the shared token cache could not " + string(step)
	if step == StepConnect {
		public = "the shared token cache cannot be reached"
	}
	if token, ok := errors.AsType[*unshareable](err); ok {
		public += ": " + token.why
	}
	if refused, ok := errors.AsType[*redis.Refusal](err); ok {
		public += ": the server answered " + refused.Code + refused.Remedy()
		if refused.Code == "NOPERM" {
			public += "; its user needs the commands GETRANGE, PTTL, SET, GET, DEL and EVAL on the keys " + prefix + "*"
		}
	}
	return &identity.Error{Public: public, Err: err, Retryable: true}
}

// wall returns the time without its monotonic reading, which stands still while a function is frozen.
func wall() time.Time { return time.Now().Round(0) }
