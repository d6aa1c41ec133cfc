package googlests

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// problem is an error as Google's APIs write them (https://cloud.google.com/apis/design/errors).
type problem struct {
	code    int
	status  string
	message string
}

// Error returns the message.
func (p *problem) Error() string { return p.message }

var (
	denied = &problem{http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."}
	scopes = &problem{http.StatusForbidden, "PERMISSION_DENIED", "Request had insufficient authentication scopes."}
	absent = &problem{http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token."}
)

func argument(message string) error {
	return &problem{http.StatusBadRequest, "INVALID_ARGUMENT", message}
}

// credentials is the IAM Credentials API.
func (s *Server) credentials(w http.ResponseWriter, r *http.Request) {
	result, err := s.impersonate(r)
	if err != nil {
		refused, ok := errors.AsType[*problem](err)
		if !ok {
			refused = &problem{http.StatusInternalServerError, "INTERNAL", "Internal error encountered."}
		}
		answer(w, refused.code, map[string]any{"error": map[string]any{"code": refused.code, "message": refused.message, "status": refused.status}})
		return
	}
	answer(w, http.StatusOK, result)
}

func (s *Server) impersonate(r *http.Request) (any, error) {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller, known := s.Grant(bearer)
	if !ok || !known {
		return nil, absent
	}
	if !slices.Contains(caller.Scopes, CloudPlatform) && !slices.Contains(caller.Scopes, "https://www.googleapis.com/auth/iam") {
		return nil, scopes
	}
	email, method, _ := strings.Cut(r.PathValue("method"), ":")
	if r.PathValue("project") != "-" {
		return nil, argument("Invalid form of account ID. Should be [Gaia ID |Email |Unique ID |] of the account")
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return nil, argument("The request body must be JSON.")
	}
	switch method {
	case "generateAccessToken":
		return s.accessToken(r.Body, caller, email)
	case "generateIdToken":
		return s.idToken(r.Body, caller, email)
	}
	return nil, &problem{http.StatusNotFound, "NOT_FOUND", "Method not found."}
}

// decode refuses fields that the message does not have, as the API does.
func decode(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return argument("Invalid JSON payload received.")
	}
	return nil
}

// target returns the account if each of the chain may create tokens for the next.
func (s *Server) target(caller Grant, delegates []string, email string) (Account, error) {
	member := caller.Member
	for _, delegate := range append(slices.Clone(delegates), "projects/-/serviceAccounts/"+email) {
		name, ok := strings.CutPrefix(delegate, "projects/-/serviceAccounts/")
		if !ok {
			return Account{}, argument("Invalid delegate.")
		}
		account, known := s.account(name)
		if !known || !slices.Contains(account.Creators, member) {
			return Account{}, denied
		}
		member = "serviceAccount:" + account.Email
	}
	account, _ := s.account(email)
	return account, nil
}

func (s *Server) accessToken(body io.Reader, caller Grant, email string) (any, error) {
	var request struct {
		Scope     []string `json:"scope"`
		Lifetime  string   `json:"lifetime"`
		Delegates []string `json:"delegates"`
	}
	if err := decode(body, &request); err != nil {
		return nil, err
	}
	if len(request.Scope) == 0 || !all(request.Scope, isScope) {
		return nil, argument("Request contains an invalid argument: scope.")
	}
	account, err := s.target(caller, request.Delegates, email)
	if err != nil {
		return nil, err
	}
	longest := time.Hour
	if account.LongLived {
		longest = 12 * time.Hour
	}
	var lifetime time.Duration
	if request.Lifetime != "" {
		lifetime, err = time.ParseDuration(request.Lifetime)
		if err != nil || !strings.HasSuffix(request.Lifetime, "s") || lifetime <= 0 || lifetime > longest {
			return nil, argument("The lifetime must be a positive duration of at most " + longest.String() + ".")
		}
	}
	token, grant := s.issue("serviceAccount:"+account.Email, request.Scope, lifetime)
	return map[string]string{"accessToken": token, "expireTime": grant.Expires.UTC().Format(time.RFC3339)}, nil
}

func (s *Server) idToken(body io.Reader, caller Grant, email string) (any, error) {
	var request struct {
		Audience     string   `json:"audience"`
		IncludeEmail bool     `json:"includeEmail"`
		Delegates    []string `json:"delegates"`
	}
	if err := decode(body, &request); err != nil {
		return nil, err
	}
	if request.Audience == "" {
		return nil, argument("Request contains an invalid argument: audience.")
	}
	account, err := s.target(caller, request.Delegates, email)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	claims := map[string]any{
		"iss": Issuer, "aud": request.Audience, "azp": account.UniqueID, "sub": account.UniqueID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	if request.IncludeEmail {
		claims["email"], claims["email_verified"] = account.Email, true
	}
	token, err := s.options.Signer.Sign(claims)
	if err != nil {
		return nil, err
	}
	return map[string]string{"token": token}, nil
}
