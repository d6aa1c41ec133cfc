// Package awsquery is the AWS Query protocol for the stand-ins of the services that speak it: requests that are forms, replies and errors
// that are XML (https://docs.aws.amazon.com/IAM/latest/APIReference/programming.html).
//
// It is stricter than the services in one thing: a parameter that the operation does not have is an error, where they would ignore a
// misspelt one.
//
// The package must not know what an operation does.
package awsquery

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
)

const requestID = "00000000-0000-4000-8000-000000000000"

// Service is what one service has of its own.
type Service struct {
	// Version is the version of its API, such as 2010-05-08.
	Version string
	// Namespace is that of its replies, such as https://iam.amazonaws.com/doc/2010-05-08/.
	Namespace string
}

// Refusal is an error of a service.
type Refusal struct {
	Status  int
	Code    string
	Message string
}

// Error returns the code and the message.
func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// Refused returns a Refusal of a status and a code.
func Refused(status int, code, message string) error {
	return &Refusal{Status: status, Code: code, Message: message}
}

// Unknown is the refusal of an operation that the service does not have.
func Unknown(action, version string) error {
	if action == "" {
		return Refused(http.StatusBadRequest, "MissingAction", "Missing Action")
	}
	return Refused(http.StatusBadRequest, "InvalidAction", "Could not find operation "+action+" for version "+version)
}

// Refuse answers with an error: a *Refusal as it is, any other as one of the service's own.
func (s Service) Refuse(w http.ResponseWriter, err error) {
	known, ok := errors.AsType[*Refusal](err)
	if !ok {
		known = &Refusal{Status: http.StatusInternalServerError, Code: "InternalFailure", Message: "internal error"}
	}
	awsauth.WriteQueryError(w, awsauth.QueryError{Namespace: s.Namespace, Status: known.Status, Code: known.Code, Message: known.Message})
}

// Form returns the parameters of a request, and whether it is one of this protocol.
func Form(r *http.Request, body []byte) (Parameters, bool) {
	switch r.Method {
	case http.MethodGet:
		return Parameters{r.URL.Query()}, true
	case http.MethodPost:
		if len(body) == 0 && r.URL.RawQuery != "" {
			return Parameters{r.URL.Query()}, true
		}
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			return Parameters{}, false
		}
		form, err := url.ParseQuery(string(body))
		return Parameters{form}, err == nil
	}
	return Parameters{}, false
}

// Reply answers with a result: OperationResponse around OperationResult and ResponseMetadata. An operation without a result has nil.
func (s Service) Reply(w http.ResponseWriter, operation string, result any) {
	type metadata struct {
		RequestID string `xml:"RequestId"`
	}
	var body strings.Builder
	encoder := xml.NewEncoder(&body)
	response := xml.StartElement{Name: xml.Name{Local: operation + "Response"}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: s.Namespace}}}
	for _, step := range []func() error{
		func() error { return encoder.EncodeToken(response) },
		func() error {
			return encoder.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: operation + "Result"}})
		},
		func() error {
			return encoder.EncodeElement(metadata{requestID}, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}})
		},
		func() error { return encoder.EncodeToken(response.End()) },
		encoder.Close,
	} {
		if err := step(); err != nil {
			panic(err) // The results are ours.
		}
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = io.WriteString(w, body.String())
}
