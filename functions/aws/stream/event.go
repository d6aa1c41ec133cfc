package stream

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// event is what both front doors send in payload format 2.0, as far as a request is made of it:
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html and
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
type event struct {
	Version string `json:"version"`
	// Type is set in the events of an API Gateway Lambda authorizer, which otherwise look like requests.
	Type           string            `json:"type"`
	RawPath        string            `json:"rawPath"`
	RawQueryString string            `json:"rawQueryString"`
	Cookies        []string          `json:"cookies"`
	Headers        map[string]string `json:"headers"`
	RequestContext requestContext    `json:"requestContext"`
	Body           string            `json:"body"`
	Base64         bool              `json:"isBase64Encoded"`

	fromBalancer bool
}

type requestContext struct {
	DomainName string       `json:"domainName"`
	Stage      string       `json:"stage"`
	HTTP       *requestLine `json:"http"`
	// Authentication is set behind a custom domain of API Gateway that does mutual TLS.
	Authentication struct {
		ClientCert struct {
			PEM string `json:"clientCertPem"`
		} `json:"clientCert"`
	} `json:"authentication"`
	// ELB is set by a load balancer, whose events have no version.
	ELB *struct {
		TargetGroupARN string `json:"targetGroupArn"`
	} `json:"elb"`
	Authorizer struct {
		IAM *struct {
			AccountID string `json:"accountId"`
			CallerID  string `json:"callerId"`
			UserARN   string `json:"userArn"`
			UserID    string `json:"userId"`
		} `json:"iam"`
	} `json:"authorizer"`
}

type requestLine struct {
	Method   string `json:"method"`
	Protocol string `json:"protocol"`
	SourceIP string `json:"sourceIp"`
}

// decode reads an event, or refuses it by name.
func decode(payload []byte) (event, error) {
	var e event
	err := json.Unmarshal(payload, &e)
	if err == nil && e.RequestContext.ELB != nil && e.Version == "" {
		return decodeBalanced(payload)
	}
	if err != nil || e.Version != "2.0" || e.RequestContext.HTTP == nil || e.Type != "" {
		return event{}, refuse(payload, err)
	}
	return e, nil
}

// functionURL reports whether the event came through a Function URL; its domain is the one certain difference from an
// HTTP API's event.
func (e event) functionURL() bool {
	return !e.fromBalancer && strings.Contains(e.RequestContext.DomainName, ".lambda-url.")
}

// remedy is what to do about a reply that is too large for this front door.
func (e event) remedy() string {
	if e.balanced() {
		return "ask for an answer that is not streamed, which is smaller, call the function through a function URL with invoke mode RESPONSE_STREAM instead of a load balancer"
	}
	if e.functionURL() {
		return "set the invoke mode of the function URL to RESPONSE_STREAM"
	}
	return "call the function through a function URL with invoke mode RESPONSE_STREAM instead of API Gateway"
}

// request builds the request as net/http would have read it from the wire.
func (e event) request(ctx context.Context) (*http.Request, error) {
	line := e.RequestContext.HTTP
	u, err := e.url()
	if err != nil {
		return nil, err
	}
	body, err := e.body()
	if err != nil {
		return nil, err
	}
	if line.Method == "" {
		return nil, malformed("requestContext.http.method is empty")
	}
	// NewRequest checks the method; everything else is set below.
	r, err := http.NewRequestWithContext(e.withCaller(ctx), line.Method, "/", http.NoBody)
	if err != nil {
		return nil, malformed("requestContext.http.method is not an HTTP method")
	}
	r.URL, r.RequestURI, r.Host = u, u.RequestURI(), e.RequestContext.DomainName
	r.Header = e.header(len(body))
	if major, minor, ok := http.ParseHTTPVersion(line.Protocol); ok {
		r.Proto, r.ProtoMajor, r.ProtoMinor = line.Protocol, major, minor
	}
	if line.SourceIP != "" {
		// A server's RemoteAddr has a port. Lambda does not tell it.
		r.RemoteAddr = net.JoinHostPort(line.SourceIP, "0")
	}
	if len(body) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return r, nil
}

// url keeps path and query as they were sent: no cleaning, no re-encoding.
func (e event) url() (*url.URL, error) {
	raw := e.RawPath
	if stage := e.RequestContext.Stage; stage != "" && stage != "$default" && !e.functionURL() {
		// API Gateway mounts a named stage at /<stage> and leaves it in the path.
		if rest, ok := strings.CutPrefix(raw, "/"+stage); ok && (rest == "" || rest[0] == '/') {
			raw = rest
		}
	}
	if raw == "" {
		raw = "/"
	}
	if raw[0] != '/' {
		return nil, malformed("rawPath does not begin with a slash")
	}
	path, err := url.PathUnescape(raw)
	if err != nil {
		// An already decoded path with a percent sign in it.
		return &url.URL{Path: raw, RawQuery: e.RawQueryString}, nil
	}
	return &url.URL{Path: path, RawPath: raw, RawQuery: e.RawQueryString}, nil
}

func (e event) body() ([]byte, error) {
	if !e.Base64 {
		return []byte(e.Body), nil
	}
	body, err := base64.StdEncoding.DecodeString(e.Body)
	if err != nil {
		return nil, malformed("body is not base64 although isBase64Encoded is true")
	}
	return body, nil
}

// header takes over what concerns the request and not the client's connection to the front door. Lambda joins repeated
// headers with commas before they arrive here, except for cookies.
func (e event) header(length int) http.Header {
	h := make(http.Header, len(e.Headers))
	for name, value := range e.Headers {
		h.Add(name, value)
	}
	for name := range strings.SplitSeq(h.Get("Connection"), ",") {
		h.Del(strings.TrimSpace(name))
	}
	for name := range h {
		if connectionHeader(name) {
			delete(h, name)
		}
	}
	delete(h, "Host") // net/http has it in Request.Host only
	if _, ok := h["Content-Length"]; ok {
		h.Set("Content-Length", strconv.Itoa(length))
	}
	if len(e.Cookies) > 0 {
		h.Set("Cookie", strings.Join(e.Cookies, "; "))
	}
	return h
}
