package googlests

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	bearerGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// tokenURL is the audience of assertions, wherever this stand-in listens.
	tokenURL = "https://oauth2.googleapis.com/token"
	// aiplatform is the audience of tokens that service accounts sign themselves for Vertex AI.
	aiplatform = "https://aiplatform.googleapis.com/"
	maxLife    = time.Hour
)

// oauth is the OAuth 2.0 token endpoint.
func (s *Server) oauth(w http.ResponseWriter, r *http.Request) {
	form, ok := formOf(w, r)
	if !ok {
		return
	}
	switch form.Get("grant_type") {
	case bearerGrant:
		s.bearer(w, form)
	case "refresh_token":
		s.refresh(w, form)
	default:
		refuse(w, "unsupported_grant_type", "Invalid grant_type: "+form.Get("grant_type"))
	}
}

func (s *Server) bearer(w http.ResponseWriter, form url.Values) {
	claims, ok := s.verifyOwn(form.Get("assertion"))
	scopes := strings.Fields(claims.Text("scope"))
	switch {
	case !ok:
		refuse(w, "invalid_grant", "Invalid JWT Signature.")
	case !slices.Equal(claims.Audience, []string{tokenURL}):
		refuse(w, "invalid_grant", "Invalid JWT: Failed audience check. The right audience is "+tokenURL)
	case len(scopes) == 0 || !all(scopes, isScope):
		refuse(w, "invalid_scope", "Invalid OAuth scope or ID token audience provided.")
	default:
		s.granted(w, "serviceAccount:"+claims.Issuer, scopes)
	}
}

func (s *Server) refresh(w http.ResponseWriter, form url.Values) {
	at := slices.IndexFunc(s.options.Users, func(u User) bool { return u.ClientID == form.Get("client_id") })
	switch {
	case at < 0 || s.options.Users[at].ClientSecret != form.Get("client_secret"):
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "The provided client secret is invalid."})
	case s.options.Users[at].RefreshToken != form.Get("refresh_token"):
		refuse(w, "invalid_grant", "Token has been expired or revoked.")
	default:
		s.granted(w, "user:"+s.options.Users[at].Email, []string{CloudPlatform, "openid"})
	}
}

func (s *Server) granted(w http.ResponseWriter, member string, scopes []string) {
	token, grant := s.issue(member, scopes, 0)
	answer(w, http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(time.Until(grant.Expires).Round(time.Second).Seconds()),
	})
}

// verifyOwn checks a token that a service account has signed: for the token endpoint, or as an access token. It lasts for an hour at most.
func (s *Server) verifyOwn(token string) (jwtauth.Claims, bool) {
	keys := func(issuer string) (jose.JSONWebKeySet, bool) {
		account, ok := s.account(issuer)
		keys := account.Keys
		if account.KeySet != nil {
			keys.Keys = slices.Concat(keys.Keys, account.KeySet().Keys)
		}
		return keys, ok
	}
	claims, err := jwtauth.Verify(token, keys, jose.RS256)
	return claims, err == nil && claims.Subject == claims.Issuer && claims.Expires.Sub(claims.IssuedAt) <= maxLife
}

// selfSigned accepts the tokens of https://google.aip.dev/auth/4111: for an audience or for scopes, never for both.
func (s *Server) selfSigned(token string) (Grant, bool) {
	if strings.Count(token, ".") != 2 {
		return Grant{}, false
	}
	claims, ok := s.verifyOwn(token)
	scopes := strings.Fields(claims.Text("scope"))
	if !ok || slices.Contains(claims.Audience, tokenURL) {
		return Grant{}, false
	}
	if slices.Equal(claims.Audience, []string{aiplatform}) {
		if len(scopes) > 0 {
			return Grant{}, false
		}
		scopes = []string{CloudPlatform}
	}
	return Grant{Member: "serviceAccount:" + claims.Issuer, Scopes: scopes, Expires: claims.Expires}, len(scopes) > 0
}
