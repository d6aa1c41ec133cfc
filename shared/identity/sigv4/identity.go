package sigv4

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/postern-ai/postern/shared/identity"
)

// IdentityOptions describes an AWS identity. The zero value is the platform's own.
type IdentityOptions struct {
	// Credentials fetches credentials: a [Static], a [WebIdentity], or any other. It is asked anew for each set and must keep nothing. Nil
	// means the platform's own identity: the environment, or else the other sources of the SDK's chain.
	Credentials aws.CredentialsProvider
	// HTTP sends the requests for credentials and for the identity's name. It should have a timeout, because the SDK goes on with a
	// request for credentials that nobody waits for any more. Nil means an identity.IssuerClient.
	HTTP *http.Client
	// Getenv reads the environment. Nil means the process's own.
	Getenv func(name string) string
	// Refresh says when credentials are fetched anew.
	Refresh identity.Refresh
	// OnReplace, when set, is told of credentials that took the place of others, by their principals, whose names hold the access key id
	// too. See [identity.KeeperOptions].
	OnReplace func(ctx context.Context, replacement identity.Replacement[identity.Principal])
}

// Identity is one AWS identity: credentials that are kept fresh, and the name that they stand for. It is safe for concurrent use.
type Identity struct {
	keeper   *identity.Keeper[keys]
	provider aws.CredentialsProvider
	getenv   func(string) string
	http     *http.Client
	names    names
}

// keys is one set of credentials and how it was found.
type keys struct {
	aws.Credentials
	source string
	// arn is whom they stand for, when whoever issued them said so.
	arn string
}

// source is a provider of this package, which knows more than the SDK's interface can say.
type source interface {
	retrieve(ctx context.Context) (keys, error)
}

// rejecter is a provider that wants to know which of its credentials were not accepted.
type rejecter interface {
	rejected(keys keys)
}

// principal is what is known of the identity without asking AWS. A key id is no secret: it is a part of each signed request.
func (k keys) principal() identity.Principal {
	if k.arn != "" {
		return identity.Principal{Name: k.arn, Source: k.source}
	}
	return identity.Principal{Name: "access key " + k.AccessKeyID, Source: k.source}
}

// distinct also tells one set of credentials of a role from the next.
func (k keys) distinct() identity.Principal {
	principal := k.principal()
	if k.arn != "" {
		principal.Name += " (access key " + k.AccessKeyID + ")"
	}
	return principal
}

// NewIdentity returns an Identity that has looked for nothing yet.
func NewIdentity(options IdentityOptions) *Identity {
	who := &Identity{getenv: options.Getenv, http: options.HTTP}
	if who.getenv == nil {
		who.getenv = os.Getenv
	}
	if who.http == nil {
		who.http = identity.IssuerClient()
	}
	provider := options.Credentials
	if provider == nil {
		provider = &ambient{getenv: who.getenv, http: who.http}
	}
	who.provider = provider
	kept := identity.KeeperOptions[keys]{
		Refresh: options.Refresh,
		Fetch:   func(ctx context.Context) (keys, error) { return who.traced(ctx) },
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
			options.OnReplace(ctx, identity.Replacement[identity.Principal]{Old: r.Old.distinct(), New: r.New.distinct(), Reason: r.Reason})
		}
	}
	who.keeper = identity.NewKeeper(kept)
	return who
}

func (i *Identity) keys(ctx context.Context) (keys, error) { return i.keeper.Get(ctx) }

// reject drops the credentials if they are these.
func (i *Identity) reject(keyID, token string) {
	var rejected *keys
	i.keeper.Reject(func(held keys) bool {
		if held.AccessKeyID != keyID || held.SessionToken != token {
			return false
		}
		rejected = &held
		return true
	})
	if interested, ok := i.provider.(rejecter); ok && rejected != nil {
		interested.rejected(*rejected)
	}
}

// Who returns whom the identity stands for and when its credentials end, which is the zero time when that is not known. It fetches what is
// not there yet, and waits for the name, which Authorize never does: it is for those who ask what is configured. Errors are as those of
// Authorize.
func (i *Identity) Who(ctx context.Context, region string) (identity.Principal, time.Time, error) {
	held, err := i.keys(ctx)
	if err != nil {
		return identity.Principal{}, time.Time{}, err
	}
	principal := held.principal()
	if where := cmp.Or(region, i.defaultRegion()); held.arn == "" && checkRegion(where) == nil {
		bounded, cancel := context.WithTimeout(ctx, nameTimeout)
		defer cancel()
		principal.Name = cmp.Or(i.callerIdentity(bounded, held, where), principal.Name)
	}
	if !held.CanExpire {
		return principal, time.Time{}, nil
	}
	return principal, held.Expires, nil
}

func (i *Identity) defaultRegion() string {
	return cmp.Or(i.getenv("AWS_REGION"), i.getenv("AWS_DEFAULT_REGION"))
}

// retrieve asks the provider and refuses what cannot sign. With an error come no keys, but the source where it is known.
func retrieve(ctx context.Context, provider aws.CredentialsProvider) (keys, error) {
	found, err := find(ctx, provider)
	if err != nil {
		return keys{source: found.source}, explain(err)
	}
	if !found.HasKeys() {
		return keys{source: found.source}, &identity.Error{Public: "the AWS credentials are incomplete: an access key id and a secret access key are needed"}
	}
	// These two go into headers as they are.
	if strings.ContainsFunc(found.AccessKeyID+found.SessionToken, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return keys{source: found.source}, &identity.Error{Public: "the AWS credentials hold characters that do not fit into a header; remove line breaks and quotes"}
	}
	return found, nil
}

func find(ctx context.Context, provider aws.CredentialsProvider) (keys, error) {
	if own, ok := provider.(source); ok {
		return own.retrieve(ctx)
	}
	found, err := provider.Retrieve(ctx)
	return keys{Credentials: found, source: sourceName(found.Source)}, err
}
