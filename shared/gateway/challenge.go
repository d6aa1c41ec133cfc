package gateway

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
)

// askFor asks the caller to authenticate better, or anew. The challenge is that
// of RFC 9470 section 3, or for tokens of Entra its claims challenge
// (https://learn.microsoft.com/entra/identity-platform/claims-challenge), which
// is what their clients understand.
func (x *exchange) askFor(step *policy.StepUp, code string) {
	x.step = step
	x.w.Header().Set("Cache-Control", "no-store")
	description := "A different authentication level is required"
	if step.Stale {
		description = "More recent authentication is required"
	}
	if step.EntraContext != "" {
		x.challenge = fmt.Sprintf(`Bearer realm="", authorization_uri="%s", error="%s", claims="%s"`, authorizeURI(x.principal.Issuer), code, entraClaims(step.EntraContext))
		return
	}
	x.challenge = fmt.Sprintf(`Bearer error="%s", error_description="%s"`, code, description)
	if len(step.ACRValues) > 0 {
		x.challenge += fmt.Sprintf(`, acr_values="%s"`, strings.Join(step.ACRValues, " "))
	}
	if step.MaxAge > 0 {
		x.challenge += fmt.Sprintf(`, max_age="%d"`, int64(step.MaxAge.Seconds()))
	}
	x.challenge += x.metadataHint()
}

// stepUp returns the refusal of a caller who has to show a second factor.
func (x *exchange) stepUp(d policy.Decision) *chat.Error {
	code := "insufficient_user_authentication"
	if d.StepUp.EntraContext != "" {
		code = "insufficient_claims"
	}
	message := "This model needs a second factor. Sign in again as the WWW-Authenticate header says, and send the new token."
	if !x.principal.Method.Platform() && d.StepUp.Stale {
		message = "This model needs a more recent sign-in. Sign in again as the WWW-Authenticate header says, and send the new token."
	}
	return &chat.Error{
		Status: http.StatusUnauthorized, Type: chat.TypeAuthentication, Code: code,
		Message: message, Err: &reasonError{d.Reason},
	}
}

// entraClaims asks for an authentication context of Conditional Access.
func entraClaims(context string) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"acrs":{"essential":true,"value":"` + context + `"}}}`))
}

// authorizeURI is where Entra's users sign in, in the cloud of the token's issuer.
func authorizeURI(issuer string) string {
	const public = "https://login.microsoftonline.com"
	at := public
	if u, err := url.Parse(issuer); err == nil && u.Host != "" && u.Host != "sts.windows.net" {
		at = u.Scheme + "://" + u.Host
	}
	return at + "/common/oauth2/authorize"
}

// challenged writes the challenge of an answer 401: what the refusal asks for,
// or just where to find out whom to ask for a token.
func (x *exchange) challenged() {
	if x.challenge == "" {
		x.challenge = `Bearer realm="postern"` + x.metadataHint()
	}
	x.w.Header().Set("WWW-Authenticate", x.challenge)
}

// metadataHint is the parameter of a challenge that leads to the metadata.
func (x *exchange) metadataHint() string {
	if x.g.meta == nil {
		return ""
	}
	address := x.publicURL()
	if address == "" {
		return ""
	}
	return fmt.Sprintf(`, resource_metadata="%s%s"`, address, pathResource)
}

// publicURL is the address by which callers know the gateway: the document's,
// or the one that this request was sent to. The latter is the caller's own
// word. It is told to the same caller and used for nothing else.
func (x *exchange) publicURL() string {
	if x.g.address != "" {
		return x.g.address
	}
	host := strings.ToLower(x.r.Host)
	if host == "" || len(host) > 255 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.:[]") != "" {
		return ""
	}
	u, err := url.Parse("https://" + host)
	if err != nil || u.Host != host {
		return ""
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
		u.Scheme = "http"
	}
	return u.String()
}

// metadata describes the gateway as an OAuth resource (RFC 9728 section 2).
type metadata struct {
	Resource      string   `json:"resource"`
	Servers       []string `json:"authorization_servers"`
	Scopes        []string `json:"scopes_supported,omitzero"`
	BearerMethods []string `json:"bearer_methods_supported"`
	Name          string   `json:"resource_name"`
	// These two say what tokens have to be bound to, or may be.
	Certificates bool     `json:"tls_client_certificate_bound_access_tokens,omitzero"`
	DPoP         bool     `json:"dpop_bound_access_tokens_required,omitzero"`
	Proofs       []string `json:"dpop_signing_alg_values_supported,omitzero"`
}

// newMetadata returns the metadata without the resource, or nil if the document
// accepts no tokens. The scopes are those that rules name.
func newMetadata(d *config.Document) *metadata {
	if len(d.Callers) == 0 {
		return nil
	}
	m := &metadata{BearerMethods: []string{"header"}, Name: "Postern", Certificates: true, DPoP: true}
	for _, c := range d.Callers {
		m.Servers = append(m.Servers, c.Issuer)
		m.Certificates = m.Certificates && c.CertificateBound
		m.DPoP = m.DPoP && c.DPoP == config.DPoPRequired
		if c.DPoP != "" {
			m.Proofs = config.Algorithms()
		}
	}
	for _, r := range d.Policy {
		for _, scope := range r.Match.Scopes {
			if !strings.Contains(scope, "*") {
				m.Scopes = append(m.Scopes, scope)
			}
		}
	}
	slices.Sort(m.Scopes)
	m.Scopes = slices.Compact(m.Scopes)
	return m
}

// resource serves the metadata to anybody: it says whom to ask for a token.
func (x *exchange) resource() *chat.Error {
	m := *x.g.meta
	if m.Resource = x.publicURL(); m.Resource == "" {
		return unknownPath(x.r)
	}
	x.w.Header().Set("Cache-Control", "no-store")
	return x.reply(m)
}
