package exchange

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// granted is a token as a server gave it out.
type granted struct {
	value   secrets.Value
	expires time.Time
	issued  string // the token's type by RFC 8693; empty when the server did not say
}

func (g *granted) token(principal identity.Principal) identity.Token {
	return identity.Token{Value: g.value, Type: "Bearer", Expires: g.expires, Principal: principal}
}

// parseGranted reads a successful answer: RFC 6749 section 5.1, RFC 8693 section 2.2.1. Other members are ignored, as both demand.
func parseGranted(r *reply, name string) (*granted, error) {
	var read struct {
		AccessToken string         `json:"access_token"`
		TokenType   string         `json:"token_type"`
		IssuedType  string         `json:"issued_token_type"`
		ExpiresIn   jsontext.Value `json:"expires_in"`
	}
	if err := json.Unmarshal(r.body, &read); err != nil {
		return nil, &identity.Error{Public: name + " gave an answer that is not the JSON of a token", Retryable: true}
	}
	if !printable(read.AccessToken) {
		return nil, &identity.Error{Public: name + " gave an answer without an access token, or with one that fits into no header", Retryable: true}
	}
	// The type is required, but a server that leaves it out means what nearly all of them mean. A DPoP or MAC token sent as a Bearer
	// token would be refused by the upstream, with an error that hides the reason.
	if read.TokenType != "" && !strings.EqualFold(read.TokenType, "Bearer") {
		return nil, &identity.Error{Public: name + " gave out a token of a type other than Bearer; have the client registered for bearer tokens, without DPoP or MAC"}
	}
	lifetime, known := parseLifetime(read.ExpiresIn)
	switch {
	case !known:
		return nil, &identity.Error{Public: name + " gave an answer whose expires_in is not a number of seconds", Retryable: true}
	case lifetime <= 0:
		return nil, &identity.Error{Public: name + " gave out a token that has already expired", Retryable: true}
	}
	return &granted{value: secrets.NewValue(read.AccessToken), expires: r.began.Add(lifetime), issued: read.IssuedType}, nil
}

// parseLifetime reads expires_in: a number, or the text of one, as some servers have it.
func parseLifetime(raw jsontext.Value) (time.Duration, bool) {
	if raw == nil || raw.Kind() == 'n' {
		return assumedLifetime, true
	}
	text := string(raw)
	if raw.Kind() == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, false
		}
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return 0, false
	}
	seconds = min(max(seconds, 0), maxLifetime.Seconds())
	return time.Duration(seconds * float64(time.Second)), true
}

// refused is the error for an answer that is no success. What to do about an error code is for the caller to say, who knows the dialect;
// a code that it has no words for is not repeated.
func (s *server) refused(r *reply, at place, remedy func(code string) string) error {
	problem := &identity.Error{
		Public:    fmt.Sprintf("%s answered with status %d", at.name, r.status),
		Retryable: r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout || r.status >= http.StatusInternalServerError,
	}
	if problem.Retryable {
		s.rest(r)
		return problem
	}
	if r.status/100 == 3 {
		problem.Public += ", which sends the request elsewhere; it was not sent there. Set the address that it points to, if that is right"
		return problem
	}
	if r.status/100 == 2 {
		problem.Public += " in place of 200; check that it is one"
		return problem
	}
	code := errorCode(r.body)
	text := remedy(code)
	switch {
	case text == "" && r.gone():
		problem.Public += "; check its address"
		return problem
	case text == "":
		return problem
	}
	problem.Retryable = code == "temporarily_unavailable" || code == "server_error"
	problem.Public = fmt.Sprintf("%s refused with status %d, %s: %s", at.name, r.status, code, text)
	if r.behind.Abs() >= time.Minute {
		side := "behind"
		if r.behind < 0 {
			side = "ahead of"
		}
		problem.Public += fmt.Sprintf(". This machine's clock is %v %s the server's", r.behind.Abs(), side)
	}
	return problem
}

// errorCode finds the error code in an answer: RFC 6749 section 5.2 has a text there; the two vendors' other endpoints have an object,
// with the code in its member code (OpenAI) or type (Anthropic).
func errorCode(body []byte) string {
	var read struct {
		Error jsontext.Value `json:"error"`
	}
	if json.Unmarshal(body, &read) != nil || read.Error == nil {
		return ""
	}
	var code string
	if read.Error.Kind() == '"' {
		_ = json.Unmarshal(read.Error, &code)
		return code
	}
	var inner struct {
		Code jsontext.Value `json:"code"`
		Type jsontext.Value `json:"type"`
	}
	if json.Unmarshal(read.Error, &inner) != nil {
		return ""
	}
	for _, raw := range []jsontext.Value{inner.Code, inner.Type} {
		if raw != nil && raw.Kind() == '"' && json.Unmarshal(raw, &code) == nil && code != "" {
			return code
		}
	}
	return ""
}

// rest notes that the server wants to be left alone for a while (RFC 9110 section 10.2.3). This is the one thing that is remembered
// between two fetches: the cache above this backs off by itself, but for less long than a server may ask for.
func (s *server) rest(r *reply) {
	if r.status != http.StatusTooManyRequests && r.status != http.StatusServiceUnavailable {
		return
	}
	wanted := r.header.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseUint(wanted, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if until, err := http.ParseTime(wanted); err == nil {
		// Both dates are the server's own, so that its clock does not matter.
		if date, err := http.ParseTime(r.header.Get("Date")); err == nil {
			wait = until.Sub(date)
		}
	}
	if wait = min(wait, maxRest); wait > 0 {
		s.restUntil.Store(time.Now().Add(wait).UnixMilli())
	}
}

// resting returns an error while the server wants to be left alone.
func (s *server) resting() error {
	left := time.Until(time.UnixMilli(s.restUntil.Load()))
	// A rest that seems longer than any was begun before the clock was set back.
	if left <= 0 || left > maxRest {
		return nil
	}
	return &identity.Error{Public: fmt.Sprintf("the token endpoint asked to be left alone for %v more (Retry-After)", left.Round(time.Second)), Retryable: true}
}
