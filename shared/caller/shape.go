package caller

import (
	"net/url"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// shape is what tells an issuer's access tokens from its other tokens, where RFC 9068 does not: an ID token says to an
// application who has signed in, is given to every such application, and must not open anything (RFC 8725 section 2.8).
type shape int

const (
	generic shape = iota
	// googleIssuer makes no other signed tokens than ID tokens.
	googleIssuer
	// entraIssuer names the application that a token was given to in access tokens alone: azp in version 2, appid in version 1
	// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
	entraIssuer
	// cognitoIssuer says what a token is for in token_use, and in access tokens has client_id in place of aud
	// (https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html).
	cognitoIssuer
)

// shapeOf recognises an issuer by its URL, which the configuration gives.
func shapeOf(issuer string) shape {
	u, err := url.Parse(issuer)
	if err != nil {
		return generic
	}
	switch host := strings.ToLower(u.Hostname()); {
	case host == "accounts.google.com":
		return googleIssuer
	case host == "sts.windows.net", host == "login.microsoftonline.com", host == "login.microsoftonline.us",
		host == "login.partner.microsoftonline.cn", host == "login.chinacloudapi.cn", strings.HasSuffix(host, ".ciamlogin.com"):
		return entraIssuer
	case strings.HasPrefix(host, "cognito-idp.") && (strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn")):
		return cognitoIssuer
	}
	return generic
}

// audiences returns whom the token is meant for.
func (s shape) audiences(c *claims) []string {
	if s == cognitoIssuer && c.Audience == nil && c.details.Use.text() == "access" {
		if client := c.details.Client.text(); client != "" {
			return []string{client}
		}
	}
	return c.Audience
}

// groups returns the groups that the issuer gives the caller.
func (s shape) groups(c *claims) []string {
	if s == cognitoIssuer && c.Groups == nil {
		return c.details.CognitoGroups.texts()
	}
	return c.Groups
}

// identifies reports whether the token is one that says who has signed in, or that gets other tokens, rather than one that
// opens something.
func (s shape) identifies(t *token) bool {
	d := t.claims.details
	if t.header.kind() == typeAccessToken {
		return false
	}
	switch s {
	case googleIssuer:
		return false
	case entraIssuer:
		return d.Azp.text() == "" && d.AppID.text() == ""
	case cognitoIssuer:
		return d.Use.text() != "access"
	}
	switch d.Typ.text() { // Keycloak's
	case "Bearer":
		return false
	case "ID", "Refresh", "Offline", "Logout":
		return true
	}
	// OpenID Connect Core 1.0 section 3.1.3.6: what ties an ID token to a sign-in.
	return d.AccessHash.Value != nil || d.CodeHash.Value != nil || d.Nonce.Value != nil
}

// kindRefused checks that a token is of the kind that is accepted from its issuer.
func (i *issuer) kindRefused(t *token) *Error {
	switch {
	case i.TokenType == config.TokenTypeAccess && t.header.kind() != typeAccessToken:
		return &Error{Code: WrongKind, Public: "the token is no access token by RFC 9068, and this gateway takes no others from its issuer"}
	case !i.IDTokens && i.shape.identifies(t):
		return &Error{Code: WrongKind, Public: "the token says who has signed in, or gets other tokens; send the access token for this gateway instead"}
	}
	return nil
}
