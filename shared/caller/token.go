package caller

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The limits of a token, checked before anything in it is parsed. Real tokens have a few kilobytes; Entra's grow with the
// number of groups, up to 200 of them.
const (
	maxTokenBytes   = 16 << 10
	maxSubjectBytes = 1024
	maxKeyIDBytes   = 512
)

// mostSeconds is the end of the year 9999. It keeps the conversion of a date to an integer in range.
const mostSeconds = 253402300799

// leeway is how far the issuer's clock may be from ours (RFC 8725, RFC 7519 section 4.1.4).
const leeway = time.Minute

// jws is a signed text in compact form (RFC 7515 section 3.1) that has been taken apart. Nothing in it is trusted until its
// signature has been verified.
type jws struct {
	header    header
	encoded   string // the payload
	payload   []byte // JSON, once it has been read
	signed    string // the text that the signature is over
	signature string // still encoded
}

// token is a JWT that has been taken apart.
type token struct {
	jws
	claims claims
}

// header is the JOSE header as far as it counts. The fields jku, x5u, jwk and x5c, by which a token would bring its own key,
// are not read at all; refusing them would refuse issuers that send them out of habit.
type header struct {
	Algorithm   string         `json:"alg"`
	KeyID       string         `json:"kid"`
	Type        string         `json:"typ"`
	ContentType string         `json:"cty"`
	Critical    jsontext.Value `json:"crit"`
	Encryption  jsontext.Value `json:"enc"`
	// Key is the key of a proof of possession, which brings its own. In a token it is not looked at.
	Key jsontext.Value `json:"jwk"`
}

// claims are the claims that count (RFC 7519 section 4.1, RFC 9068).
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  texts    `json:"aud"`
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	IssuedAt  *float64 `json:"iat"`
	Groups    texts    `json:"groups"`
	// Confirmation is what the token is bound to (RFC 7800).
	Confirmation map[string]jsontext.Value `json:"cnf"`
	// These two are Google's. Other issuers may give them any shape.
	Email         any `json:"email"`
	EmailVerified any `json:"email_verified"`

	details `json:",inline"`
}

// texts is a claim that is one text or a list of texts.
type texts []string

// UnmarshalJSONFrom reads either form.
func (t *texts) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case '"':
		var one string
		if err := json.UnmarshalDecode(d, &one); err != nil {
			return err
		}
		*t = texts{one}
		return nil
	case '[':
		return json.UnmarshalDecode(d, (*[]string)(t))
	case 'n':
		return d.SkipValue()
	default:
		return errors.New("neither a text nor a list of texts")
	}
}

// credential is what a header presents, and in which scheme.
type credential struct{ scheme, text string }

// bearer returns the credential of a header in the Bearer scheme (RFC 6750).
func bearer(r *http.Request, name string) (string, *Error) {
	c, failure := presented(r, name, schemeBearer)
	return c.text, failure
}

const schemeBearer = "Bearer"

// presented returns the credential of a header in one of the schemes. Two headers, or two credentials in one, are refused: two
// parties that pick different ones would see different callers.
func presented(r *http.Request, name string, schemes ...string) (credential, *Error) {
	values := r.Header[name]
	if len(values) == 0 {
		return credential{}, missing()
	}
	if len(values) > 1 {
		return credential{}, malformed("the header is given more than once")
	}
	given, text, _ := strings.Cut(values[0], " ")
	i := slices.IndexFunc(schemes, func(scheme string) bool { return strings.EqualFold(scheme, given) })
	if i < 0 {
		return credential{}, missing()
	}
	text = strings.Trim(text, " ")
	switch {
	case text == "":
		return credential{}, missing()
	case len(text) > maxTokenBytes:
		return credential{}, malformed("the token is too long")
	case strings.ContainsAny(text, " ,\t"):
		return credential{}, malformed("the header holds more than one credential")
	}
	return credential{schemes[i], text}, nil
}

