package entra

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// exchangeResource is the resource of managed identities' tokens that are shown here, and exchangeID the id of its application, which
	// those tokens have for an audience.
	exchangeResource = "api://AzureADTokenExchange"
	exchangeID       = "fb60f99c-7a34-4190-8149-302f77469936"
)

func invalidClient(number int, format string, values ...any) *refusal {
	return &refusal{http.StatusUnauthorized, "invalid_client", number, fmt.Sprintf(format, values...)}
}

func invalidRequest(number int, format string, values ...any) *refusal {
	return &refusal{http.StatusBadRequest, "invalid_request", number, fmt.Sprintf(format, values...)}
}

// token is the token endpoint, for client credentials alone.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	form, refused := formOf(r)
	if refused != nil {
		refuse(w, refused)
		return
	}
	app, known := s.app(form.Get("client_id"))
	switch {
	case form.Get("grant_type") != "client_credentials":
		refuse(w, &refusal{http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type."})
		return
	case !known:
		refuse(w, &refusal{http.StatusBadRequest, "unauthorized_client", 700016, fmt.Sprintf("Application with identifier '%s' was not found in the directory.", form.Get("client_id"))})
		return
	}
	if refused := s.authenticate(app, form, r); refused != nil {
		refuse(w, refused)
		return
	}
	resource, refused := s.resource(form.Get("scope"))
	if refused != nil {
		refuse(w, refused)
		return
	}
	token, lifetime, err := s.issue(app, resource)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	seconds := int(lifetime.Seconds())
	answer(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token})
}

// formOf refuses parameters that are there twice, and those that nobody has a use for here, so that a misspelt one is noticed.
func formOf(r *http.Request) (url.Values, *refusal) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, invalidRequest(900144, "The request body must be a form.")
	}
	if err := r.ParseForm(); err != nil {
		return nil, invalidRequest(900144, "The request body must be a form.")
	}
	known := []string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope", "client_info", "claims"}
	for name, values := range r.PostForm {
		if !slices.Contains(known, name) {
			return nil, invalidRequest(900144, "The parameter '%s' is not known.", name)
		}
		if len(values) != 1 {
			return nil, invalidRequest(90014, "The parameter '%s' is duplicated.", name)
		}
	}
	return r.PostForm, nil
}

// resource returns what a scope is for. What clients add for people means nothing to an app.
func (s *Server) resource(scope string) (string, *refusal) {
	scopes := slices.DeleteFunc(strings.Fields(scope), func(scope string) bool {
		return slices.Contains([]string{"openid", "profile", "offline_access"}, scope)
	})
	if len(scopes) != 1 {
		return "", &refusal{http.StatusBadRequest, "invalid_scope", 70011, "The provided request must include a 'scope' input parameter for one resource."}
	}
	resource, ok := strings.CutSuffix(scopes[0], "/.default")
	if !ok {
		return "", &refusal{http.StatusBadRequest, "invalid_scope", 1002012, "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier."}
	}
	parsed, err := url.Parse(resource)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "api" || len(s.options.Resources) > 0 && !slices.Contains(s.options.Resources, resource) {
		return "", &refusal{http.StatusBadRequest, "invalid_resource", 500011, fmt.Sprintf("The resource principal named %s was not found in the tenant.", resource)}
	}
	return resource, nil
}

func (s *Server) authenticate(app App, form url.Values, r *http.Request) *refusal {
	hasSecret, hasAssertion := form.Get("client_secret") != "", form.Get("client_assertion") != ""
	switch {
	case hasSecret && hasAssertion:
		return invalidRequest(90023, "Only one of client_secret and client_assertion may be given.")
	case hasSecret:
		return checkSecret(app, form.Get("client_secret"))
	case hasAssertion && form.Get("client_assertion_type") == assertionType:
		return s.checkAssertion(app, form.Get("client_assertion"), s.base(r))
	}
	return invalidClient(7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.")
}

func checkSecret(app App, given string) *refusal {
	expires, known := time.Time{}, false
	for secret, end := range app.Secrets {
		if subtle.ConstantTimeCompare([]byte(secret), []byte(given)) == 1 {
			expires, known = end, true
		}
	}
	if !known && app.Secret != nil {
		expires, known = app.Secret(given)
	}
	switch {
	case !known:
		return invalidClient(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app.ClientID)
	case !expires.IsZero() && !time.Now().Before(expires):
		return invalidClient(7000222, "The provided client secret keys for app '%s' are expired.", app.ClientID)
	}
	return nil
}

// checkAssertion tells the app's own assertions from those of other issuers by their issuer.
func (s *Server) checkAssertion(app App, assertion, base string) *refusal {
	parsed, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384})
	if err != nil || len(parsed.Signatures) != 1 {
		return invalidRequest(50027, "JWT token is invalid or malformed.")
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		ID       string `json:"jti"`
		From     int64  `json:"nbf"`
		Expires  int64  `json:"exp"`
	}
	if json.Unmarshal(parsed.UnsafePayloadWithoutVerification(), &claims) != nil {
		return invalidRequest(50027, "JWT token is invalid or malformed.")
	}
	if !strings.EqualFold(claims.Issuer, app.ClientID) {
		return s.checkFederated(app, assertion)
	}
	key, refused := certificate(app, parsed.Signatures[0].Header)
	if refused != nil {
		return refused
	}
	if _, err := parsed.Verify(key.PublicKey); err != nil {
		return invalidClient(700027, "Client assertion contains an invalid signature.")
	}
	now := time.Now().Unix()
	switch {
	case claims.Subject != claims.Issuer || claims.ID == "":
		return invalidClient(700021, "Client assertion application identifier doesn't match 'client_id' parameter, or has no 'jti'.")
	case claims.Audience != base+"/oauth2/v2.0/token" && claims.Audience != base+"/v2.0":
		return invalidClient(700023, "Client assertion audience claim does not match Realm issuer.")
	case claims.Expires <= now || claims.From > now+300 || claims.Expires-now > 24*3600:
		return invalidClient(700024, "Client assertion is not within its valid time range.")
	}
	return nil
}

