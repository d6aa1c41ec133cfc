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
	// OnRejected, when set, is told of a key that the upstream did not accept, for the reader of the store to read it again.
	OnRejected func(key secrets.Value)
	// Principal is noted as the signer: where the key is kept, never the key.
	Principal Principal
}

// Header returns an Authorizer that puts a stored key into a header.
func Header(options HeaderOptions) Authorizer { return header{options} }

type header struct{ options HeaderOptions }

func (h header) Authorize(request *http.Request) error {
	key, err := stored(request.Context(), h.options.Key)
	if err != nil {
		return err
	}
	request.Header.Set(h.options.Name, h.options.Prefix+key)
	Note(request.Context(), h.options.Principal)
	return nil
}

// Rejected passes the key on: it cannot be fetched anew, only read again, and that is for the reader of the store.
func (h header) Rejected(request *http.Request) {
	key, ok := strings.CutPrefix(request.Header.Get(h.options.Name), h.options.Prefix)
	if ok && key != "" && h.options.OnRejected != nil {
		h.options.OnRejected(secrets.NewValue(key))
	}
}

// stored reads a key and refuses what cannot be one.
func stored(ctx context.Context, read func(context.Context) (secrets.Value, error)) (string, error) {
	key, err := read(ctx)
	if err != nil {
		if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
			return "", err
		}
		return "", &Error{Public: "the stored key for this upstream cannot be read", Err: err}
	}
	if !printable(key.Reveal()) {
		return "", &Error{Public: "the stored key for this upstream is empty or holds characters that do not fit into a header; store the key alone, without quotes or line breaks"}
	}
	return key.Reveal(), nil
}

// QueryOptions describes a query parameter that carries a stored key. A key in a URL ends up in the logs of everything on its way, and in
// the texts of Go's own errors, so it is only for servers that take it nowhere else.
type QueryOptions struct {
	// Name is the parameter, for example key.
	Name string
	// Key, OnRejected and Principal are as in [HeaderOptions].
	Key        func(ctx context.Context) (secrets.Value, error)
	OnRejected func(key secrets.Value)
	Principal  Principal
}

// Query returns an Authorizer that puts a stored key into the URL.
func Query(options QueryOptions) Authorizer { return query{options} }

type query struct{ options QueryOptions }

func (q query) Authorize(request *http.Request) error {
	key, err := stored(request.Context(), q.options.Key)
	if err != nil {
		return err
	}
	// The URL may be shared with a request that is to go elsewhere.
	address := *request.URL
	parameters := address.Query()
	parameters.Set(q.options.Name, key)
	address.RawQuery = parameters.Encode()
	request.URL = &address
	Note(request.Context(), q.options.Principal)
	return nil
}

// Rejected passes the key on, as that of a header.
func (q query) Rejected(request *http.Request) {
	key := request.URL.Query().Get(q.options.Name)
	if key != "" && q.options.OnRejected != nil {
		q.options.OnRejected(secrets.NewValue(key))
	}
}
