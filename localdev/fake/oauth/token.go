package oauth

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	maxBody = 256 << 10

	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// failure is a refusal as RFC 6749 section 5.2 has it. The description is for a developer at a screen: it may quote what was sent.
type failure struct {
	status      int
	code        string
	description string
}

func refuse(code, description string) *failure {
	status := http.StatusBadRequest
	if code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	return &failure{status: status, code: code, description: description}
}

func (f *failure) write(w http.ResponseWriter, r *http.Request) {
	if f.code == "invalid_client" && len(r.Header.Values("Authorization")) > 0 {
		w.Header().Set("WWW-Authenticate", `Basic realm="token endpoint"`)
	}
	reply(w, f.status, map[string]any{"error": f.code, "error_description": f.description})
}

func reply(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

// token is the token endpoint.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "only POST is allowed", http.StatusMethodNotAllowed)
		return
	}
	form, problem := parameters(r)
	if problem != nil {
		problem.write(w, r)
		return
	}
	client, problem := s.who(r, form)
	if problem != nil {
		problem.write(w, r)
		return
	}
	answer, problem := s.grant(client, form)
	if problem != nil {
		problem.write(w, r)
		return
	}
	reply(w, http.StatusOK, answer)
}

// parameters reads the body. Parameters must not be repeated, nor be in the URL; those without a value count as left out (RFC 6749
// section 3.2). Only resource and audience may be given more than once (RFC 8707, RFC 8693).
func parameters(r *http.Request) (url.Values, *failure) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || len(r.Header.Values("Content-Type")) != 1 {
		return nil, refuse("invalid_request", "the content type must be application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, refuse("invalid_request", "parameters belong into the body")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, refuse("invalid_request", "the body cannot be read or is too large")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse("invalid_request", "the body is not form-encoded")
	}
	for name, values := range form {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return nil, refuse("invalid_request", "the parameter "+name+" is repeated")
		}
		if len(values) == 1 && values[0] == "" {
			delete(form, name)
		}
	}
	if form.Get("grant_type") == "" {
		return nil, refuse("invalid_request", "the grant type is missing")
	}
	return form, nil
}

// who finds the client. A token may be exchanged without one.
func (s *Server) who(r *http.Request, form url.Values) (Client, *failure) {
	anonymous := len(r.Header.Values("Authorization")) == 0 && !form.Has("client_id") && !form.Has("client_assertion") && !form.Has("client_secret")
	if anonymous && form.Get("grant_type") == TokenExchange {
		if client, found := s.client(""); found {
			return client, nil
		}
	}
	return s.authenticate(r, form)
}

// grant decides what the client gets.
func (s *Server) grant(client Client, form url.Values) (map[string]any, *failure) {
	grantType := form.Get("grant_type")
	switch {
	case grantType != ClientCredentials && grantType != TokenExchange:
		return nil, refuse("unsupported_grant_type", "the grant type "+grantType+" is not known")
	case !slices.Contains(client.Grants, grantType):
		return nil, refuse("unauthorized_client", "the client may not use the grant type "+grantType)
	case grantType == ClientCredentials && client.Method == Public:
		return nil, refuse("unauthorized_client", "a public client has no credentials")
	}
	grant := Grant{Client: client.ID, Subject: client.ID, Expires: time.Now().Add(s.options.Lifetime).Truncate(time.Second)}
	issuedType := ""
	if grantType == TokenExchange {
		var problem *failure
		if issuedType, problem = s.exchange(&grant, form); problem != nil {
			return nil, problem
		}
	}
	if problem := grant.scope(client, form); problem != nil {
		return nil, problem
	}
	if problem := grant.target(client, form); problem != nil {
		return nil, problem
	}
	answer := map[string]any{
		"access_token": s.issue(grant), "token_type": "Bearer",
		"expires_in": int64(time.Until(grant.Expires).Round(time.Second) / time.Second),
	}
	if len(grant.Scopes) > 0 {
		answer["scope"] = strings.Join(grant.Scopes, " ")
	}
	if issuedType != "" {
		answer["issued_token_type"] = issuedType
	}
	return answer, nil
}

