// Package awsauth verifies AWS Signature Version 4 for the stand-ins of AWS services, as the services do.
//
// A request is rebuilt from what its Authorization header says was signed, signed again with the official signer, and the two
// signatures are compared. The rules around the signature (clock skew, scope, which headers must be signed, session tokens) are from
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
//
// The package must not know how the gateway signs.
package awsauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	// maxSkew is how far the clocks of the signer and the service may be apart.
	maxSkew = 5 * time.Minute
)

// Key is one set of credentials that a stand-in accepts, and whom it stands for.
type Key struct {
	AccessKeyID     string
	SecretAccessKey string
	// SessionToken is empty for a long-term key.
	SessionToken string
	// Expires is zero for a long-term key.
	Expires time.Time
	// ARN, UserID and Account are what GetCallerIdentity reports.
	ARN     string
	UserID  string
	Account string
}

// Lookup finds the credentials with an access key id. It is called from many goroutines.
type Lookup func(accessKeyID string) (Key, bool)

// Verifier checks the requests to one service in one region. It has no state of its own.
type Verifier struct {
	Keys    Lookup
	Service string
	Region  string
}

// Verify checks the signature of a request as a server received it, whose body the caller has read already, and returns the key that
// signed it. The error is an *Error.
func (v Verifier) Verify(request *http.Request, body []byte) (Key, error) {
	auth, err := parseAuthorization(request)
	if err != nil {
		return Key{}, err
	}
	signedAt, err := v.checkScope(request, auth)
	if err != nil {
		return Key{}, err
	}
	if err := checkSignedHeaders(request, auth); err != nil {
		return Key{}, err
	}
	key, ok := v.Keys(auth.accessKeyID)
	if !ok {
		return Key{}, &Error{Kind: UnknownKey, Message: "The security token included in the request is invalid."}
	}
	if err := checkSession(request, auth, key); err != nil {
		return Key{}, err
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if claimed := request.Header.Get("X-Amz-Content-Sha256"); claimed != "" && claimed != hash {
		return Key{}, &Error{Kind: BadSignature, Message: "The provided 'x-amz-content-sha256' header does not match what was computed."}
	}
	want, err := v.sign(request, signing{auth: auth, key: key, hash: hash, at: signedAt})
	if err != nil {
		return Key{}, err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(auth.signature)) != 1 {
		return Key{}, &Error{Kind: BadSignature, Message: "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	// Only a holder of the secret key learns that it has expired.
	if !key.Expires.IsZero() && !time.Now().Before(key.Expires) {
		return Key{}, &Error{Kind: Expired, Message: "The security token included in the request is expired"}
	}
	return key, nil
}

// authorization is the parsed Authorization header.
type authorization struct {
	accessKeyID string
	date        string
	region      string
	service     string
	headers     []string
	signature   string
}

func parseAuthorization(request *http.Request) (authorization, error) {
	if request.URL.Query().Has("X-Amz-Signature") {
		return authorization{}, &Error{Kind: Malformed, Message: "presigned requests are not part of this stand-in"}
	}
	values := request.Header.Values("Authorization")
	if len(values) == 0 {
		return authorization{}, &Error{Kind: Missing, Message: "Missing Authentication Token"}
	}
	rest, ok := strings.CutPrefix(values[0], algorithm+" ")
	if !ok || len(values) > 1 {
		return authorization{}, &Error{Kind: Malformed, Message: "Authorization header requires the algorithm " + algorithm + " once."}
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; !ok || twice || value == "" {
			return authorization{}, &Error{Kind: Malformed, Message: "Authorization header has an empty, unnamed or repeated parameter."}
		}
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return authorization{}, &Error{Kind: Malformed, Message: fmt.Sprintf("Authorization header requires '%s' parameter.", name)}
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return authorization{}, &Error{Kind: Malformed, Message: "Credential must have exactly 5 slash-delimited elements, the last of them aws4_request."}
	}
	return authorization{
		accessKeyID: scope[0], date: scope[1], region: scope[2], service: scope[3],
		headers:   strings.Split(fields["SignedHeaders"], ";"),
		signature: fields["Signature"],
	}, nil
}

func (v Verifier) checkScope(request *http.Request, auth authorization) (time.Time, error) {
	signedAt, err := time.Parse(timeFormat, request.Header.Get("X-Amz-Date"))
	if err != nil {
		return time.Time{}, &Error{Kind: Malformed, Message: "Authorization header requires existence of an 'X-Amz-Date' header in the form " + timeFormat + "."}
	}
	now := time.Now()
	if signedAt.Before(now.Add(-maxSkew)) {
		return time.Time{}, &Error{Kind: BadSignature, Message: fmt.Sprintf("Signature expired: %s is now earlier than %s", signedAt.Format(timeFormat), now.Add(-maxSkew).UTC().Format(timeFormat))}
	}
	if signedAt.After(now.Add(maxSkew)) {
		return time.Time{}, &Error{Kind: BadSignature, Message: fmt.Sprintf("Signature not yet current: %s is still later than %s", signedAt.Format(timeFormat), now.Add(maxSkew).UTC().Format(timeFormat))}
	}
	switch {
	case auth.date != signedAt.Format("20060102"):
		return time.Time{}, &Error{Kind: BadSignature, Message: "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."}
	case auth.region != v.Region:
		return time.Time{}, &Error{Kind: BadSignature, Message: fmt.Sprintf("Credential should be scoped to a valid region, not '%s'.", auth.region)}
	case auth.service != v.Service:
		return time.Time{}, &Error{Kind: BadSignature, Message: fmt.Sprintf("Credential should be scoped to correct service: '%s'.", v.Service)}
	}
	return signedAt, nil
}

// checkSignedHeaders requires what AWS requires to be signed: the host, the date, and every x-amz- header that is there.
func checkSignedHeaders(request *http.Request, auth authorization) error {
	if !slices.IsSorted(auth.headers) || len(slices.Compact(slices.Clone(auth.headers))) != len(auth.headers) {
		return &Error{Kind: Malformed, Message: "SignedHeaders must be sorted and without repetition."}
	}
	for _, name := range []string{"host", "x-amz-date"} {
		if !slices.Contains(auth.headers, name) {
			return &Error{Kind: BadSignature, Message: fmt.Sprintf("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)}
		}
	}
	for name := range request.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") && !slices.Contains(auth.headers, lower) {
			return &Error{Kind: BadSignature, Message: "There were headers present in the request which were not signed: " + lower}
		}
	}
	for _, name := range auth.headers {
		if name != "host" && name != "content-length" && len(request.Header.Values(name)) == 0 {
			return &Error{Kind: BadSignature, Message: "A header named in SignedHeaders is not in the request: " + name}
		}
	}
	return nil
}

func checkSession(request *http.Request, auth authorization, key Key) error {
	token := request.Header.Get("X-Amz-Security-Token")
	if subtle.ConstantTimeCompare([]byte(token), []byte(key.SessionToken)) != 1 {
		return &Error{Kind: UnknownKey, Message: "The security token included in the request is invalid."}
	}
	if token != "" && !slices.Contains(auth.headers, "x-amz-security-token") {
		return &Error{Kind: BadSignature, Message: "'x-amz-security-token' must be a 'SignedHeader' in the AWS Authorization."}
	}
	return nil
}

type signing struct {
	auth authorization
	key  Key
	hash string
	at   time.Time
}

// sign returns the signature that the holder of the key would have made for this request.
func (v Verifier) sign(request *http.Request, in signing) (string, error) {
	again := &http.Request{
		Method: request.Method,
		Host:   request.Host,
		Header: http.Header{},
		URL: &url.URL{
			Scheme: "https", Host: request.Host,
			// The escaped form counts: a model ARN holds %2F, which is not a path separator.
			Path: request.URL.Path, RawPath: request.URL.RawPath, RawQuery: request.URL.RawQuery,
		},
	}
	for _, name := range in.auth.headers {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = request.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = slices.Clone(request.Header.Values(name))
		}
	}
	credentials := aws.Credentials{AccessKeyID: in.key.AccessKeyID, SecretAccessKey: in.key.SecretAccessKey, SessionToken: in.key.SessionToken}
	if err := v4.NewSigner().SignHTTP(request.Context(), credentials, again, in.hash, v.Service, v.Region, in.at); err != nil {
		return "", &Error{Kind: Malformed, Message: "The request cannot be put into canonical form."}
	}
	signed, err := parseAuthorization(again)
	if err != nil {
		return "", err
	}
	return signed.signature, nil
}
