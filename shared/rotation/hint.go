package rotation

import (
	"strings"

	"github.com/postern-ai/postern/shared/secrets"
)

// Hint is how an issuer shows a key in its lists: the beginning and the end of the secret, with dots or asterisks between.
type Hint struct {
	// ID is the key's id, Text what is shown, such as "sk-ab...xyz".
	ID, Text string
}

// minShown is how many bytes a hint has to show for it to tell keys apart.
const minShown = 6

// ends returns what is shown of the beginning and of the end.
func (h Hint) ends() (head, tail string) {
	const gap = ".*…"
	first, last := strings.IndexAny(h.Text, gap), strings.LastIndexAny(h.Text, gap)
	if first < 0 {
		return "", ""
	}
	return h.Text[:first], strings.TrimLeft(h.Text[last:], gap)
}

// Shows reports whether the hint shows enough to tell keys apart.
func (h Hint) Shows() bool {
	head, tail := h.ends()
	return len(head)+len(tail) >= minShown && tail != ""
}

// Matches reports whether the hint can be that of a secret. One that shows too little is of none.
func (h Hint) Matches(value secrets.Value) bool {
	head, tail := h.ends()
	secret := value.Reveal()
	return h.Shows() && len(secret) > len(head)+len(tail) && strings.HasPrefix(secret, head) && strings.HasSuffix(secret, tail)
}

// IdentifyByHint returns the id of the one key whose hint is that of a secret, and the empty text if there is none. If there are several, the
// secret does not tell which key it is, and the error is [ErrRefused].
func IdentifyByHint[K any](value secrets.Value, keys []K, hint func(K) Hint) (string, error) {
	id := ""
	for _, key := range keys {
		h := hint(key)
		if !h.Matches(value) {
			continue
		}
		if id != "" {
			return "", &Error{Op: "identify", Reason: "more than one key looks like the stored one", Err: ErrRefused}
		}
		id = h.ID
	}
	return id, nil
}