// exchange reads the parameters of RFC 8693 section 2.1.
func (s *Server) exchange(grant *Grant, form url.Values) (string, *failure) {
	subject, subjectType, requested := form.Get("subject_token"), form.Get("subject_token_type"), form.Get("requested_token_type")
	switch {
	case subject == "" || subjectType == "":
		return "", refuse("invalid_request", "the subject token or its type is missing")
	case subjectType != typeJWT && subjectType != typeIDToken && subjectType != typeAccessToken:
		return "", refuse("invalid_request", "the subject token type is not known")
	case form.Has("actor_token") || form.Has("actor_token_type"):
		return "", refuse("invalid_request", "there are no actors here")
	case requested != "" && requested != typeAccessToken && requested != typeJWT:
		return "", refuse("invalid_request", "the requested token type is not known")
	case requested == typeJWT && !s.options.JWT:
		return "", refuse("invalid_request", "this server's tokens are no JSON Web Tokens")
	}
	reason := "no issuer is trusted"
	for _, issuer := range s.options.Subjects {
		claims, err := issuer.Verify(subject)
		switch {
		case err != nil:
			reason = err.Error()
		case !slices.Contains(claims.Audience, s.options.URL):
			reason = fmt.Sprintf("the audience is %q, not this server", claims.Audience)
		default:
			grant.Subject = claims.Subject
			// A token should not outlive what it was exchanged for.
			if end := claims.Expiry.Time(); end.Before(grant.Expires) {
				grant.Expires = end
			}
			if requested == typeJWT {
				return typeJWT, nil
			}
			return typeAccessToken, nil
		}
	}
	// RFC 8693 section 2.2.2: a subject token that is not accepted is an invalid request. Many servers say invalid_grant.
	return "", refuse("invalid_request", "the subject token "+subject+" is not accepted: "+reason)
}

func (g *Grant) scope(client Client, form url.Values) *failure {
	asked := form.Get("scope")
	if asked == "" {
		g.Scopes = client.Scopes
		return nil
	}
	for scope := range strings.SplitSeq(asked, " ") {
		if !slices.Contains(client.Scopes, scope) {
			return refuse("invalid_scope", fmt.Sprintf("the scope %q is not one of the client's", scope))
		}
		g.Scopes = append(g.Scopes, scope)
	}
	return nil
}

func (g *Grant) target(client Client, form url.Values) *failure {
	for _, resource := range form["resource"] {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || u.Fragment != "" {
			return refuse("invalid_target", "a resource is no absolute URL")
		}
		if !slices.Contains(client.Targets, resource) {
			return refuse("invalid_target", "the resource "+resource+" is not one of the client's")
		}
		g.Resource = resource
	}
	for _, audience := range form["audience"] {
		if !slices.Contains(client.Targets, audience) {
			return refuse("invalid_target", "the audience "+audience+" is not one of the client's")
		}
		g.Audience = audience
	}
	return nil
}

func (s *Server) issue(grant Grant) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := rand.Text() + rand.Text()
	if s.options.JWT {
		token = s.sign(grant)
	}
	s.issued[token] = grant
	return token
}

// sign makes an access token by RFC 9068. The caller holds the lock.
func (s *Server) sign(grant Grant) string {
	options := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", "oauth-1")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key()}, options)
	if err != nil {
		panic(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: s.options.URL, Subject: grant.Subject, Audience: slices.DeleteFunc([]string{grant.Audience, grant.Resource}, func(t string) bool { return t == "" }),
		Expiry: jwt.NewNumericDate(grant.Expires), IssuedAt: jwt.NewNumericDate(time.Now()), ID: rand.Text(),
	}).Claims(map[string]any{"client_id": grant.Client, "scope": strings.Join(grant.Scopes, " ")}).Serialize()
	if err != nil {
		panic(err)
	}
	return token
}
