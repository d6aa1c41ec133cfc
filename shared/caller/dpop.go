package caller

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/config"
)

// dpop checks proofs of possession (RFC 9449): with each request its sender shows that it has the key which its token is bound
// to. A proof is for one method, one address, one token and a minute, and counts once.
type dpop struct {
	// address is the gateway's as its callers know it. What the request says of that is the caller's own word.
	address string
	used    replays
	// elsewhere is as Options.FirstUse.
	elsewhere func(ctx context.Context, proof string, span time.Duration) bool
}

const (
	schemeDPoP    = "DPoP"
	typeDPoP      = "dpop+jwt"
	maxProofBytes = 8 << 10
	maxProofID    = 256
)

// proof is the payload of a proof (section 4.2).
type proof struct {
	ID      string   `json:"jti"`
	Method  string   `json:"htm"`
	Address string   `json:"htu"`
	Issued  *float64 `json:"iat"`
	Token   string   `json:"ath"`
}

// check holds a request with a token to the key that the token is bound to, by its thumbprint (section 4.3).
func (d *dpop) check(r *http.Request, token, thumbprint string) *Error {
	values := r.Header[headerDPoP]
	switch {
	case len(values) == 0:
		return unprovenKey("the token is bound to a key; send a proof for it in the header DPoP")
	case len(values) > 1 || len(values[0]) > maxProofBytes:
		return badProof("it is given more than once, or is too long")
	}
	var j jws
	var p proof
	if j.takeApart(values[0]) != nil || !j.holds(&p) {
		return badProof("it is not a well-formed signed JWT")
	}
	if problem := j.shown(thumbprint); problem != "" {
		return badProof(problem)
	}
	now := wallClock()
	if problem := p.check(r, d.address, token, now); problem != "" {
		return badProof(problem)
	}
	used := d.used.first(thumbprint, p.ID, now)
	if used == fresh && d.elsewhere != nil && !d.elsewhere(r.Context(), thumbprint+" "+p.ID, replaySpan) {
		used = replayed
	}
	switch used {
	case replayed:
		return badProof("it has been used before; make one for each request")
	case overrun:
		return &Error{Code: Unavailable, Public: "too many requests at once with proofs of possession; try again shortly"}
	}
	return nil
}

// shown checks that the proof is signed with the key of that thumbprint, which the proof brings along.
func (j *jws) shown(thumbprint string) string {
	var k jwk
	var members map[string]jsontext.Value
	switch {
	case j.header.kind() != typeDPoP:
		return "its typ is not " + typeDPoP
	case !slices.Contains(config.Algorithms(), j.header.Algorithm):
		return "its algorithm is not one of " + strings.Join(config.Algorithms(), ", ")
	case j.header.Key == nil || json.Unmarshal(j.header.Key, &k) != nil || json.Unmarshal(j.header.Key, &members) != nil:
		return "its header holds no key (jwk)"
	case members["d"] != nil || members["k"] != nil:
		return "its header holds a private key, which must not be shown to anybody; make a new one"
	case subtle.ConstantTimeCompare([]byte(k.thumbprint()), []byte(thumbprint)) == 0:
		return "its key is not the one that the token is bound to"
	}
	// It is the key itself that counts, whatever it says that it is for.
	key := publicKey{key: k.public()}
	j.header.KeyID = ""
	if key.key == nil || !key.fits(j) || !key.verifies(j) {
		return "its signature is not valid"
	}
	return ""
}

// thumbprint is how a token names a key (RFC 7638).
func (k *jwk) thumbprint() string {
	var members string
	switch k.Type {
	case "EC":
		members = fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, k.Curve, k.X, k.Y)
	case "RSA":
		members = fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, k.E, k.N)
	case "OKP":
		members = fmt.Sprintf(`{"crv":%q,"kty":"OKP","x":%q}`, k.Curve, k.X)
	}
	return hashOf(members)
}

