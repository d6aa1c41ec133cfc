package redistokens

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/redis"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	prefix   = "postern:token:v1:"
	keyBytes = secrets.KeyBytes
	// version is the first byte of what is stored, and bound to it. Instances of a later release leave what they do not know alone and
	// fetch.
	version = 1
	// maxSealed is the longest entry that is looked at, in bytes. Tokens are a few kilobytes at most.
	maxSealed = redis.MaxValue
	// maxMargin is how long before its end a token is no longer shared, unless it is a short-lived one.
	maxMargin = 30 * time.Second
)

// keys are what the one secret key is used for.
type keys struct{ naming, sealing []byte }

// parseKey reads a secret key. Its errors do not quote it.
func parseKey(value secrets.Value) (keys, error) {
	key, err := secrets.ParseKey(value)
	if err != nil {
		return keys{}, &identity.Error{Public: "the key of the shared token cache is " + err.Error()}
	}
	// One key for two algorithms would tie the safety of each to the other.
	naming, err := hkdf.Key(sha256.New, key, nil, "postern shared tokens v1: names", keyBytes)
	if err != nil {
		return keys{}, err
	}
	sealing, err := hkdf.Key(sha256.New, key, nil, "postern shared tokens v1: sealing", keyBytes)
	if err != nil {
		return keys{}, err
	}
	return keys{naming, sealing}, nil
}

// nameOf returns the key in Redis for an identity. The parts are hashed with their lengths, so that no two lists of parts run into the same
// text, and the hash is not shortened, so that no two identities share a token. The braces keep a token and its lock on one node of a
// cluster.
func (k keys) nameOf(parts []string) string {
	mac := hmac.New(sha256.New, k.naming)
	for _, part := range parts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return prefix + "{" + hex.EncodeToString(mac.Sum(nil)) + "}"
}

// entry is a token as it is shared.
type entry struct {
	token identity.Token
	// issued is when the token was fetched, by the clock of whoever did.
	issued time.Time
}

// sealed is the JSON that is sealed. Times are in Unix milliseconds.
type sealed struct {
	Issued  int64  `json:"issued"`
	Expires int64  `json:"expires"`
	Name    string `json:"name"`
	Source  string `json:"source"`
	Type    string `json:"type"`
	Token   string `json:"token"`
}

// unshareable is why a token cannot be stored on any server.
type unshareable struct{ why string }

func (u *unshareable) Error() string { return u.why }

// seal encrypts an entry for one name in Redis: version, nonce, ciphertext.
func (k keys) seal(name string, e entry) (string, error) {
	aead, err := k.aead()
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(sealed{
		Issued: e.issued.UnixMilli(), Expires: e.token.Expires.UnixMilli(),
		Name: e.token.Principal.Name, Source: e.token.Principal.Source,
		Type: e.token.Type, Token: e.token.Value.Reveal(),
	})
	if err != nil {
		return "", &unshareable{"it is not text"}
	}
	box := aead.Seal([]byte{version}, nil, plain, bound(name))
	if len(box) > maxSealed {
		return "", &unshareable{"it is too long"}
	}
	return string(box), nil
}

// unusable is why an entry was passed over. The next token that is shared replaces it.
func unusable(what string) error {
	return &identity.Error{Public: "what is stored under the token's name " + what}
}

func notOurs() error { return unusable("is not a token that was sealed under this key for this name") }

// open decrypts what was stored under a name. All that can be wrong with it is the same error.
func (k keys) open(name, box string) (entry, error) {
	if len(box) < 2 || len(box) >= maxSealed || box[0] != version {
		return entry{}, notOurs()
	}
	aead, err := k.aead()
	if err != nil {
		return entry{}, err
	}
	plain, err := aead.Open(nil, nil, []byte(box[1:]), bound(name))
	if err != nil {
		return entry{}, notOurs()
	}
	var s sealed
	if err := json.Unmarshal(plain, &s); err != nil {
		return entry{}, notOurs()
	}
	e := entry{issued: time.UnixMilli(s.Issued), token: identity.Token{
		Value: secrets.NewValue(s.Token), Type: s.Type, Expires: time.UnixMilli(s.Expires),
		Principal: identity.Principal{Name: s.Name, Source: s.Source},
	}}
	if e.token.Check() != nil || !e.issued.Before(e.token.Expires) {
		return entry{}, notOurs()
	}
	return e, nil
}

func (k keys) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.sealing)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// bound is what a sealed entry belongs to: moved to another name it does not open.
func bound(name string) []byte { return append([]byte{version}, name...) }

// lifetime is how long the token was valid for when it was fetched.
func (e entry) lifetime() time.Duration { return e.token.Expires.Sub(e.issued) }

// margin is how long before its end a token is no longer shared. It is longer than the one with which a request is signed, so that nobody
// is handed a token that he would throw away at once.
func (e entry) margin() time.Duration { return min(maxMargin, e.lifetime()/4) }

func (e entry) valid(now time.Time) bool { return now.Before(e.token.Expires.Add(-e.margin())) }
