package sigv4

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/postern-ai/postern/shared/identity"
)

// IdentityOptions describes an AWS identity. The zero value is the platform's own.
type IdentityOptions struct {
	// Credentials fetches credentials. It is asked anew for each set and must keep nothing. Nil means the platform's own identity: the
	// environment, or else the SDK's chain.
	Credentials aws.CredentialsProvider
	// HTTP sends the requests for credentials and for the identity's name. It should have a timeout, because the SDK goes on with a
	// request for credentials that nobody waits for any more. Nil means a client of its own, with 2.5 s.
	HTTP *http.Client
	// Getenv reads the environment. Nil means the process's own. The SDK's chain always reads the process's own.
	Getenv func(name string) string
	// Refresh says when credentials are fetched anew.
	Refresh identity.Refresh
	// OnReplace, when set, is told of credentials that took the place of others, by their principals. See [identity.KeeperOptions].
	OnReplace func(ctx context.Context, replacement identity.Replacement[identity.Principal])
}

// Identity is one AWS identity: credentials that are kept fresh, and the name that they stand for. It is safe for concurrent use.
type Identity struct {
	keeper *identity.Keeper[keys]
	getenv func(string) string
	http   *http.Client
	names  names
}

// keys is one set of credentials and how it was found.
type keys struct {
	aws.Credentials
	source string
}

// principal is what is known of the identity without asking AWS. A key id is no secret: it is a part of each signed request.
func (k keys) principal() identity.Principal {
	return identity.Principal{Name: "access key " + k.AccessKeyID, Source: k.source}
}

// NewIdentity returns an Identity that has looked for nothing yet.
func NewIdentity(options IdentityOptions) *Identity {
	who := &Identity{getenv: options.Getenv, http: options.HTTP}
	if who.getenv == nil {
		who.getenv = os.Getenv
	}
	if who.http == nil {
		who.http = newClient()
	}
	provider := options.Credentials
	if provider == nil {
		provider = &ambient{getenv: who.getenv, http: who.http, region: who.defaultRegion()}
	}
	kept := identity.KeeperOptions[keys]{
		Refresh: options.Refresh,
		Fetch:   func(ctx context.Context) (keys, error) { return retrieve(ctx, provider) },
		Expires: func(k keys) time.Time {
			if !k.CanExpire {
				return time.Time{}
			}
			return k.Expires
		},
		Same: func(a, b keys) bool { return a.AccessKeyID == b.AccessKeyID && a.SessionToken == b.SessionToken },
	}
	if options.OnReplace != nil {
		kept.OnReplace = func(ctx context.Context, r identity.Replacement[keys]) {
			options.OnReplace(ctx, identity.Replacement[identity.Principal]{Old: r.Old.principal(), New: r.New.principal(), Reason: r.Reason})
		}
	}
	who.keeper = identity.NewKeeper(kept)
	return who
}

func (i *Identity) keys(ctx context.Context) (keys, error) { return i.keeper.Get(ctx) }

func (i *Identity) defaultRegion() string {
	return cmp.Or(i.getenv("AWS_REGION"), i.getenv("AWS_DEFAULT_REGION"))
}

// retrieve asks the provider and refuses what cannot sign.
func retrieve(ctx context.Context, provider aws.CredentialsProvider) (keys, error) {
	found, err := provider.Retrieve(ctx)
	if err != nil {
		return keys{}, explain(err)
	}
	if !found.HasKeys() {
		return keys{}, &identity.Error{Public: "the AWS credentials are incomplete: an access key id and a secret access key are needed"}
	}
	// These two go into headers as they are.
	if strings.ContainsFunc(found.AccessKeyID+found.SessionToken, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return keys{}, &identity.Error{Public: "the AWS credentials hold characters that do not fit into a header; remove line breaks and quotes"}
	}
	return keys{Credentials: found, source: sourceName(found.Source)}, nil
}

// newClient returns a client for credentials endpoints and STS: no redirects, since those would take a signature elsewhere, and short
// deadlines, since a request waits for it.
func newClient() *http.Client {
	transport := &http.Transport{
		Proxy:                 proxy,
		DialContext:           (&net.Dialer{Timeout: time.Second}).DialContext,
		TLSHandshakeTimeout:   2 * time.Second,
		ResponseHeaderTimeout: 2 * time.Second,
		// Credentials are fetched about once an hour; by then a kept connection would be dead.
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       2500 * time.Millisecond,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// proxy keeps requests for credentials on the machine: a proxy from the environment is for the world outside.
func proxy(request *http.Request) (*url.URL, error) {
	host := net.ParseIP(request.URL.Hostname())
	if host != nil && (host.IsLoopback() || host.IsLinkLocalUnicast() || host.IsPrivate()) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(request)
}
