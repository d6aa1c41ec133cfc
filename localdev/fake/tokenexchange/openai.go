// Package tokenexchange is a stand-in for the two vendors' endpoints that exchange a platform's token for one of their own: OpenAI's
// (https://developers.openai.com/api/reference/workload-identity-federation) and Anthropic's
// (https://platform.claude.com/docs/manage-claude/wif-reference). It also knows which of its tokens are valid, for the stand-ins of the
// vendors' models.
//
// It must not know anything about the gateway, and serves tests and local runs only.
package tokenexchange

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oauth"
)

const (
	// OpenAIPath is where OpenAI's endpoint is, on the host auth.openai.com.
	OpenAIPath = "/oauth/token"

	maxBody       = 64 << 10
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	typeIDToken   = "urn:ietf:params:oauth:token-type:id_token"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
)

// Provider is a workload identity provider at OpenAI.
type Provider struct {
	ID string
	oauth.Issuer
	// Audience must be among the token's.
	Audience string
	// Mappings is which subject may act as which service account.
	Mappings []Mapping
}

// Mapping lets a subject act as a service account.
type Mapping struct {
	Subject, ServiceAccountID string
}

// Account is whom a token of a vendor stands for.
type Account struct {
	ServiceAccountID string
	Expires          time.Time
}

// tokens are a vendor's tokens. The zero value is ready to use.
type tokens struct {
	mu     sync.Mutex
	issued map[string]Account
}

func (t *tokens) issue(prefix string, account Account) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.issued == nil {
		t.issued = map[string]Account{}
	}
	token := prefix + rand.Text() + rand.Text()
	t.issued[token] = account
	return token
}

// Account returns whom a valid token stands for.
func (t *tokens) Account(token string) (Account, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	account, found := t.issued[token]
	return account, found && time.Now().Before(account.Expires)
}

// Valid reports whether a token was issued here and has not expired.
func (t *tokens) Valid(token string) bool {
	_, valid := t.Account(token)
	return valid
}

// Revoke makes a token invalid.
func (t *tokens) Revoke(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.issued, token)
}

// OpenAI is OpenAI's token endpoint. It is an http.Handler and may be used from several goroutines.
type OpenAI struct {
	// Faults makes the endpoint misbehave.
	Faults fault.Injector
	tokens

	providers []Provider
}

// NewOpenAI returns an endpoint that has issued nothing yet.
func NewOpenAI(providers ...Provider) *OpenAI { return &OpenAI{providers: providers} }

// ServeHTTP answers an exchange.
func (o *OpenAI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if o.Faults.Handle(w, r) {
		return
	}
	if r.URL.Path != OpenAIPath {
		http.NotFound(w, r)
		return
	}
	var asked struct {
		GrantType          string `json:"grant_type"`
		ClientID           string `json:"client_id"`
		SubjectToken       string `json:"subject_token"`
		SubjectTokenType   string `json:"subject_token_type"`
		IdentityProviderID string `json:"identity_provider_id"`
		ServiceAccountID   string `json:"service_account_id"`
		Scope              string `json:"scope"` // grants nothing
	}
	if err := read(w, r, &asked); err != nil {
		refuseOpenAI(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	switch {
	case asked.GrantType != grantExchange:
		refuseOpenAI(w, http.StatusBadRequest, "unsupported_grant_type", "The grant type is not supported.")
	case asked.SubjectToken == "" || asked.SubjectTokenType == "" || asked.IdentityProviderID == "" || asked.ServiceAccountID == "":
		refuseOpenAI(w, http.StatusBadRequest, "invalid_request", "A parameter is missing.")
	case asked.SubjectTokenType != typeJWT && asked.SubjectTokenType != typeIDToken:
		refuseOpenAI(w, http.StatusBadRequest, "invalid_request", "The subject token type is not supported.")
	default:
		o.exchange(w, asked.SubjectToken, asked.IdentityProviderID, asked.ServiceAccountID)
	}
}

func (o *OpenAI) exchange(w http.ResponseWriter, subject, providerID, accountID string) {
	at := slices.IndexFunc(o.providers, func(p Provider) bool { return p.ID == providerID })
	if at < 0 {
		refuseOpenAI(w, http.StatusBadRequest, "invalid_grant", "The workload identity provider was not found.")
		return
	}
	provider := o.providers[at]
	claims, err := provider.Verify(subject)
	if err == nil && !slices.Contains(claims.Audience, provider.Audience) {
		err = errors.New("the audience does not match")
	}
	if err != nil {
		refuseOpenAI(w, http.StatusUnauthorized, "invalid_subject_token", "The subject token "+subject+" is not valid: "+err.Error())
		return
	}
	if !slices.Contains(provider.Mappings, Mapping{Subject: claims.Subject, ServiceAccountID: accountID}) {
		refuseOpenAI(w, http.StatusForbidden, "invalid_grant", "No mapping exists for the service account.")
		return
	}
	// At most an hour, and never longer than the subject token.
	expires := time.Now().Add(time.Hour)
	if end := claims.Expiry.Time(); end.Before(expires) {
		expires = end
	}
	write(w, http.StatusOK, map[string]any{
		"access_token": o.issue("eyJ", Account{accountID, expires}), "issued_token_type": typeAccess, "token_type": "Bearer",
		"expires_in": int64(time.Until(expires).Seconds()), "scope": "api.model.read api.model.request",
	})
}

func refuseOpenAI(w http.ResponseWriter, status int, code, description string) {
	write(w, status, map[string]any{"error": code, "error_description": description})
}

// read reads a JSON body that has no unknown members.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method != http.MethodPost:
		return errors.New("only POST is allowed")
	case err != nil || kind != "application/json":
		return errors.New("the content type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return errors.New("the body cannot be read or is too large")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the JSON")
	}
	return nil
}

func write(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(cmp.Or(status, http.StatusOK))
	_ = json.NewEncoder(w).Encode(document)
}
