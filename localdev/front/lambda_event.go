package front

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// maxEvent is the largest event in bytes that Lambda takes.
const maxEvent = 6 << 20

var errEventTooLarge = errors.New("the request does not fit into an event")

// urlEvent is the event that a function URL makes of a request:
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-request-payload
type urlEvent struct {
	Version        string            `json:"version"`
	RouteKey       string            `json:"routeKey"`
	RawPath        string            `json:"rawPath"`
	RawQueryString string            `json:"rawQueryString"`
	Cookies        []string          `json:"cookies,omitempty"`
	Headers        map[string]string `json:"headers"`
	Query          map[string]string `json:"queryStringParameters,omitempty"`
	Context        urlEventContext   `json:"requestContext"`
	Body           string            `json:"body,omitempty"`
	Base64         bool              `json:"isBase64Encoded"`
}

type urlEventContext struct {
	AccountID    string              `json:"accountId"`
	APIID        string              `json:"apiId"`
	Authorizer   *urlEventAuthorizer `json:"authorizer,omitempty"`
	DomainName   string              `json:"domainName"`
	DomainPrefix string              `json:"domainPrefix"`
	HTTP         urlEventHTTP        `json:"http"`
	RequestID    string              `json:"requestId"`
	RouteKey     string              `json:"routeKey"`
	Stage        string              `json:"stage"`
	Time         string              `json:"time"`
	TimeEpoch    int64               `json:"timeEpoch"`
}

type urlEventAuthorizer struct {
	IAM IAMIdentity `json:"iam"`
}

type urlEventHTTP struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

// event builds the event for a request, with the verified caller or nil.
func (l *Lambda) event(r *http.Request, caller *IAMIdentity) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxEvent+1))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	source, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		source = "127.0.0.1" // a request that came over no network, in a test
	}
	now := time.Now().UTC()
	prefix := l.o.Name + "0url"
	e := urlEvent{
		Version: "2.0", RouteKey: "$default",
		RawPath: r.URL.EscapedPath(), RawQueryString: r.URL.RawQuery,
		Query: joined(r.URL.Query()),
		Context: urlEventContext{
			AccountID: "anonymous", APIID: prefix, DomainPrefix: prefix, DomainName: prefix + ".lambda-url." + l.o.Region + ".on.aws",
			HTTP:      urlEventHTTP{Method: r.Method, Path: r.URL.Path, Protocol: r.Proto, SourceIP: source, UserAgent: r.UserAgent()},
			RequestID: newID(), RouteKey: "$default", Stage: "$default",
			Time: now.Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: now.UnixMilli(),
		},
	}
	if caller != nil {
		e.Context.AccountID, e.Context.Authorizer = caller.AccountID, &urlEventAuthorizer{IAM: *caller}
	}
	e.Headers, e.Cookies = urlHeaders(r, source, e.Context.DomainName)
	if caller != nil {
		delete(e.Headers, "authorization")
	}
	e.Body = string(body)
	if len(body) > 0 && !travelsAsText(r.Header, body) {
		e.Body, e.Base64 = base64.StdEncoding.EncodeToString(body), true
	}
	event, err := json.Marshal(e)
	if err == nil && len(event) > maxEvent {
		err = errEventTooLarge
	}
	return event, err
}

// urlHeaders lower-cases the names, joins repeated headers with commas and adds what the front door adds.
func urlHeaders(r *http.Request, source, domain string) (headers map[string]string, cookies []string) {
	headers = make(map[string]string, len(r.Header)+5)
	for name, values := range r.Header {
		if !connectionHeader(name) {
			headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	if line := strings.Join(r.Header["Cookie"], "; "); line != "" {
		headers["cookie"] = line
		for cookie := range strings.SplitSeq(line, ";") {
			cookies = append(cookies, strings.TrimSpace(cookie))
		}
	}
	if before := headers["x-forwarded-for"]; before != "" {
		source = before + ", " + source
	}
	headers["x-forwarded-for"], headers["x-forwarded-proto"], headers["x-forwarded-port"] = source, "https", "443"
	headers["x-amzn-trace-id"] = fmt.Sprintf("Root=1-%08x-%s", time.Now().Unix(), randomHex(12))
	headers["host"] = domain
	return headers, cookies
}

func connectionHeader(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

func joined(query url.Values) map[string]string {
	m := make(map[string]string, len(query))
	for name, values := range query {
		m[name] = strings.Join(values, ",")
	}
	return m
}

// travelsAsText reports whether a body of this kind is put into the event as it is. Everything else becomes base64, forms
// and bodies without a type included.
func travelsAsText(h http.Header, body []byte) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || h.Get("Content-Encoding") != "" || !utf8.Valid(body) {
		return false
	}
	switch kind {
	case "application/json", "application/javascript", "application/xml":
		return true
	}
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml")
}
