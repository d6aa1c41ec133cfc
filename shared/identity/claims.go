package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/secrets"
)

// maxDescribed bounds what of a claim is shown, in bytes.
const maxDescribed = 512

// UnverifiedClaims reads the payload of a JSON Web Token into a struct without looking at its signature. It is for tokens that came
// straight from their issuer over a channel that is trusted already, to learn their expiry or to name them in a log; never for a
// decision about who a caller is. Its errors do not quote the token.
func UnverifiedClaims(token secrets.Value, into any) error {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return errors.New("not a JSON Web Token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errors.New("the payload of the JSON Web Token is not base64url")
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return errors.New("the payload of the JSON Web Token is not the expected JSON")
	}
	return nil
}

// DescribeJWT says whom a JSON Web Token is about, for errors that have to tell an operator what to put into a trust policy: its issuer,
// subject and audience, and nothing when it is not such a token. None of these is secret, and none of them is verified.
func DescribeJWT(token secrets.Value) string {
	var claims struct {
		Issuer   string         `json:"iss"`
		Subject  string         `json:"sub"`
		Audience jsontext.Value `json:"aud"`
	}
	if UnverifiedClaims(token, &claims) != nil {
		return ""
	}
	// It is a text or a list of texts (RFC 7519 section 4.1.3).
	var audiences []string
	if json.Unmarshal(claims.Audience, &audiences) != nil {
		audiences = make([]string, 1)
		if json.Unmarshal(claims.Audience, &audiences[0]) != nil {
			return ""
		}
	}
	audience := strings.Join(audiences, ",")
	for _, part := range []string{claims.Issuer, claims.Subject, audience} {
		if !printable(part) || len(part) > maxDescribed {
			return ""
		}
	}
	return fmt.Sprintf("issuer %q, subject %q, audience %q", claims.Issuer, claims.Subject, audience)
}
