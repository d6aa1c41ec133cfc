package caller_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

const (
	issuerURL = "https://idp.example.com"
	audience  = "https://llm.example.com"
)

// direct hands requests to a handler without a network, so that it works under a fake clock too.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (response *http.Response, err error) {
	defer func() {
		if recover() != nil {
			response, err = nil, errors.New("connection reset")
		}
	}()
	recorder := httptest.NewRecorder()
	d.ServeHTTP(recorder, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

// accepting is how the tests' gateway is configured.
func accepting(algorithms ...string) []config.Caller {
	if len(algorithms) == 0 {
		algorithms = []string{"RS256", "ES256"}
	}
	return []config.Caller{{Name: "idp", Issuer: issuerURL, Audiences: []string{audience, "other-name"}, Algorithms: algorithms}}
}

func request(t testing.TB, headers ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func mint(t testing.TB, issuer *oidc.Issuer, token oidc.Token) string {
	t.Helper()
	if token.Subject == "" {
		token.Subject = "alice"
	}
	if token.Audience == nil {
		token.Audience = []string{audience}
	}
	text, err := issuer.Mint(token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// refused checks a refusal: its code, its status, and that it holds nothing of the credential.
func refused(t *testing.T, r *http.Request, err error, code caller.Code) {
	t.Helper()
	var e *caller.Error
	if !errors.As(err, &e) {
		t.Fatalf("got the error %v, want a *caller.Error", err)
	}
	if e.Code != code {
		t.Errorf("the code is %q, want %q (%v)", e.Code, code, err)
	}
	if want := map[bool]int{true: 503, false: 401}[code == caller.Unavailable]; e.Status() != want {
		t.Errorf("the status is %d, want %d", e.Status(), want)
	}
	if e.Public == "" {
		t.Error("there is nothing to tell the caller")
	}
	for _, value := range r.Header["Authorization"] {
		for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '.' || r == ' ' || r == ',' }) {
			if len(part) > 8 && strings.Contains(err.Error(), part) {
				t.Errorf("the error holds the credential: %v", err)
			}
		}
	}
}

type fixed struct {
	principal *caller.Principal
	err       error
}

func (f fixed) Authenticate(*http.Request) (*caller.Principal, error) { return f.principal, f.err }

func TestFirstOf(t *testing.T) {
	t.Parallel()
	bearer := caller.NewBearer(accepting(), direct{http.NotFoundHandler()})
	alice := fixed{principal: &caller.Principal{Subject: "alice"}}
	platform := caller.AppServiceAuthentication()
	tests := []struct {
		name  string
		chain caller.Authenticator
		head  []string
		want  string // subject
		code  caller.Code
	}{
		{name: "without authenticators everything is refused", chain: caller.FirstOf(), code: caller.NotConfigured},
		{name: "the next is asked when there is no credential", chain: caller.FirstOf(bearer, alice), want: "alice"},
		{name: "the next is asked when the credential is no JWT", chain: caller.FirstOf(bearer, alice), head: []string{"Authorization", "Bearer unused"}, want: "alice"},
		{name: "a bad credential does not fall through", chain: caller.FirstOf(fixed{err: &caller.Error{Code: caller.Expired, Public: "x"}}, alice), code: caller.Expired},
		{name: "two Authorization headers do not fall through", chain: caller.FirstOf(bearer, alice), head: []string{"Authorization", "Bearer a", "Authorization", "Bearer b"}, code: caller.Malformed},
		{name: "two credentials in one header do not fall through", chain: caller.FirstOf(bearer, alice), head: []string{"Authorization", "Bearer a, Bearer b"}, code: caller.Malformed},
		{name: "when nobody has an answer the most telling error is given", chain: caller.FirstOf(platform, bearer), head: []string{"Authorization", "Bearer unused"}, code: caller.Malformed},
		{name: "when there is nothing at all the credential is missing", chain: caller.FirstOf(bearer, platform), code: caller.Missing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.head...)
			principal, err := test.chain.Authenticate(r)
			if test.code != "" {
				if principal != nil {
					t.Errorf("the principal is %+v", principal)
				}
				refused(t, r, err, test.code)
				return
			}
			if err != nil || principal.Subject != test.want {
				t.Errorf("got %+v, %v", principal, err)
			}
		})
	}
}

func TestNewFollowsTheDocument(t *testing.T) {
	t.Parallel()
	iam := caller.Lambda(func(*http.Request) (string, bool) { return "arn:aws:iam::123456789012:user/alice", true })
	tests := []struct {
		name     string
		document config.Document
		code     caller.Code
	}{
		{"nobody is let in when the document names nobody", config.Document{}, caller.NotConfigured},
		{"the platform's callers are let in when the document says so", config.Document{PlatformCallers: true}, ""},
		{"the platform's callers are not let in when the document does not say so", config.Document{Callers: accepting()}, caller.Missing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := caller.New(&test.document, caller.Options{Platform: iam}).Authenticate(request(t))
			if caller.CodeOf(err) != test.code {
				t.Errorf("got %v, want code %q", err, test.code)
			}
		})
	}
	_, err := caller.New(&config.Document{PlatformCallers: true}, caller.Options{}).Authenticate(request(t))
	if caller.CodeOf(err) != caller.NotConfigured {
		t.Errorf("a platform without an authenticator lets somebody in: %v", err)
	}
}

