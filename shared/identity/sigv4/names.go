package sigv4

import (
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/postern-ai/postern/shared/identity"
)

const (
	// nameTimeout bounds the question for a name. It runs beside a request that takes longer anyway.
	nameTimeout = 2 * time.Second
	// nameTries is how many of these questions may fail in the life of an instance. In a network without a way to STS each of them would.
	nameTries = 3
	// maxReply is far above what STS answers, in bytes.
	maxReply = 16 << 10
)

// names keeps the name of one set of credentials.
type names struct {
	mu     sync.Mutex
	keyID  string // whose name is kept
	arn    string
	asking bool
	failed int
}

// note writes down who signed. When the role's name is not known yet, it is asked for while the request is under way; an answer that comes
// before the request's log line is written makes it into that line. The request never waits for it and never fails because of it.
func (i *Identity) note(ctx context.Context, held keys, region string) {
	if !identity.Reporting(ctx) {
		return
	}
	principal := held.principal()
	if held.arn != "" {
		identity.Note(ctx, principal)
		return
	}
	i.names.mu.Lock()
	known := i.names.keyID == held.AccessKeyID
	ask := !known && !i.names.asking && i.names.failed < nameTries
	if known {
		principal.Name = i.names.arn
	}
	if ask {
		i.names.asking = true
	}
	i.names.mu.Unlock()
	identity.Note(ctx, principal)
	if ask {
		// The goroutine ends with the request at the latest: its context is the request's.
		go i.learn(ctx, held, region)
	}
}

func (i *Identity) learn(ctx context.Context, held keys, region string) {
	bounded, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	arn := i.callerIdentity(bounded, held, region)
	i.names.mu.Lock()
	i.names.asking = false
	switch {
	case arn != "":
		i.names.keyID, i.names.arn = held.AccessKeyID, arn
	case ctx.Err() == nil:
		// A question that ended with its request says nothing about STS: quick
		// requests must not use up the tries.
		i.names.failed++
	}
	i.names.mu.Unlock()
	if arn != "" {
		better := held.principal()
		better.Name = arn
		identity.Refine(ctx, held.principal(), better)
	}
}

// callerIdentity asks STS who holds the credentials, or returns nothing. It needs no permission
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html), and no client of the SDK.
func (i *Identity) callerIdentity(ctx context.Context, held keys, region string) string {
	const form = "Action=GetCallerIdentity&Version=2011-06-15"
	endpoint := stsEndpoint(i.getenv, region)
	if !mayReceiveSignature(endpoint) {
		return ""
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form))
	if err != nil {
		return ""
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	hash, err := payloadHash(request)
	if err != nil {
		return ""
	}
	if err := v4.NewSigner().SignHTTP(ctx, held.Credentials, request, hash, "sts", region, time.Now()); err != nil {
		return ""
	}
	response, err := i.http.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil || response.StatusCode != http.StatusOK {
		return ""
	}
	return parseARN(reply)
}

// parseARN returns the ARN from a reply of GetCallerIdentity, or nothing.
func parseARN(reply []byte) string {
	var parsed struct {
		XMLName xml.Name `xml:"GetCallerIdentityResponse"`
		ARN     string   `xml:"GetCallerIdentityResult>Arn"`
	}
	if xml.Unmarshal(reply, &parsed) != nil {
		return ""
	}
	return asARN(parsed.ARN)
}

// asARN keeps anything but an ARN out of the log.
func asARN(text string) string {
	if !strings.HasPrefix(text, "arn:") || len(text) > 2048 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return text
}

// stsEndpoint returns the endpoint from the SDK's own variables, or the region's.
func stsEndpoint(getenv func(string) string, region string) string {
	if !strings.EqualFold(getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		for _, name := range []string{"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"} {
			if configured := getenv(name); configured != "" {
				return strings.TrimSuffix(configured, "/") + "/"
			}
		}
	}
	domain := "amazonaws.com"
	for _, partition := range []struct{ prefix, domain string }{
		{"cn-", "amazonaws.com.cn"}, {"us-iso-", "c2s.ic.gov"}, {"us-isob-", "sc2s.sgov.gov"}, {"eusc-", "amazonaws.eu"},
	} {
		if strings.HasPrefix(region, partition.prefix) {
			domain = partition.domain
		}
	}
	return "https://sts." + region + "." + domain + "/"
}

// mayReceiveSignature reports whether a session token may be sent to the endpoint: over TLS, or within this machine.
func mayReceiveSignature(endpoint string) bool {
	parsed, err := url.Parse(endpoint)
	return err == nil && (parsed.Scheme == "https" || parsed.Scheme == "http" && identity.IsLoopback(parsed))
}
