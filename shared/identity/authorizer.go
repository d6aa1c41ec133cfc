package identity

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/shared/secrets"
)

const (
	authorization = "Authorization"
	bearerScheme  = "Bearer"
)

// Bearer returns an Authorizer that puts the cache's token into the Authorization header.
func Bearer(cache *Cache) Authorizer { return bearer{cache} }

type bearer struct{ cache *Cache }

func (b bearer) Authorize(request *http.Request) error {
	token, err := b.cache.Token(request.Context())
	if err != nil {
		return err
	}
	request.Header.Set(authorization, bearerScheme+" "+token.Value.Reveal())
	Note(request.Context(), token.Principal)
	return nil
}

func (b bearer) Rejected(request *http.Request) {
	value, ok := strings.CutPrefix(request.Header.Get(authorization), bearerScheme+" ")
	if ok {
		b.cache.Rejected(secrets.NewValue(value))
	}
}

// HeaderOptions describes a header that carries a stored key.
type HeaderOptions struct {
	// Name is the header, for example api-key or Authorization.
	Name string
	// Prefix stands before the key, for example "Bearer " with its space.
	Prefix string
	// Key returns the key. It is called for each request, so it keeps what is costly to fetch.
	Key func(ctx context.Context) (secrets.Value, error)
	// Principal is noted as the signer: where the key is kept, never the key.
	Principal Principal
}

// Header returns an Authorizer that puts a stored key into a header.
func Header(options HeaderOptions) Authorizer { return header{options} }

type header struct{ options HeaderOptions }

func (h header) Authorize(request *http.Request) error {
	key, err := h.options.Key(request.Context())
	if err != nil {
		if ended := request.Context().Err(); ended != nil && errors.Is(err, ended) {
			return err
		}
		return &Error{Public: "the stored key for this upstream cannot be read", Err: err}
	}
	if !printable(key.Reveal()) {
		return &Error{Public: "the stored key for this upstream is empty or holds characters that do not fit into a header; store the key alone, without quotes or line breaks"}
	}
	request.Header.Set(h.options.Name, h.options.Prefix+key.Reveal())
	Note(request.Context(), h.options.Principal)
	return nil
}

// Rejected does nothing: a stored key cannot be fetched anew, only read again, and that is for the reader of the store.
func (h header) Rejected(*http.Request) {}
