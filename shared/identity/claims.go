package identity

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/secrets"
)

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
