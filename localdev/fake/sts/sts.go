// Package sts is a stand-in for AWS's Security Token Service: GetCallerIdentity of API version 2011-06-15, for callers whose signature
// is right (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
//
// The package must not know how the gateway asks.
package sts

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/fault"
)

const (
	version = "2011-06-15"
	// maxBody is far above what any STS request needs.
	maxBody = 256 << 10
)

// Server answers for one region. It is safe for concurrent use.
type Server struct {
	// Faults makes the service misbehave.
	Faults fault.Injector

	keys   awsauth.Lookup
	region string
}

// New returns a Server that accepts the keys that are found by the lookup, signed for the region.
func New(keys awsauth.Lookup, region string) *Server { return &Server{keys: keys, region: region} }

// ServeHTTP answers one request in the query protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Faults.Handle(w, r) {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		awsauth.WriteQueryError(w, awsauth.QueryError{Status: http.StatusRequestEntityTooLarge, Code: "RequestEntityTooLarge", Message: "Request too large"})
		return
	}
	if r.URL.Path != "/" {
		awsauth.WriteQueryError(w, awsauth.QueryError{Status: http.StatusNotFound, Code: "InvalidAction", Message: "Could not find operation at this path"})
		return
	}
	form, ok := parameters(r, body)
	if !ok {
		awsauth.WriteQueryError(w, awsauth.QueryError{Status: http.StatusBadRequest, Code: "MalformedQueryString", Message: "The request is not a form"})
		return
	}
	// The signature comes first: who is not known learns nothing about what the service can do.
	key, err := awsauth.Verifier{Keys: s.keys, Service: "sts", Region: s.region}.Verify(r, body)
	if err != nil {
		awsauth.WriteQuery(w, err)
		return
	}
	action := form.Get("Action")
	switch {
	case action == "":
		awsauth.WriteQueryError(w, awsauth.QueryError{Status: http.StatusBadRequest, Code: "MissingAction", Message: "Missing Action"})
	case form.Get("Version") != version || action != "GetCallerIdentity":
		awsauth.WriteQueryError(w, awsauth.QueryError{Status: http.StatusBadRequest, Code: "InvalidAction", Message: "Could not find operation " + action + " for version " + form.Get("Version")})
	default:
		callerIdentity(w, key)
	}
}

func parameters(r *http.Request, body []byte) (url.Values, bool) {
	switch r.Method {
	case http.MethodGet:
		return r.URL.Query(), true
	case http.MethodPost:
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			return nil, false
		}
		form, err := url.ParseQuery(string(body))
		return form, err == nil
	}
	return nil, false
}

func callerIdentity(w http.ResponseWriter, key awsauth.Key) {
	type result struct {
		ARN     string `xml:"Arn"`
		UserID  string `xml:"UserId"`
		Account string `xml:"Account"`
	}
	type metadata struct {
		RequestID string `xml:"RequestId"`
	}
	body, _ := xml.Marshal(struct {
		XMLName  xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
		Result   result   `xml:"GetCallerIdentityResult"`
		Metadata metadata `xml:"ResponseMetadata"`
	}{Result: result{key.ARN, key.UserID, key.Account}, Metadata: metadata{"00000000-0000-4000-8000-000000000000"}})
	w.Header().Set("Content-Type", "text/xml")
	_, _ = w.Write(body)
}
