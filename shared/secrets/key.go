package secrets

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// KeyBytes is how long a key is.
const KeyBytes = 32

// ParseKey returns the key that a value holds: 32 bytes in hexadecimal or in base64. Its error quotes nothing.
func ParseKey(value Value) ([]byte, error) {
	text := strings.TrimSpace(value.Reveal())
	key, err := hex.DecodeString(text)
	if err != nil {
		text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		key, err = base64.RawStdEncoding.DecodeString(text)
	}
	if err != nil || len(key) != KeyBytes {
		return nil, errors.New("not 32 bytes in base64 or hexadecimal; make one with: openssl rand -base64 32")
	}
	return key, nil
}
