package redistokens

import "github.com/postern-ai/postern/shared/secrets"

// NameOf returns the name in Redis for an identity.
func NameOf(key secrets.Value, identity ...string) (string, error) {
	keys, err := parseKey(key)
	if err != nil {
		return "", err
	}
	return keys.nameOf(identity), nil
}
