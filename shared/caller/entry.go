package caller

import (
	"bytes"
	"net/http"
	"net/textproto"

	"github.com/postern-ai/postern/shared/config"
)

// Guard deletes from each request the headers by which proxies and platforms say who sent it, or what was asked for, before
// anything reads them. What is left is what this deployment has vouched for: the headers of the fronts that the document declares and
// this cloud has, and those of the platform, if the document admits its callers. Anybody can send the others.
func Guard(d *config.Document, o Options, next http.Handler) http.Handler {
	owned := owned(d, o.Cloud)
	alb := o.Cloud == config.AWS && d.Fronts.ALB != nil
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if asserts(name) && !owned[name] && !(alb && name == headerALB && o.balanced(r)) {
				delete(r.Header, name)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// owned are the headers that something in front of the function sets, whatever the client has sent, in their canonical
// spelling. Any other spelling is somebody else's.
func owned(d *config.Document, cloud config.Cloud) map[string]bool {
	names := map[string]bool{}
	if d.PlatformCallers && cloud == config.GCP {
		names[headerServerless] = true
	}
	if d.PlatformCallers && cloud == config.Azure {
		names[headerPrincipalID], names[headerPrincipalName] = true, true
	}
	if d.Fronts.IAP != nil && cloud == config.GCP {
		names[headerIAP] = true
	}
	if d.Fronts.AppService != nil && cloud == config.Azure {
		names[headerAppService] = true
	}
	return names
}

// The headers that authenticators read. The first two are the caller's own.
const (
	headerAuthorization = "Authorization"
	headerDPoP          = "Dpop"
	headerServerless    = "X-Serverless-Authorization"
	headerPrincipalID   = "X-Ms-Client-Principal-Id"
	headerPrincipalName = "X-Ms-Client-Principal-Name"
	headerIAP           = "X-Goog-Iap-Jwt-Assertion"
	headerAppService    = "X-Arr-Clientcert"
	// headerALB is set by a load balancer that has verified the certificate. The one that it sets when it has not is another.
	headerALB = "X-Amzn-Mtls-Clientcert-Leaf"
)

// asserts reports whether a header is one of those by which a proxy or a platform says who sent a request, from where, or to
// which address. Some servers take an underscore for a dash, so it counts as one.
func asserts(name string) bool {
	// It is asked for every header of every request, hence without a string for each.
	var spelled [40]byte
	lower := spelled[:0]
	for _, c := range []byte(textproto.TrimString(name)) {
		switch {
		case len(lower) == len(spelled):
			continue // the names below are shorter
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	switch string(lower) {
	case "forwarded", "via", "proxy-authorization", "remote-user", "true-client-ip", "x-serverless-authorization",
		"x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-user", "x-remote-user", "x-host", "x-rewrite-url",
		"x-http-method", "x-http-method-override", "x-method-override":
		return true
	}
	for _, prefix := range []string{
		"x-forwarded-", "x-original-", "x-envoy-", "x-auth-request-", "x-authenticated-", // proxies
		"x-client-cert", "client-cert", "x-ssl-client-", "ssl-client-", // proxies that end TLS
		"x-amz-", "x-amzn-", "x-apigateway-", "cloudfront-", // AWS
		"x-goog-", "x-appengine-", // Google Cloud
		"x-ms-", "x-arr-", "x-azure-clientip", "x-azure-socketip", "x-azure-fdid", // Azure
		"cf-", // Cloudflare
	} {
		if bytes.HasPrefix(lower, []byte(prefix)) {
			return true
		}
	}
	return false
}
