package exchange

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// maxToken is the longest token that is sent in exchange for another, in bytes. Anthropic has the same limit.
const maxToken = 16 << 10

// fetch gets a secret and refuses one that cannot be the text of a token.
func fetch(ctx context.Context, from Secret, what string) (secrets.Value, error) {
	value, err := from(ctx)
	if err != nil {
		return secrets.Value{}, unavailable(err, what)
	}
	if text := value.Reveal(); !printable(text) || len(text) > maxToken {
		return secrets.Value{}, &identity.Error{Public: fmt.Sprintf("%s is empty, longer than %d bytes, or has characters that no token has", what, maxToken)}
	}
	return value, nil
}

// unavailable is the error for a secret that cannot be had.
func unavailable(err error, what string) error {
	retryable := !errors.Is(err, secrets.ErrNotFound)
	if inner, ok := errors.AsType[*identity.Error](err); ok {
		retryable = inner.Retryable
	}
	return &identity.Error{Public: what + " cannot be had", Err: err, Retryable: retryable}
}

// claims are what a token says of itself, for names and for errors, never for a decision about who is who.
type claims struct {
	Issuer, Subject string
	Audience        []string
	Lifetime        time.Duration
	isJWT           bool
}

// readClaims looks into a token that the platform has signed.
func readClaims(token secrets.Value) *claims {
	var read struct {
		Issuer   string         `json:"iss"`
		Subject  string         `json:"sub"`
		Audience jsontext.Value `json:"aud"`
		Issued   float64        `json:"iat"`
		Expires  float64        `json:"exp"`
	}
	if err := identity.UnverifiedClaims(token, &read); err != nil {
		return &claims{}
	}
	c := &claims{Issuer: read.Issuer, Subject: read.Subject, isJWT: true}
	var one string
	if json.Unmarshal(read.Audience, &c.Audience) != nil && json.Unmarshal(read.Audience, &one) == nil {
		c.Audience = []string{one}
	}
	const ages = 1e9 // seconds; beyond this a duration would overflow
	if lifetime := read.Expires - read.Issued; read.Issued > 0 && lifetime > 0 && lifetime < ages {
		c.Lifetime = time.Duration(lifetime) * time.Second
	}
	return c
}

// String describes the token, so that its owner can compare it with what the server was told to trust.
func (c *claims) String() string {
	if !c.isJWT {
		return "It is not a JSON Web Token"
	}
	text := fmt.Sprintf("It was issued by %q for %q", shown(c.Issuer), shown(c.Subject))
	if len(c.Audience) > 0 {
		text += fmt.Sprintf(" to the audience %q", shown(strings.Join(c.Audience, " ")))
	}
	if c.Lifetime > 0 {
		text += fmt.Sprintf(" and lives %v", c.Lifetime)
	}
	return text
}
