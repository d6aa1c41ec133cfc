package awsauth

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
)

// Kind is why a request was refused. Each protocol has its own name for it.
type Kind int

// The kinds of refusal.
const (
	// Missing means that there is no signature.
	Missing Kind = iota + 1
	// Malformed means that there is one that cannot be read.
	Malformed
	// UnknownKey means that no such key exists, or that its session token is another one.
	UnknownKey
	// BadSignature means that the signature, its date or its scope is wrong.
	BadSignature
	// Expired means that a good signature was made with credentials that are no longer valid.
	Expired
)

// Error is a refusal. Its message is one that the service could have sent.
type Error struct {
	Kind    Kind
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.JSONCode() + ": " + e.Message }

// Status returns the HTTP status of the refusal, as listed in the services' common errors.
func (e *Error) Status() int {
	if e.Kind == Malformed {
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

// JSONCode returns the name of the error in the JSON protocols (Bedrock, Secrets Manager, EventBridge).
func (e *Error) JSONCode() string {
	switch e.Kind {
	case Missing:
		return "MissingAuthenticationTokenException"
	case Malformed:
		return "IncompleteSignatureException"
	case UnknownKey:
		return "UnrecognizedClientException"
	case Expired:
		return "ExpiredTokenException"
	case BadSignature:
		return "InvalidSignatureException"
	}
	return "InternalFailure"
}

// QueryCode returns the name of the error in the query protocol (STS, IAM).
func (e *Error) QueryCode() string {
	switch e.Kind {
	case Missing:
		return "MissingAuthenticationToken"
	case Malformed:
		return "IncompleteSignature"
	case UnknownKey:
		return "InvalidClientTokenId"
	case Expired:
		return "ExpiredToken"
	case BadSignature:
		return "SignatureDoesNotMatch"
	}
	return "InternalFailure"
}

// WriteJSON answers with the refusal as the JSON protocols do.
func WriteJSON(w http.ResponseWriter, err error) {
	refusal := asError(err)
	body, _ := json.Marshal(map[string]string{"message": refusal.Message})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", refusal.JSONCode())
	w.WriteHeader(refusal.Status())
	_, _ = w.Write(body)
}

// WriteQuery answers with the refusal as the query protocol does.
func WriteQuery(w http.ResponseWriter, err error) {
	refusal := asError(err)
	WriteQueryError(w, QueryError{Status: refusal.Status(), Code: refusal.QueryCode(), Message: refusal.Message})
}

// QueryError is any error of a service that speaks the query protocol.
type QueryError struct {
	// Namespace is that of the service's replies. Empty means that of STS.
	Namespace string
	Status    int
	Code      string
	Message   string
}

// WriteQueryError answers with an error as the query protocol does.
func WriteQueryError(w http.ResponseWriter, in QueryError) {
	type inner struct {
		Type    string `xml:"Type"`
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	}
	side := "Sender"
	if in.Status >= http.StatusInternalServerError {
		side = "Receiver"
	}
	body, _ := xml.Marshal(struct {
		XMLName   xml.Name
		Error     inner  `xml:"Error"`
		RequestID string `xml:"RequestId"`
	}{XMLName: xml.Name{Space: cmp.Or(in.Namespace, "https://sts.amazonaws.com/doc/2011-06-15/"), Local: "ErrorResponse"}, Error: inner{Type: side, Code: in.Code, Message: in.Message}, RequestID: "00000000-0000-4000-8000-000000000000"})
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(in.Status)
	_, _ = w.Write(body)
}

func asError(err error) *Error {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal
	}
	return &Error{Kind: Malformed, Message: "The request was refused."}
}
