package caller

import (
	"errors"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// Code says why a caller was not authenticated.
type Code string

// The codes.
const (
	Missing       Code = "missing"
	Malformed     Code = "malformed"
	Expired       Code = "expired"
	NotYetValid   Code = "not_yet_valid"
	WrongIssuer   Code = "wrong_issuer"
	WrongAudience Code = "wrong_audience"
	WrongKind     Code = "wrong_kind"
	BadSignature  Code = "bad_signature"
	UnknownToken  Code = "unknown_token"
	// Unproven is a token that is bound to something which the request does not show.
	Unproven       Code = "unproven"
	BadCertificate Code = "bad_certificate"
	BadProof       Code = "bad_proof"
	Unavailable    Code = "unavailable"
	NotConfigured  Code = "not_configured"
)

// Error is why a caller was not authenticated.
type Error struct {
	Code Code
	// Public may be shown to the caller: it says what to do and holds no part of the credential.
	Public string
	// Err is the cause, for logs only. It holds no part of the credential either.
	Err error

	notMine bool
	dpop    bool // a proof of possession would mend it
}

// Error returns the code, the public text and the cause.
func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Public
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes the error match ErrNoCredential if the credential was for somebody else to judge.
func (e *Error) Is(target error) bool { return target == ErrNoCredential && e.notMine }

// Status is the HTTP status that the code calls for: 503 when a key could not be had, which says nothing about the caller,
// otherwise 401.
func (e *Error) Status() int {
	if e.Code == Unavailable {
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

// Challenge is what the header WWW-Authenticate of an answer 401 says: the scheme, and with RFC 6750 section 3.1 and RFC 9449
// section 7.1 that a credential was there and did not count.
func (e *Error) Challenge() string {
	switch {
	case e.Code == Missing || e.Code == NotConfigured:
		return `Bearer realm="postern"`
	case e.Code == BadProof:
		return `DPoP realm="postern", error="invalid_dpop_proof", algs="` + strings.Join(config.Algorithms(), " ") + `"`
	case e.dpop:
		return `DPoP realm="postern", error="invalid_token", algs="` + strings.Join(config.Algorithms(), " ") + `"`
	}
	return `Bearer realm="postern", error="invalid_token"`
}

// CodeOf returns the code of an error that an authenticator returned, or "".
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func missing() *Error {
	return &Error{
		Code:    Missing,
		Public:  "no credential was given; send a token of an accepted issuer as \"Authorization: Bearer <token>\" (the api_key of an OpenAI SDK)",
		notMine: true,
	}
}

func malformed(cause string) *Error {
	return &Error{Code: Malformed, Public: "the bearer token is not a well-formed signed JWT", Err: errors.New(cause)}
}
