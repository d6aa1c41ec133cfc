package googlests

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	grantType       = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	jwtType         = "urn:ietf:params:oauth:token-type:jwt"
	idTokenType     = "urn:ietf:params:oauth:token-type:id_token"
	awsType         = "urn:ietf:params:aws:token-type:aws4_request"

	// maxSubject bounds google.subject, in bytes.
	maxSubject = 127
	// maxAge is how old a token of another issuer may be.
	maxAge = 24 * time.Hour
)

// exchange is the token exchange of RFC 8693.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	form, ok := formOf(w, r)
	if !ok {
		return
	}
	audience, scopes := form.Get("audience"), strings.Fields(form.Get("scope"))
	provider, known := s.options.Providers[audience]
	switch {
	case r.Header.Get("Authorization") != "":
		refuse(w, "invalid_request", "The Authorization header must not be sent.")
		return
	case form.Get("grant_type") != grantType:
		refuse(w, "unsupported_grant_type", "Invalid grant_type.")
		return
	case form.Get("requested_token_type") != accessTokenType:
		refuse(w, "invalid_request", "Invalid requested_token_type.")
		return
	case len(scopes) == 0 || !all(scopes, isScope):
		refuse(w, "invalid_scope", "Some requested scopes were invalid.")
		return
	case !known && !strings.HasPrefix(audience, "//iam.googleapis.com/projects/"):
		refuse(w, "invalid_request", `Invalid value for "audience". This value should be the full resource name of the Identity Provider.`)
		return
	case !known:
		refuse(w, "invalid_target", "The target service indicated by the \"audience\" parameters is invalid. This might either be because the pool or provider is disabled or deleted or because it doesn't exist.")
		return
	}
	subject, err := s.subject(provider, form)
	if err != nil {
		refused, ok := errors.AsType[*refusal](err)
		if !ok {
			refused = &refusal{"invalid_grant", "The subject token is not accepted."}
		}
		refuse(w, refused.code, refused.description)
		return
	}
	pool, _, _ := strings.Cut(audience, "/providers/")
	token, grant := s.issue("principal:"+pool+"/subject/"+subject, scopes, 0)
	answer(w, http.StatusOK, map[string]any{
		"access_token": token, "issued_token_type": accessTokenType, "token_type": "Bearer", "expires_in": int(time.Until(grant.Expires).Round(time.Second).Seconds()),
	})
}

func all(texts []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return !holds(text) })
}

// formOf refuses what RFC 6749 section 3.2 forbids: another encoding, and parameters that are there twice.
func formOf(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") || r.URL.RawQuery != "" {
		refuse(w, "invalid_request", "The parameters must be a form in the body.")
		return nil, false
	}
	if err := r.ParseForm(); err != nil {
		refuse(w, "invalid_request", "The body is not a form.")
		return nil, false
	}
	for _, values := range r.PostForm {
		if len(values) != 1 {
			refuse(w, "invalid_request", "A parameter is given twice.")
			return nil, false
		}
	}
	return r.PostForm, true
}

type refusal struct{ code, description string }

// Error returns the description.
func (r *refusal) Error() string { return r.description }

// subject verifies the subject token and returns google.subject: the ARN for AWS, the sub claim for others.
func (s *Server) subject(provider Provider, form url.Values) (string, error) {
	var subject string
	var err error
	kind, token := form.Get("subject_token_type"), form.Get("subject_token")
	switch {
	case provider.AWS != "" && kind == awsType:
		subject, err = s.awsSubject(provider, form.Get("audience"), token)
	case provider.Issuer != "" && (kind == jwtType || kind == idTokenType):
		subject, err = s.jwtSubject(provider, form.Get("audience"), token)
	default:
		return "", &refusal{"invalid_request", "The subject_token_type does not fit the provider."}
	}
	switch {
	case err != nil:
		return "", err
	case len(subject) > maxSubject:
		return "", &refusal{"invalid_grant", "The size of mapped attribute google.subject exceeds the 127 bytes limit."}
	case provider.Condition != nil && !provider.Condition(subject):
		return "", &refusal{"unauthorized_client", "The given credential is rejected by the attribute condition."}
	}
	return subject, nil
}