// certificate finds the app's certificate that an assertion was signed with: by its thumbprint, or by its name when the chain is there.
func certificate(app App, header jose.Header) (*x509.Certificate, *refusal) {
	if header.Algorithm != "RS256" && header.Algorithm != "PS256" {
		return nil, invalidClient(5002738, "The algorithm of the client assertion is not supported.")
	}
	if app.Roots != nil {
		chains, err := header.Certificates(x509.VerifyOptions{Roots: app.Roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: time.Now()})
		if err == nil && chains[0][0].Subject.CommonName == app.SubjectName {
			return chains[0][0], nil
		}
	}
	given, _ := header.ExtraHeaders["x5t#S256"].(string)
	for _, known := range app.Certificates {
		sum := sha256.Sum256(known.Raw)
		// The library that signs these writes the thumbprint in either alphabet, and with padding or without.
		plain := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(given)
		if plain != base64.RawURLEncoding.EncodeToString(sum[:]) {
			continue
		}
		if now := time.Now(); now.Before(known.NotBefore) || now.After(known.NotAfter) {
			return nil, invalidClient(1000502, "The provided certificate is not within its specified validity period.")
		}
		return known, nil
	}
	return nil, invalidClient(700027, "The certificate with identifier used to sign the client assertion is not registered on application.")
}

// checkFederated compares an assertion of another issuer with the app's federated credentials, one part after the other, as the messages
// of the service do.
func (s *Server) checkFederated(app App, assertion string) *refusal {
	claims, err := jwtauth.Verify(assertion, s.options.Issuers, jose.RS256)
	if errors.Is(err, jwtauth.ErrMalformed) || errors.Is(err, jwtauth.ErrAlgorithm) {
		return invalidRequest(50027, "JWT token is invalid or malformed.")
	}
	// Of its own tokens the service takes only those that managed identities have for this
	// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity).
	exchange := slices.Equal(claims.Audience, []string{exchangeID})
	own := strings.HasPrefix(claims.Issuer, "https://sts.windows.net/") || strings.HasPrefix(claims.Issuer, "https://login.microsoftonline.com/")
	if own && !(exchange && claims.Issuer == "https://login.microsoftonline.com/"+s.options.Tenant+"/v2.0" && claims.Text("idtyp") == "app") {
		return &refusal{http.StatusBadRequest, "invalid_request", 700222, "AAD-issued tokens may not be used for federated identity flows."}
	}
	matches := slices.DeleteFunc(slices.Clone(app.Federated), func(f Federated) bool { return f.Issuer != claims.Issuer })
	if len(matches) == 0 || errors.Is(err, jwtauth.ErrUnknownIssuer) {
		return invalidClient(700211, "No matching federated identity record found for presented assertion issuer '%s'.", claims.Issuer)
	}
	if errors.Is(err, jwtauth.ErrExpired) || errors.Is(err, jwtauth.ErrNotYet) {
		return invalidClient(700024, "Client assertion is not within its valid time range.")
	}
	if err != nil {
		return invalidClient(5001257, "The signature of the client assertion cannot be verified.")
	}
	matches = slices.DeleteFunc(matches, func(f Federated) bool { return f.Subject != claims.Subject })
	if len(matches) == 0 {
		return invalidClient(700213, "No matching federated identity record found for presented assertion subject '%s'.", claims.Subject)
	}
	matches = slices.DeleteFunc(matches, func(f Federated) bool {
		return !slices.Equal(claims.Audience, []string{f.Audience}) && !(exchange && f.Audience == exchangeResource)
	})
	if len(matches) == 0 {
		return invalidClient(700212, "No matching federated identity record found for presented assertion audience.")
	}
	return nil
}
