package awsauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
)

// presign signs a URL with the official signer, after which it is changed.
func presign(t *testing.T, expires string, at time.Time, change func(url.Values)) *url.URL {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://cache/?Action=connect&User=u&X-Amz-Expires="+expires, nil)
	if err != nil {
		t.Fatal(err)
	}
	credentials := aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	text, _, err := v4.NewSigner().PresignHTTP(t.Context(), credentials, request, empty, "elasticache", "eu-central-1", at)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	query := signed.Query()
	change(query)
	signed.RawQuery = query.Encode()
	return signed
}

func TestASignedURLIsCheckedInAllItsParts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	set := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	for name, test := range map[string]struct {
		expires string
		at      time.Time
		change  func(url.Values)
		want    string
	}{
		"as the signer made it":        {"900", now, func(url.Values) {}, "<nil>"},
		"for another user":             {"900", now, set("User", "v"), "does not match"},
		"for longer":                   {"900", now, set("X-Amz-Expires", "1800"), "does not match"},
		"with a parameter more":        {"900", now, set("More", "1"), "does not match"},
		"with another token":           {"900", now, set("X-Amz-Security-Token", "x"), "security token"},
		"without a token":              {"900", now, func(q url.Values) { q.Del("X-Amz-Security-Token") }, "security token"},
		"with another signature":       {"900", now, set("X-Amz-Signature", strings.Repeat("0", 64)), "does not match"},
		"with an unknown key":          {"900", now, set("X-Amz-Credential", "AKIAOTHER/"+now.UTC().Format("20060102")+"/eu-central-1/elasticache/aws4_request"), "security token"},
		"with an incomplete scope":     {"900", now, set("X-Amz-Credential", key.AccessKeyID), "five parts"},
		"without a signature":          {"900", now, func(q url.Values) { q.Del("X-Amz-Signature") }, "not signed"},
		"with more headers":            {"900", now, set("X-Amz-SignedHeaders", "host;x"), "not signed"},
		"without an end":               {"900", now, func(q url.Values) { q.Del("X-Amz-Expires") }, "X-Amz-Expires"},
		"for more than a week":         {"604801", now, func(url.Values) {}, "X-Amz-Expires"},
		"too late":                     {"900", now.Add(-16 * time.Minute), func(url.Values) {}, "no longer"},
		"too early":                    {"900", now.Add(6 * time.Minute), func(url.Values) {}, "not valid yet"},
		"with a parameter given twice": {"900", now, func(q url.Values) { q.Add("User", "v") }, "repeated"},
	} {
		_, err := awsauth.Verifier{Keys: lookup(key), Service: "elasticache", Region: "eu-central-1"}.VerifyURL(presign(t, test.expires, test.at, test.change))
		if got := fmt.Sprint(err); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s", name, got)
		}
	}
}