func (s *Server) jwtSubject(provider Provider, name, token string) (string, error) {
	claims, err := jwtauth.Verify(token, s.options.Issuers, jose.RS256, jose.ES256)
	switch {
	case errors.Is(err, jwtauth.ErrExpired):
		return "", &refusal{"invalid_grant", "ID Token issued at is stale to sign-in."}
	case err != nil:
		return "", &refusal{"invalid_grant", "Error connecting to the given credential's issuer, or the credential's signature is invalid."}
	case claims.Issuer != provider.Issuer:
		return "", &refusal{"invalid_grant", "The issuer in ID Token does not match the expected one."}
	case time.Since(claims.IssuedAt) > maxAge:
		return "", &refusal{"invalid_grant", "ID Token issued at is stale to sign-in."}
	}
	audiences := provider.Audiences
	if len(audiences) == 0 {
		audiences = []string{name, "https:" + name}
	}
	if !slices.ContainsFunc(claims.Audience, func(a string) bool { return slices.Contains(audiences, a) }) {
		return "", &refusal{"invalid_grant", "The audience in ID Token does not match the expected audience."}
	}
	return claims.Subject, nil
}

// awsRequest is a request for the caller's identity, signed and not sent.
type awsRequest struct {
	URL     string `json:"url"`
	Method  string `json:"method"`
	Headers []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	} `json:"headers"`
}

// awsSubject checks the request as AWS would, and that it was made for this provider. Google recommends that the header which says so is
// signed, and does not require it: not all of its own clients sign it.
func (s *Server) awsSubject(provider Provider, name, token string) (string, error) {
	request, region, err := parseAWS(token)
	if err != nil {
		return "", err
	}
	if target := strings.TrimPrefix(request.Header.Get("X-Goog-Cloud-Target-Resource"), "https:"); target != name {
		return "", &refusal{"invalid_grant", "The x-goog-cloud-target-resource header does not name the provider."}
	}
	key, err := awsauth.Verifier{Keys: s.options.Keys, Service: "sts", Region: region}.Verify(request, nil)
	if err != nil {
		return "", &refusal{"invalid_grant", "Received invalid AWS response of type 'Sender' with the following reason: " + err.Error()}
	}
	if key.Account != provider.AWS {
		return "", &refusal{"unauthorized_client", "The AWS account is not the provider's."}
	}
	return key.ARN, nil
}

func parseAWS(token string) (*http.Request, string, error) {
	malformed := &refusal{"invalid_grant", "Unable to parse the GetCallerIdentity token."}
	text, err := url.QueryUnescape(token)
	if err != nil {
		return nil, "", malformed
	}
	var parsed awsRequest
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&parsed) != nil {
		return nil, "", malformed
	}
	target, err := url.Parse(parsed.URL)
	if err != nil || target.Scheme != "https" || target.Path != "" && target.Path != "/" || parsed.Method != http.MethodPost {
		return nil, "", malformed
	}
	query := target.Query()
	if query.Get("Action") != "GetCallerIdentity" || query.Get("Version") != "2011-06-15" || len(query) != 2 {
		return nil, "", malformed
	}
	region := "us-east-1"
	if target.Host != "sts.amazonaws.com" {
		middle, prefixed := strings.CutPrefix(target.Host, "sts.")
		var suffixed bool
		if region, suffixed = strings.CutSuffix(middle, ".amazonaws.com"); !prefixed || !suffixed || strings.Contains(region, ".") {
			return nil, "", malformed
		}
	}
	request := &http.Request{Method: parsed.Method, URL: target, Header: http.Header{}}
	for _, header := range parsed.Headers {
		if strings.EqualFold(header.Key, "host") {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Key, header.Value)
	}
	if request.Host != target.Host {
		return nil, "", malformed
	}
	return request, region, nil
}
