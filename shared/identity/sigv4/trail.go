package sigv4

import (
	"context"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/identity"
)

// namePatience is how long a trail waits for a name, in a fetch that has to end soon.
const namePatience = time.Second

// traced retrieves credentials, and writes down what was tried for them. Whoever wants to know that wants a name as well.
func (i *Identity) traced(ctx context.Context) (keys, error) {
	found, err := retrieve(ctx, i.provider)
	if !identity.Trailed(ctx) {
		return found, err
	}
	var attempt identity.Attempt
	if err == nil {
		if found.arn == "" && checkRegion(i.defaultRegion()) == nil {
			bounded, cancel := context.WithTimeout(ctx, namePatience)
			found.arn = i.callerIdentity(bounded, found, i.defaultRegion())
			cancel()
		}
		attempt.Principal = found.principal()
	}
	if found.CanExpire {
		attempt.Expires = found.Expires
	}
	switch p := i.provider.(type) {
	case *ambient:
		p.tried(ctx, attempt, found.source, err)
		return found, err
	case *hop:
		attempt.Source = "assume role " + p.role.ARN
	case *WebIdentity:
		attempt.Source = "assume role " + p.role.ARN + " with web identity"
	case *Static:
		attempt.Source = staticSource
		// Their end is only when they are read again.
		attempt.Expires = time.Time{}
	default:
		attempt.Source = "AWS credentials"
	}
	identity.Tried(ctx, attempt, err)
	return found, err
}

// place is one of the sources of the platform's credentials.
type place struct {
	source string
	// missing says what would have to be there; empty when it is.
	missing string
}

// places lists the sources in the order in which they are tried, of which the first that is configured is taken and no other.
func (a *ambient) places() []place {
	unset := func(name string) string {
		if a.getenv(name) == "" {
			return name + " is not set"
		}
		return ""
	}
	environment := place{source: environmentSource}
	if a.getenv("AWS_ACCESS_KEY_ID") == "" && a.getenv("AWS_SECRET_ACCESS_KEY") == "" {
		environment.missing = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"
	}
	container := place{source: "container credentials"}
	if unset("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "" && unset("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "" {
		container.missing = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set"
	}
	instance := place{source: "instance metadata"}
	if !strings.EqualFold(a.getenv("AWS_EC2_METADATA_DISABLED"), "false") {
		instance.missing = "a function has none; it is asked only when AWS_EC2_METADATA_DISABLED=false"
	}
	return []place{
		environment,
		{webSource, unset("AWS_WEB_IDENTITY_TOKEN_FILE")},
		{source: sharedSource},
		container,
		instance,
	}
}

// tried writes down each source up to the one that answered, or failed. Which one that was is empty if a failure does not say.
func (a *ambient) tried(ctx context.Context, attempt identity.Attempt, last string, err error) {
	if last == lambdaSource {
		last = environmentSource
	}
	for _, place := range a.places() {
		// What a shared file holds can only be told from what came of it.
		shared := place.source == sharedSource
		switch {
		case shared && last == processSource:
			place.source += ", " + last
			fallthrough
		case place.source == last, last == "" && place.missing == "" && !shared:
			attempt.Source = place.source
			identity.Tried(ctx, attempt, err)
			return
		case shared:
			place.missing = "no usable credentials in a profile"
		}
		identity.Tried(ctx, identity.Attempt{Source: place.source, Outcome: identity.Skipped, Why: place.missing}, nil)
	}
	attempt.Source = "AWS credentials"
	identity.Tried(ctx, attempt, err)
}