// parse takes a token apart and checks everything in it that needs no key and no issuer. What is no JWT at all is not ours to
// judge; what looks like one and is broken is.
func parse(text string) (*token, *Error) {
	t := &token{}
	if failure := t.takeApart(text); failure != nil {
		return nil, failure
	}
	if !t.holds(&t.claims) {
		return nil, malformed("the claims are not JSON in base64url, or have the wrong types")
	}
	// RFC 8725 section 3.11: a JWT of another kind, such as a logout token, must not pass for an access token.
	if kind := t.header.kind(); kind != "" && kind != "jwt" && kind != typeAccessToken {
		return nil, malformed("the token is of a kind (typ) that is no access token")
	}
	if problem := t.claims.check(); problem != "" {
		return nil, malformed(problem)
	}
	return t, nil
}

// takeApart reads the header of a compact JWS and leaves the rest as it is.
func (j *jws) takeApart(text string) *Error {
	header, rest, ok := strings.Cut(text, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		e := malformed("the token has no three parts")
		e.notMine = true
		return e
	}
	if strings.Contains(signature, ".") {
		return malformed("the token has more than three parts; an encrypted one cannot be read")
	}
	if _, err := decode(header, &j.header); err != nil {
		return malformed("the header is not JSON in base64url")
	}
	if problem := j.header.check(); problem != "" {
		return malformed(problem)
	}
	j.encoded, j.signed, j.signature = payload, text[:len(text)-len(signature)-1], signature
	return nil
}

// holds reads the payload, which has to be a JSON object.
func (j *jws) holds(into any) bool {
	var err error
	j.payload, err = decode(j.encoded, into)
	return err == nil
}

// decode reads base64url without padding, and JSON without duplicate names or anything after it. It returns the JSON too.
func decode(encoded string, into any) ([]byte, error) {
	if strings.ContainsAny(encoded, "\r\n") { // which the decoder would skip
		return nil, base64.CorruptInputError(0)
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 || text[0] != '{' {
		return nil, errors.New("not an object")
	}
	return text, json.Unmarshal(text, into)
}

// typeAccessToken is the typ of an access token by RFC 9068, as [header.kind] returns it.
const typeAccessToken = "at+jwt"

// kind returns the typ in its short form (RFC 7515 section 4.1.9).
func (h *header) kind() string {
	return strings.TrimPrefix(strings.ToLower(h.Type), "application/")
}

// check applies RFC 8725 to the header.
func (h *header) check() string {
	switch {
	case h.Critical != nil:
		return "the header demands an extension (crit) that is not understood"
	case h.Encryption != nil:
		return "the token is encrypted"
	case h.ContentType != "":
		return "the token is nested (cty)"
	case len(h.KeyID) > maxKeyIDBytes:
		return "the key id is too long"
	}
	return ""
}

// check looks at what every token must have.
func (c *claims) check() string {
	switch {
	case c.Issuer == "":
		return "there is no iss claim"
	case c.Subject == "" || len(c.Subject) > maxSubjectBytes:
		return "the sub claim is missing or too long"
	case c.Expires == nil:
		return "there is no exp claim"
	}
	for _, date := range []*float64{c.Expires, c.NotBefore, c.IssuedAt} {
		if date != nil && (*date < 0 || *date > mostSeconds) {
			return "a date is out of range"
		}
	}
	return ""
}

// expires is the end of the token's life, without the leeway.
func (c *claims) expires() time.Time { return time.Unix(int64(*c.Expires), 0) }

// current reports a token whose time has not come or is over.
func (c *claims) current(now time.Time) *Error {
	if !now.Before(c.expires().Add(leeway)) {
		return &Error{Code: Expired, Public: "the token has expired; get a new one from its issuer"}
	}
	for _, date := range []*float64{c.NotBefore, c.IssuedAt} {
		if date != nil && now.Add(leeway).Before(time.Unix(int64(*date), 0)) {
			return &Error{Code: NotYetValid, Public: "the token is not valid yet; check the clocks of its issuer and of the gateway"}
		}
	}
	return nil
}
