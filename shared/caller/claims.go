package caller

import (
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind says what a caller is.
type Kind string

// The kinds. Unknown is what a credential says that does not tell: a person and a program may both hold it.
const (
	Unknown  Kind = ""
	User     Kind = "user"
	Workload Kind = "workload"
)

// String returns the kind in a word, also for Unknown.
func (k Kind) String() string {
	if k == Unknown {
		return "unknown"
	}
	return string(k)
}

// details are the claims that say more about a caller than who it is. A token may leave any of them out, and an issuer may give them any
// shape: what has another one than expected is as good as not there. That only ever takes something away from a caller.
type details struct {
	Tenant  lenient `json:"tid"`
	Domain  lenient `json:"hd"`
	Object  lenient `json:"oid"`
	Type    lenient `json:"idtyp"`
	Grant   lenient `json:"gty"`
	Roles   lenient `json:"roles"`
	Scope   lenient `json:"scope"` // RFC 8693 section 4.2
	Scopes  lenient `json:"scp"`   // Entra's and Okta's
	Client  lenient `json:"client_id"`
	Azp     lenient `json:"azp"`
	AppID   lenient `json:"appid"` // of Entra's tokens of version 1
	CID     lenient `json:"cid"`   // Okta's
	ACR     lenient `json:"acr"`
	AMR     lenient `json:"amr"`
	Context lenient `json:"acrs"` // Entra's authentication contexts
	Time    lenient `json:"auth_time"`

	CognitoGroups lenient `json:"cognito:groups"`
	// What tells an access token from others.
	Use        lenient `json:"token_use"` // Cognito's
	Typ        lenient `json:"typ"`       // Keycloak's
	Nonce      lenient `json:"nonce"`
	AccessHash lenient `json:"at_hash"`
	CodeHash   lenient `json:"c_hash"`
}

// lenient is a claim of any shape.
type lenient struct{ jsontext.Value }

// text returns the claim if it is one text.
func (l lenient) text() string {
	if l.Kind() != '"' {
		return ""
	}
	var s string
	if err := json.Unmarshal(l.Value, &s); err != nil || len(s) > maxSubjectBytes {
		return ""
	}
	return s
}

// mostValues bounds what is kept of one claim. Whoever has more has the first ones.
const mostValues = 512

// texts returns the claim if it is a text or a list of texts.
func (l lenient) texts() []string {
	if l.Kind() == '"' {
		if s := l.text(); s != "" {
			return []string{s}
		}
		return nil
	}
	var list []string
	if l.Kind() != '[' || json.Unmarshal(l.Value, &list) != nil {
		return nil
	}
	return list[:min(len(list), mostValues)]
}

// words returns the claim if it is a list of texts, or a text of words with spaces between them.
func (l lenient) words() []string {
	if l.Kind() != '"' {
		return l.texts()
	}
	words := strings.Fields(l.text())
	return words[:min(len(words), mostValues)]
}

// time returns the claim if it is a date of RFC 7519 that is not ahead of us by more than the leeway.
func (l lenient) time(now time.Time) time.Time {
	var seconds float64
	if l.Kind() != '0' || json.Unmarshal(l.Value, &seconds) != nil || seconds <= 0 || seconds > mostSeconds {
		return time.Time{}
	}
	if t := time.Unix(int64(seconds), 0); !t.After(now.Add(leeway)) {
		return t
	}
	return time.Time{}
}

// describe adds to a principal what its token says beyond its subject. names are the further claims that the policy asks about.
func (t *token) describe(p *Principal, names []string) {
	d := t.claims.details
	p.Tenant = d.Tenant.text()
	if p.Tenant == "" && google(t.claims.Issuer) {
		p.Tenant = d.Domain.text()
	}
	p.Roles = d.Roles.texts()
	p.Scopes = d.Scope.words()
	for _, scope := range d.Scopes.words() {
		if !slices.Contains(p.Scopes, scope) && len(p.Scopes) < mostValues {
			p.Scopes = append(p.Scopes, scope)
		}
	}
	for _, l := range []lenient{d.Azp, d.Client, d.AppID, d.CID} {
		if p.Client = l.text(); p.Client != "" {
			break
		}
	}
	p.ACR, p.AMR, p.Contexts = d.ACR.text(), d.AMR.texts(), d.Context.texts()
	p.AuthTime = d.Time.time(wallClock())
	p.Kind = t.kind(p)
	p.Claims = t.pick(names)
}

func google(issuer string) bool {
	return issuer == "https://accounts.google.com" || issuer == "accounts.google.com"
}

// kind tells people from programs where the token does. When in doubt it does not: a program that is taken for nobody in particular may be
// asked for a second factor, a person that is taken for a program would not.
func (t *token) kind(p *Principal) Kind {
	d := t.claims.details
	switch {
	case d.Type.text() == "app": // Entra's optional claim
		return Workload
	case d.Type.text() == "user" || !p.AuthTime.IsZero() || len(p.AMR) > 0:
		return User
	case d.Object.text() != "" && d.Tenant.text() != "" && len(d.Scopes.words()) > 0:
		return User // only a person's consent gives Entra's tokens scopes
	case d.Object.text() != "" && d.Tenant.text() != "" && d.Object.text() == t.claims.Subject:
		return Workload // the subject of a person is another one for each application
	case d.Grant.text() == "client-credentials": // Auth0
		return Workload
	case p.Client != "" && p.Client == t.claims.Subject: // RFC 9068 section 2.2
		return Workload
	case google(t.claims.Issuer) && t.claims.address() != "":
		if strings.HasSuffix(t.claims.address(), ".gserviceaccount.com") {
			return Workload
		}
		return User
	}
	return Unknown
}

// address is the caller's e-mail address, if the issuer has verified it. With one that is not verified, a caller could say that it is
// anybody.
func (c *claims) address() string {
	email, _ := c.Email.(string)
	if c.EmailVerified != true && c.EmailVerified != "true" {
		return ""
	}
	return email
}

// pick returns the claims of these names. A name that begins with a slash is the way to a claim within others, as a JSON pointer.
func (t *token) pick(names []string) map[string][]string {
	var picked map[string][]string
	for _, name := range names {
		pointer := jsontext.Pointer(name)
		if !strings.HasPrefix(name, "/") {
			pointer = jsontext.Pointer("").AppendToken(name)
		}
		if pointer == "/email" && t.claims.address() == "" {
			continue
		}
		if values := valuesAt(t.payload, pointer); len(values) > 0 {
			if picked == nil {
				picked = make(map[string][]string, len(names))
			}
			picked[name] = values
		}
	}
	return picked
}

// valuesAt returns what a claim holds, as texts: a text, a number, true or false, or a list of those.
func valuesAt(payload jsontext.Value, pointer jsontext.Pointer) []string {
	at := payload
	for step := range pointer.Tokens() {
		var members map[string]jsontext.Value
		if at.Kind() != '{' || json.Unmarshal(at, &members) != nil {
			return nil
		}
		at = members[step]
	}
	items := []jsontext.Value{at}
	if at.Kind() == '[' {
		if err := json.Unmarshal(at, &items); err != nil {
			return nil
		}
	}
	var values []string
	for _, item := range items[:min(len(items), mostValues)] {
		switch item.Kind() {
		case '"':
			if s := (lenient{item}).text(); s != "" {
				values = append(values, s)
			}
		case 't', 'f', '0':
			if len(item) <= maxSubjectBytes {
				values = append(values, string(item))
			}
		}
	}
	return values
}
