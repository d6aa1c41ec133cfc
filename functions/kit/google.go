package kit

import (
	"cmp"
	"fmt"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
)

// google gets Google access tokens: for the function's service account, for
// what is stored, or in exchange for another identity's token; and with any of
// these for a service account that it may act as.
func (w *wiring) google(u *config.Upstream) (identity.Authorizer, error) {
	switch {
	case u.Issuer != "" || u.TokenEndpoint != "":
		return w.client(u, func(t tokens, s source) (identity.Authorizer, error) {
			federation, err := w.federation(u, googleid.FederationOptions{Subject: s})
			if err != nil {
				return nil, err
			}
			return w.googleBearer(u, t, federation)
		})
	case u.CredentialRef != "":
		return w.stored(u, func(_ secret, value secrets.Value) (identity.Authorizer, error) { return w.googleFile(u, value) })
	case w.Cloud == config.GCP:
		return w.googleBearer(u, tokens{key: "metadata server", platform: true}, w.metadata(w.ownScopes(u)))
	}
	options, name, err := w.platformSubject(u)
	if err != nil {
		return nil, err
	}
	federation, err := w.federation(u, options)
	if err != nil {
		return nil, err
	}
	return w.googleBearer(u, tokens{key: name + " " + u.TokenAudience}, federation)
}

// ownScopes are those of the identity itself. One that acts as another account
// needs them all, and the other's are limited.
func (w *wiring) ownScopes(u *config.Upstream) []string {
	if u.GCPServiceAccount != "" {
		return nil
	}
	return u.Scopes
}

// googleBearer puts the tokens of a source on requests, or those of the service
// account that its identity acts as.
func (w *wiring) googleBearer(u *config.Upstream, t tokens, source identity.TokenSource) (identity.Authorizer, error) {
	if u.GCPServiceAccount != "" {
		t.platform = false
		var err error
		source, err = googleid.NewImpersonation(googleid.ImpersonationOptions{
			Services: w.googleServices(), Source: source, ServiceAccount: u.GCPServiceAccount, Delegates: u.GCPDelegates, Scopes: u.Scopes,
		})
		if err != nil {
			return nil, err
		}
	}
	t.key = fmt.Sprintf("google %s %s %s %v %v", t.key, u.GCPWorkloadIdentityProvider, u.GCPServiceAccount, u.GCPDelegates, u.Scopes)
	return w.bearer(u, t, source), nil
}

// platformSubject is what shows the function to a workload identity pool: on
// AWS a signed request, unless the pool's provider expects a token with an
// audience; elsewhere the platform's token.
func (w *wiring) platformSubject(u *config.Upstream) (options googleid.FederationOptions, name string, err error) {
	if w.Cloud == config.AWS && u.TokenAudience == "" {
		options.AWS, options.AWSRegion, err = w.callerIdentity(u)
		return options, "AWS role", err
	}
	options.Subject, name, err = w.subject(proof{audience: u.TokenAudience, usual: "https:" + u.GCPWorkloadIdentityProvider})
	return options, name, err
}

// callerIdentity signs the request to STS that Google sends on to find out who
// the function is.
func (w *wiring) callerIdentity(u *config.Upstream) (identity.Authorizer, string, error) {
	region := cmp.Or(w.Getenv("AWS_REGION"), w.Getenv("AWS_DEFAULT_REGION"))
	signer, err := sigv4.New(sigv4.Options{Service: "sts", Region: region, Identity: w.role(u)})
	return signer, region, err
}

func (w *wiring) federation(u *config.Upstream, options googleid.FederationOptions) (*googleid.Federation, error) {
	options.Services, options.Audience, options.Scopes = w.googleServices(), u.GCPWorkloadIdentityProvider, w.ownScopes(u)
	return googleid.NewFederation(options)
}

// googleFile authorizes with stored credentials of any of Google's kinds.
func (w *wiring) googleFile(u *config.Upstream, value secrets.Value) (identity.Authorizer, error) {
	options := googleid.FileOptions{Services: w.googleServices(), Read: constant(value), Scopes: w.ownScopes(u)}
	switch w.Cloud {
	case config.AWS:
		var err error
		if options.AWS, options.AWSRegion, err = w.callerIdentity(u); err != nil {
			return nil, err
		}
	case config.Azure:
		options.Azure = func(resource string) identity.TokenSource {
			return entra.New(entra.Options{ClientID: w.Getenv("AZURE_CLIENT_ID"), Scope: resource + "/.default"})
		}
	}
	file, err := googleid.NewFile(options)
	if err != nil {
		return nil, err
	}
	if u.GCPServiceAccount != "" {
		return w.googleBearer(u, ofSecret("file", value), file)
	}
	return file.Bearer(w.cache(u, ofSecret(fmt.Sprintf("google file %v", u.Scopes), value), file)), nil
}

// googleServices are Google's own, or on this machine what stands in for them,
// by the names that gcloud has for that.
func (w *wiring) googleServices() googleid.Services {
	return googleid.Services{
		STS:            w.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"),
		IAMCredentials: w.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"),
		OAuth2:         w.Getenv("CLOUDSDK_AUTH_TOKEN_HOST"),
	}
}

// metadata is Google's metadata server. It is asked directly, never through a
// proxy.
func (k Kit) metadata(scopes []string) *googleid.Metadata {
	return googleid.New(googleid.Options{Getenv: k.Getenv, Scopes: scopes})
}
