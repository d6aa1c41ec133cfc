package redistokens

import (
	"context"
	"net"

	"github.com/postern-ai/postern/shared/secrets"
)

// DialWith makes the cache reach its server in another way than over the network, which has no place in a bubble of synctest.
func (c *Cache) DialWith(dial func(ctx context.Context, address string) (net.Conn, error)) {
	c.options.Dial = dial
	again, err := New(c.options)
	if err != nil {
		panic(err) // it was made of the same before
	}
	c.server = again.server
}

// NameOf returns the name in Redis for an identity.
func NameOf(key secrets.Value, identity ...string) (string, error) {
	keys, err := parseKey(key)
	if err != nil {
		return "", err
	}
	return keys.nameOf(identity), nil
}
