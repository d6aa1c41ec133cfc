package sigv4

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// loginLife is how long a login is valid, in seconds: the only length that ElastiCache documents.
const loginLife = "900"

// CacheLoginOptions describes a user of ElastiCache who logs in with IAM.
type CacheLoginOptions struct {
	// Identity is whose right elasticache:Connect counts. Nil means the platform's own.
	Identity *Identity
	// Region is the cache's.
	Region string
	// Cache is the name of a serverless cache, or the id of a replication group.
	Cache      string
	Serverless bool
	// User is the id of the user, which is also its name.
	User string
}

// CacheLogin makes passwords for ElastiCache, each of them a signed request to connect
// (https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html). The server takes one for 15 minutes and ends what was connected
// with it after 12 hours. It is safe for concurrent use.
type CacheLogin struct {
	options CacheLoginOptions
}

// NewCacheLogin returns a CacheLogin that has signed nothing yet, or says which option is wrong.
func NewCacheLogin(options CacheLoginOptions) (*CacheLogin, error) {
	if err := checkRegion(options.Region); err != nil {
		return nil, err
	}
	switch {
	case !isName(options.Cache, 1):
		return nil, fmt.Errorf("%q is not the name of a cache of ElastiCache: it has small letters, digits and dashes", options.Cache)
	case options.User == "":
		return nil, errors.New("the user of ElastiCache is missing")
	}
	if options.Identity == nil {
		options.Identity = NewIdentity(IdentityOptions{})
	}
	return &CacheLogin{options: options}, nil
}

// Password returns what the user logs in with. Errors are as those of [Authorizer.Authorize].
func (c *CacheLogin) Password(ctx context.Context) (secrets.Value, error) {
	held, err := c.options.Identity.keys(ctx)
	if err != nil {
		return secrets.Value{}, err
	}
	query := url.Values{"Action": {"connect"}, "User": {c.options.User}, "X-Amz-Expires": {loginLife}}
	if c.options.Serverless {
		query.Set("ResourceType", "ServerlessCache")
	}
	request := &http.Request{
		Method: http.MethodGet, Host: c.options.Cache, Header: http.Header{},
		URL: &url.URL{Scheme: "http", Host: c.options.Cache, Path: "/", RawQuery: query.Encode()},
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, held.Credentials, request, emptyHash, "elasticache", c.options.Region, time.Now())
	if err != nil {
		return secrets.Value{}, &identity.Error{Public: "the login to ElastiCache cannot be signed", Err: err}
	}
	return secrets.NewValue(strings.TrimPrefix(signed, "http://")), nil
}
