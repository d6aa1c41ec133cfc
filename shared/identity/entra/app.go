package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// The token services of Microsoft's clouds.
const (
	PublicAuthority       = "https://login.microsoftonline.com"
	USGovernmentAuthority = "https://login.microsoftonline.us"
	ChinaAuthority        = "https://login.partner.microsoftonline.cn"
)

// TokenExchange is the audience that Entra expects in a token of another cloud, unless the federated credential says otherwise.
//
// A managed identity's token for it has the id of its application for an audience, and
// https://login.microsoftonline.com/TENANT/v2.0 for an issuer: it is a token of version 2.0.
const TokenExchange = "api://AzureADTokenExchange"

const tokenExchangeID = "fb60f99c-7a34-4190-8149-302f77469936"

// authorities are the hosts that are trusted with a secret, and the scope for their inference endpoints. The library would ask Microsoft's
// public cloud whether a host is one of them; a list needs no request, and holds where that cloud cannot be reached.
func authorities() map[string]string {
	const public, government, china = CognitiveServices, "https://cognitiveservices.azure.us/.default", "https://cognitiveservices.azure.cn/.default"
	return map[string]string{
		"login.microsoftonline.com": public, "login.microsoft.com": public, "login.windows.net": public,
		"login.microsoftonline.us": government, "login.usgovcloudapi.net": government,
		"login.partner.microsoftonline.cn": china, "login.chinacloudapi.cn": china,
		"login.sovcloud-identity.fr": "", "login.sovcloud-identity.de": "", "login.sovcloud-identity.sg": "",
	}
}

// AppOptions describes an app registration and how it shows who it is. Exactly one of Secret, Certificate, Assertion and AssertionFile is
// set.
type AppOptions struct {
	// Tenant is the directory, by its id or one of its domains.
	Tenant string
	// ClientID is the app's id.
	ClientID string
	// Scope is what the token is for, ending in /.default. Empty means Azure OpenAI in the authority's cloud.
	Scope string
	// Authority is the token service: that of one of Microsoft's clouds, or one on this machine. Empty means PublicAuthority.
	Authority string
	// HTTP sends the requests. Nil means an identity.IssuerClient.
	HTTP *http.Client

	// Secret returns the client secret. It is called for each token, so it keeps what is costly to read.
	Secret func(ctx context.Context) (secrets.Value, error)
	// Certificate returns the certificate with its private key: in PEM, or in PKCS #12 as it is or in base64, as Key Vault gives it out.
	Certificate func(ctx context.Context) (secrets.Value, error)
	// CertificatePassword returns the password of a PKCS #12 certificate. Nil means none.
	CertificatePassword func(ctx context.Context) (secrets.Value, error)
	// SendChain sends the certificate's chain along, for apps that accept certificates by their names.
	SendChain bool
	// Assertion gets a token of another cloud that a federated credential of the app accepts. It is asked anew for each token.
	Assertion identity.TokenSource
	// AssertionFile names a file that the platform keeps such a token in, as Kubernetes does. It is read for each token.
	AssertionFile string
	// OnRejected, when set, is told of a secret or certificate that was not accepted, for the reader of the store to read it again. When
	// what is then read differs, it is tried at once.
	OnRejected func(rejected secrets.Value)
}

// App gets tokens for an app registration. It is an [identity.TokenSource], and safe for concurrent use.
type App struct {
	options AppOptions
	proof   proof
}

var _ identity.TokenSource = (*App)(nil)

// NewApp returns a source that has asked for nothing yet, or says which option is wrong.
func NewApp(options AppOptions) (*App, error) {
	options.Authority = cmp.Or(options.Authority, PublicAuthority)
	if options.HTTP == nil {
		options.HTTP = identity.IssuerClient()
	}
	scope, err := checkAuthority(options.Authority)
	if err != nil {
		return nil, err
	}
	options.Scope = cmp.Or(options.Scope, scope)
	resource, isDefault := strings.CutSuffix(options.Scope, "/.default")
	switch {
	case !isTenant(options.Tenant):
		return nil, fmt.Errorf("tenant %q is not the id or a domain of one directory", options.Tenant)
	case !isGUID(options.ClientID):
		return nil, fmt.Errorf("client id %q does not look like 00000000-0000-0000-0000-000000000000", options.ClientID)
	case options.Scope == "":
		return nil, errors.New("the scope is missing, and this cloud has no usual one; give the resource with /.default at its end")
	case !isDefault || !strings.HasPrefix(resource, "https://") && !strings.HasPrefix(resource, "api://") || strings.ContainsFunc(resource, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, fmt.Errorf("scope %q is not a resource with /.default at its end, such as %s", options.Scope, CognitiveServices)
	}
	proof, err := options.prove()
	if err != nil {
		return nil, err
	}
	return &App{options: options, proof: proof}, nil
}

// checkAuthority returns the usual scope in the authority's cloud.
func checkAuthority(authority string) (string, error) {
	parsed, err := url.Parse(authority)
	if err != nil || parsed.Scheme != "https" || parsed.User != nil || parsed.Path != "" && parsed.Path != "/" || parsed.RawQuery != "" || parsed.Fragment != "" {
		return "", errors.New("the authority must be an https URL of a host and nothing else: " + PublicAuthority)
	}
	if identity.IsLoopback(parsed) {
		return CognitiveServices, nil
	}
	scope, known := authorities()[parsed.Host]
	if !known {
		return "", fmt.Errorf("authority %q is none of Microsoft's; use %s, %s or %s", parsed.Host, PublicAuthority, USGovernmentAuthority, ChinaAuthority)
	}
	return scope, nil
}

// isTenant keeps out what stands for any directory, and what is no name: the tenant becomes a part of URLs.
func isTenant(text string) bool {
	return text != "" && len(text) <= 253 && !slices.Contains([]string{"common", "organizations", "consumers", "adfs", "dstsv2"}, strings.ToLower(text)) &&
		!strings.ContainsFunc(text, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.'
		}) && strings.ContainsAny(text, "-.") && !strings.HasPrefix(text, ".")
}

func isGUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range text {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if hyphen != (c == '-') || !hyphen && !hex {
			return false
		}
	}
	return true
}

// Token gets an access token for the app.
func (a *App) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "app registration "+a.options.ClientID, &result, &err) }()
	if os.Getenv("AZURE_REGIONAL_AUTHORITY_NAME") != "" {
		// The library would send secrets to a host of that name, or look for the region with a client of its own, for 4 s.
		return identity.Token{}, &identity.Error{Public: "AZURE_REGIONAL_AUTHORITY_NAME is set; regional token services are not used here: unset it"}
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	shown, err := a.proof.show(ctx)
	if err != nil {
		return identity.Token{}, err
	}
	token, err := a.ask(ctx, shown)
	if a.options.OnRejected == nil || !shown.rejectedBy(err) {
		return token, err
	}
	a.options.OnRejected(shown.value)
	again, readErr := a.proof.show(ctx)
	if readErr != nil || again.value.Equal(shown.value) {
		return identity.Token{}, err
	}
	return a.ask(ctx, again)
}

// ask makes a credential for each token, because each keeps tokens that it cannot be made to drop.
func (a *App) ask(ctx context.Context, shown evidence) (identity.Token, error) {
	began := time.Now().Round(0)
	credential, err := shown.credential(a.options, azcore.ClientOptions{
		Transport: metadata{transporter{a.options.HTTP}},
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: strings.TrimSuffix(a.options.Authority, "/") + "/"},
		// Trying again is for the next request.
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	})
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "the app registration's settings cannot be used", Err: err}
	}
	ctx, seen := observe(ctx)
	got, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{a.options.Scope}})
	if err != nil {
		return identity.Token{}, a.explain(ctx, err, shown, seen)
	}
	return identity.Token{
		Value: secrets.NewValue(got.Token),
		// The library counts from the answer on.
		Expires:   got.ExpiresOn.Round(0).Add(-time.Since(began)),
		Principal: identity.Principal{Name: a.options.ClientID, Source: shown.source},
	}, nil
}

// failure is a refusal of the token service.
type failure struct {
	numbers []int
	err     error
}

// Error names the numbers.
func (f *failure) Error() string { return fmt.Sprintf("entra: %v", f.numbers) }

// Unwrap returns the library's error.
func (f *failure) Unwrap() error { return f.err }

// explain says what failed in words of our own: azidentity's hold the URL and the body of the answer.
func (a *App) explain(ctx context.Context, err error, shown evidence, seen *observation) error {
	if ended := ctx.Err(); ended != nil {
		return &identity.Error{Public: "Entra's token service does not answer", Err: errors.Join(ended, err), Retryable: true}
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	switch {
	case seen.cause != nil:
		return &identity.Error{Public: "Entra's token service cannot be reached", Err: seen.cause, Retryable: true}
	case seen.status == http.StatusOK || seen.status == 0:
		return &identity.Error{Public: "the answer of Entra's token service is not an access token with an expiry", Err: err, Retryable: true}
	}
	text := fmt.Sprintf("Entra's token service answered with status %d", seen.status)
	if seen.code != "" {
		text += ", " + seen.code
	}
	for _, number := range seen.numbers {
		text += fmt.Sprintf(", AADSTS%d", number)
		if remedy := a.remedy(number, shown); remedy != "" {
			text += "; " + remedy
		}
	}
	if seen.skew != "" {
		text += "; " + seen.skew
	}
	return &identity.Error{
		Public: text, Err: &failure{seen.numbers, err}, Retryable: seen.status == http.StatusTooManyRequests || seen.status >= http.StatusInternalServerError,
	}
}

// remedy knows the error numbers of https://learn.microsoft.com/entra/identity-platform/reference-error-codes that a configuration can cause.
func (a *App) remedy(number int, shown evidence) string {
	switch number {
	case 90002:
		return fmt.Sprintf("there is no directory %q in this cloud; check the tenant and the authority", a.options.Tenant)
	case 700016:
		return fmt.Sprintf("there is no app registration %q in this directory; check the client id and the tenant", a.options.ClientID)
	case 7000215:
		return "the client secret is wrong; store its value, not its id"
	case 7000222:
		return "the client secret has expired; make a new one, or use a federated credential, which does not expire"
	case 700027, 1000502:
		return "the certificate is not registered for the app, or no longer valid there"
	case 700024:
		return "what was signed is not valid now"
	case 70021, 700211, 700212, 700213, 7002138:
		return "the app needs a federated credential with exactly these, upper and lower case included: " + shown.described
	case 700222:
		return "of Entra's own tokens only those of a managed identity for " + TokenExchange + " are taken here"
	case 70011, 500011, 1002012:
		return fmt.Sprintf("check the scope %q", a.options.Scope)
	}
	return ""
}