// hashOf is a SHA-256 in base64url.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// check compares what the proof is for with the request that it came with.
func (p *proof) check(r *http.Request, address, token string, now time.Time) string {
	switch {
	case p.ID == "" || len(p.ID) > maxProofID:
		return "its jti is missing or too long"
	case p.Method != r.Method:
		return "it is for another method (htm)"
	case !sameAddress(p.Address, address+r.URL.EscapedPath()):
		return "it is for another address (htu) than this request's path at " + address
	case subtle.ConstantTimeCompare([]byte(p.Token), []byte(hashOf(token))) == 0:
		return "it is for another token (ath)"
	case p.Issued == nil || *p.Issued < 0 || *p.Issued > mostSeconds:
		return "its iat is missing or is no date"
	}
	if age := now.Sub(time.Unix(int64(*p.Issued), 0)); age > leeway || age < -leeway {
		return "it was not made within the last minute (iat)"
	}
	return ""
}

// sameAddress compares addresses by their meaning (RFC 3986 sections 6.2.2 and 6.2.3), without query and fragment.
func sameAddress(a, b string) bool {
	first, err := url.Parse(a)
	second, err2 := url.Parse(b)
	if err != nil || err2 != nil || first.User != nil {
		return false
	}
	return strings.EqualFold(first.Scheme, second.Scheme) && hostOf(first) == hostOf(second) && pathOf(first) == pathOf(second)
}

// hostOf is the host in small letters, with its port if that is not the scheme's own.
func hostOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := (map[string]string{"https": ":443", "http": ":80"})[strings.ToLower(u.Scheme)]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	return strings.TrimSuffix(host, ":")
}

// pathOf is the path with what need not be encoded as it is, and large letters in what is.
func pathOf(u *url.URL) string {
	escaped := u.EscapedPath()
	if escaped == "" {
		return "/"
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' { // of which EscapedPath has none without two digits behind it
			b.WriteByte(escaped[i])
			continue
		}
		code := strings.ToUpper(escaped[i : i+3])
		if c, err := url.PathUnescape(code); err == nil && unreserved(c[0]) {
			code = c
		}
		b.WriteString(code)
		i += 2
	}
	return b.String()
}

// unreserved reports whether a character means the same encoded and not (RFC 3986 section 2.3).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func badProof(cause string) *Error {
	e := unprovenKey("the proof of possession in the header DPoP does not count: " + cause)
	e.Code = BadProof
	return e
}

// unprovenKey is a refusal that a proof would mend.
func unprovenKey(public string) *Error {
	e := unproven(public)
	e.dpop = true
	return e
}

// replays remembers the proofs that have been used, for as long as they could be used again: a minute before and one after
// their own time. It holds those of one to two such spans. Each instance has its own: whoever steals a proof within its minute
// and finds another instance uses it a second time there, unless instances tell each other (Options.FirstUse).
type replays struct {
	mu        sync.Mutex
	began     time.Time
	now, past map[[sha256.Size]byte]struct{}
}

const (
	replaySpan = 2 * leeway
	// mostReplays bounds each span, at a few megabytes. It is several hundred requests each second.
	mostReplays = 50_000
)

// replay is what is known about a proof.
type replay int

const (
	fresh replay = iota
	replayed
	overrun // there is no room to remember it, so it cannot be let pass
)

// first notes a proof, and reports whether this is its first use.
func (u *replays) first(thumbprint, id string, now time.Time) replay {
	key := sha256.Sum256([]byte(thumbprint + " " + id))
	u.mu.Lock()
	defer u.mu.Unlock()
	switch age := now.Sub(u.began); {
	case u.now == nil || age >= 2*replaySpan:
		u.now, u.past, u.began = map[[sha256.Size]byte]struct{}{}, nil, now
	case age >= replaySpan:
		u.now, u.past, u.began = map[[sha256.Size]byte]struct{}{}, u.now, now
	case age < 0: // the clock was set back
		u.began = now
	}
	_, again := u.now[key]
	_, before := u.past[key]
	switch {
	case again || before:
		return replayed
	case len(u.now) >= mostReplays:
		return overrun
	}
	u.now[key] = struct{}{}
	return fresh
}
