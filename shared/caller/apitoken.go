package caller

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// Secret reads a stored secret. It is asked for each request, so whoever provides it keeps what it has read.
type Secret func(context.Context) (secrets.Value, error)

// NewAPITokens returns an authenticator for API tokens. list holds what [config.ParseAPITokens] reads, and key the key by which
// it knows a token again.
func NewAPITokens(list, key Secret) Authenticator { return &apiTokens{list: list, key: key} }

type apiTokens struct {
	list, key Secret

	mu   sync.Mutex
	read *tokenList // nil until the first token
}

// tokenList is the list, ready to be looked up, and the values that it was made of.
type tokenList struct {
	list, key secrets.Value
	secret    []byte
	tokens    map[string]config.APIToken
}

// Authenticate judges what begins like an API token.
func (a *apiTokens) Authenticate(r *http.Request) (*Principal, error) {
	text, failure := bearer(r, headerAuthorization)
	if failure != nil {
		return nil, failure
	}
	if !strings.HasPrefix(text, config.APITokenPrefix) {
		return nil, &Error{Code: Malformed, Public: "the bearer token is not an API token of this gateway", notMine: true}
	}
	id, ok := config.APITokenID(text)
	if !ok {
		return nil, &Error{Code: Malformed, Public: "the API token is not complete", Err: errors.New("it does not have the form pst_<id>_<secret>")}
	}
	list, err := a.current(r.Context())
	if err != nil {
		return nil, &Error{Code: Unavailable, Public: "the list of API tokens cannot be read right now; try again shortly", Err: err}
	}
	// An id that is not there takes the same way, so that time does not tell which ones are.
	token, ok := list.tokens[id]
	same := subtle.ConstantTimeCompare([]byte(config.APITokenMAC(list.secret, text)), []byte(token.HMAC)) == 1
	now := wallClock()
	switch {
	case !ok || !same:
		return nil, &Error{Code: UnknownToken, Public: "the API token is not one of this gateway, or has been revoked"}
	case !now.Before(token.Expires):
		return nil, &Error{Code: Expired, Public: "the API token has expired; ask the gateway's operator for a new one"}
	case now.Add(leeway).Before(token.Created):
		return nil, &Error{Code: NotYetValid, Public: "the API token is not valid yet"}
	}
	return &Principal{
		Method: APIToken, Issuer: config.APITokenIssuer, Subject: token.Name, Name: "api-token/" + token.Name, Kind: Workload,
		Client: token.ID, Groups: token.Groups, Expires: token.Expires.Truncate(time.Second),
	}, nil
}

// current returns the list as it is stored now, made anew when that has changed.
func (a *apiTokens) current(ctx context.Context) (*tokenList, error) {
	list, err := a.list(ctx)
	if err != nil {
		return nil, err
	}
	key, err := a.key(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// The list is no secret to be compared slowly, and most often is the very same text.
	if a.read != nil && a.read.list.Reveal() == list.Reveal() && a.read.key.Equal(key) {
		return a.read, nil
	}
	secret, err := secrets.ParseKey(key)
	if err != nil {
		return nil, errors.New("the key of the list of API tokens is " + err.Error())
	}
	lines, err := config.ParseAPITokens([]byte(list.Reveal()))
	if err != nil {
		return nil, err
	}
	read := &tokenList{list: list, key: key, secret: secret, tokens: make(map[string]config.APIToken, len(lines))}
	for _, line := range lines {
		read.tokens[line.ID] = line
	}
	a.read = read
	return read, nil
}
