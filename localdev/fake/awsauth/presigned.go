package awsauth

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// emptyHash is the SHA-256 of a body that is not there.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// maxPresigned is the longest that a signed URL can be valid, which is SigV4's own bound.
const maxPresigned = 7 * 24 * time.Hour

// The parameters that a signer adds to a URL.
var presigning = []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token"}

// VerifyURL checks the signature in the query of a URL that is fetched with GET, and returns the key that signed it
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html). The error is an *Error.
func (v Verifier) VerifyURL(signed *url.URL) (Key, error) {
	query, err := url.ParseQuery(signed.RawQuery)
	if err != nil {
		return Key{}, &Error{Kind: Malformed, Message: "The query cannot be read."}
	}
	for name, values := range query {
		if len(values) != 1 || values[0] == "" {
			return Key{}, &Error{Kind: Malformed, Message: "The parameter " + name + " is empty or repeated."}
		}
	}
	if query.Get("X-Amz-Algorithm") != algorithm || query.Get("X-Amz-SignedHeaders") != "host" || query.Get("X-Amz-Signature") == "" {
		return Key{}, &Error{Kind: Malformed, Message: "The URL is not signed with " + algorithm + " over its host alone."}
	}
	scope := strings.Split(query.Get("X-Amz-Credential"), "/")
	at, err := time.Parse(timeFormat, query.Get("X-Amz-Date"))
	life, problem := strconv.Atoi(query.Get("X-Amz-Expires"))
	lasts := time.Duration(life) * time.Second
	switch now := time.Now(); {
	case err != nil || len(scope) != 5:
		return Key{}, &Error{Kind: Malformed, Message: "The URL has no X-Amz-Date or no X-Amz-Credential of five parts."}
	case problem != nil || lasts <= 0 || lasts > maxPresigned:
		return Key{}, &Error{Kind: Malformed, Message: "X-Amz-Expires is missing, or not from 1 second to 7 days."}
	case !slices.Equal(scope[1:], []string{at.Format("20060102"), v.Region, v.Service, "aws4_request"}):
		return Key{}, &Error{Kind: BadSignature, Message: fmt.Sprintf("The credential is not for %s in %s on that day.", v.Service, v.Region)}
	case at.After(now.Add(maxSkew)) || now.After(at.Add(lasts)):
		return Key{}, &Error{Kind: BadSignature, Message: "The URL is not valid yet, or no longer."}
	}
	key, ok := v.Keys(scope[0])
	if !ok || subtle.ConstantTimeCompare([]byte(query.Get("X-Amz-Security-Token")), []byte(key.SessionToken)) != 1 {
		return Key{}, &Error{Kind: UnknownKey, Message: "The security token included in the request is invalid."}
	}
	signature := query.Get("X-Amz-Signature")
	for _, name := range presigning {
		query.Del(name)
	}
	again := &http.Request{Method: http.MethodGet, Host: signed.Host, Header: http.Header{}, URL: &url.URL{
		Scheme: "https", Host: signed.Host, Path: signed.Path, RawPath: signed.RawPath, RawQuery: query.Encode(),
	}}
	credentials := aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken}
	want, _, err := v4.NewSigner().PresignHTTP(again.Context(), credentials, again, emptyHash, v.Service, v.Region, at)
	if err != nil {
		return Key{}, &Error{Kind: Malformed, Message: "The URL cannot be put into canonical form."}
	}
	resigned, err := url.Parse(want)
	if err != nil || subtle.ConstantTimeCompare([]byte(resigned.Query().Get("X-Amz-Signature")), []byte(signature)) != 1 {
		return Key{}, &Error{Kind: BadSignature, Message: "The request signature we calculated does not match the signature you provided."}
	}
	if !key.Expires.IsZero() && !time.Now().Before(key.Expires) {
		return Key{}, &Error{Kind: Expired, Message: "The security token included in the request is expired"}
	}
	return key, nil
}