func TestPlatformAuthenticators(t *testing.T) {
	t.Parallel()
	google := oidc.New("https://accounts.google.com")
	unsigned := func(token oidc.Token) string {
		text := mint(t, google, token)
		return text[:strings.LastIndex(text, ".")+1] + "SIGNATURE_REMOVED_BY_GOOGLE"
	}
	email := map[string]any{"email": "app@project.iam.gserviceaccount.com", "email_verified": true}
	identity := func(arn string, ok bool) caller.Authenticator {
		return caller.Lambda(func(*http.Request) (string, bool) { return arn, ok })
	}
	const role = "arn:aws:sts::123456789012:assumed-role/app/session"
	tests := []struct {
		name string
		by   caller.Authenticator
		head []string
		want *caller.Principal // compared without Expires
		code caller.Code
	}{
		{
			name: "Lambda's IAM identity is the caller", by: identity(role, true),
			want: &caller.Principal{Method: caller.AWSIAM, Issuer: caller.AWSIssuer, Subject: role, Name: role, Tenant: "123456789012"},
		},
		{name: "an event without an IAM identity has no caller", by: identity("", false), code: caller.Missing},
		{name: "an IAM identity that is no ARN is none", by: identity("alice", true), code: caller.Missing},
		{
			name: "Cloud Run's verified token names the caller by its address", by: caller.CloudRunInvoker(),
			head: []string{"Authorization", "Bearer " + unsigned(oidc.Token{Subject: "1234", Claims: email})},
			want: &caller.Principal{Method: caller.CloudRun, Issuer: "https://accounts.google.com", Subject: "app@project.iam.gserviceaccount.com", Name: "app@project.iam.gserviceaccount.com", Kind: caller.Workload},
		},
		{
			name: "an address that is not verified is not used", by: caller.CloudRunInvoker(),
			head: []string{"Authorization", "Bearer " + unsigned(oidc.Token{Subject: "1234", Claims: map[string]any{"email": "boss@example.com", "email_verified": false}})},
			want: &caller.Principal{Method: caller.CloudRun, Issuer: "https://accounts.google.com", Subject: "1234", Name: "1234"},
		},
		{
			name: "X-Serverless-Authorization is what Cloud Run looked at, so Authorization says nothing", by: caller.CloudRunInvoker(),
			head: []string{"X-Serverless-Authorization", "Bearer " + unsigned(oidc.Token{Subject: "1234"}), "Authorization", "Bearer " + unsigned(oidc.Token{Subject: "boss"})},
			want: &caller.Principal{Method: caller.CloudRun, Issuer: "https://accounts.google.com", Subject: "1234", Name: "1234"},
		},
		{
			name: "a token that Cloud Run did not look at is none", by: caller.CloudRunInvoker(),
			head: []string{"X-Serverless-Authorization", "Bearer " + mint(t, google, oidc.Token{}), "Authorization", "Bearer " + unsigned(oidc.Token{Subject: "boss"})}, code: caller.Malformed,
		},
		{name: "a token with its signature was not verified by Cloud Run", by: caller.CloudRunInvoker(), head: []string{"Authorization", "Bearer " + mint(t, google, oidc.Token{})}, code: caller.Malformed},
		{name: "a token of another issuer was not verified by Cloud Run", by: caller.CloudRunInvoker(), head: []string{"Authorization", "Bearer " + unsigned(oidc.Token{Claims: map[string]any{"iss": issuerURL}})}, code: caller.WrongIssuer},
		{name: "an expired token is refused even then", by: caller.CloudRunInvoker(), head: []string{"Authorization", "Bearer " + unsigned(oidc.Token{Lifetime: -3600e9})}, code: caller.Expired},
		{name: "a marker alone is no token", by: caller.CloudRunInvoker(), head: []string{"Authorization", "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE"}, code: caller.Malformed},
		{name: "two tokens in Cloud Run's header are refused", by: caller.CloudRunInvoker(), head: []string{"X-Serverless-Authorization", "Bearer a", "X-Serverless-Authorization", "Bearer b"}, code: caller.Malformed},
		{name: "no token at all", by: caller.CloudRunInvoker(), code: caller.Missing},
		{
			name: "App Service's headers name the caller", by: caller.AppServiceAuthentication(),
			head: []string{"X-MS-CLIENT-PRINCIPAL-ID", "4711", "X-MS-CLIENT-PRINCIPAL-NAME", "alice@example.com"},
			want: &caller.Principal{Method: caller.EasyAuth, Issuer: caller.EasyAuthIssuer, Subject: "4711", Name: "alice@example.com"},
		},
		{
			name: "App Service may know no name", by: caller.AppServiceAuthentication(), head: []string{"X-MS-CLIENT-PRINCIPAL-ID", "4711"},
			want: &caller.Principal{Method: caller.EasyAuth, Issuer: caller.EasyAuthIssuer, Subject: "4711", Name: "4711"},
		},
		{name: "a name without an id is nobody", by: caller.AppServiceAuthentication(), head: []string{"X-MS-CLIENT-PRINCIPAL-NAME", "alice@example.com"}, code: caller.Missing},
		{name: "two ids are refused", by: caller.AppServiceAuthentication(), head: []string{"X-MS-CLIENT-PRINCIPAL-ID", "4711", "X-Ms-Client-Principal-Id", "4712"}, code: caller.Malformed},
		{name: "headers spelled with underscores are nobody's", by: caller.AppServiceAuthentication(), head: []string{"X_MS_CLIENT_PRINCIPAL_ID", "4711"}, code: caller.Missing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.head...)
			principal, err := test.by.Authenticate(r)
			if test.code != "" {
				if principal != nil {
					t.Errorf("the principal is %+v", principal)
				}
				refused(t, r, err, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := *principal
			got.Expires = test.want.Expires
			if diff := cmp.Diff(test.want, &got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
