package googleid

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	defaultUniverse = "googleapis.com"
	// issuerTries is how often a token service is asked when it does not answer or says that it is not able to.
	issuerTries = 2
	issuerPause = 100 * time.Millisecond
	// maxAnswer is far above the longest token (12 KB), in bytes.
	maxAnswer = 64 << 10
	formType  = "application/x-www-form-urlencoded"
	jsonType  = "application/json"
)

// Services says where Google's token services are. The zero value is Google's own.
type Services struct {
	// Universe is the domain of all of Google Cloud's services. Empty means googleapis.com. A credential file must be for the same one.
	Universe string
	// STS, IAMCredentials and OAuth2 stand in for https://sts.googleapis.com, https://iamcredentials.googleapis.com and
	// https://oauth2.googleapis.com in tests and local runs. They must be on this machine.
	STS            string
	IAMCredentials string
	OAuth2         string
	// HTTP sends the requests. Nil means an identity.IssuerClient.
	HTTP *http.Client
}

// services are the addresses, complete.
type services struct {
	universe            string
	sts, iam, oauth     string
	http                *http.Client
	stsURL, oauthURL    string // as credential files name them
	impersonationPrefix string
}

func (s Services) resolve() (*services, error) {
	universe := cmp.Or(s.Universe, defaultUniverse)
	if !isDomain(universe) {
		return nil, fmt.Errorf("universe domain %q does not look like googleapis.com", universe)
	}
	official := func(name string) string { return "https://" + name + "." + universe }
	got := &services{
		universe: universe, sts: official("sts"), iam: official("iamcredentials"), oauth: official("oauth2"), http: s.HTTP,
		stsURL: official("sts") + "/v1/token", oauthURL: official("oauth2") + "/token",
		impersonationPrefix: official("iamcredentials") + "/v1/projects/-/serviceAccounts/",
	}
	if got.http == nil {
		got.http = identity.IssuerClient()
	}
	for _, override := range []struct {
		address string
		into    *string
	}{{s.STS, &got.sts}, {s.IAMCredentials, &got.iam}, {s.OAuth2, &got.oauth}} {
		if override.address == "" {
			continue
		}
		parsed, err := url.Parse(override.address)
		if err != nil || !identity.IsLoopback(parsed) || parsed.Path != "" && parsed.Path != "/" || parsed.RawQuery != "" || parsed.User != nil {
			return nil, errors.New("the token services of Google can only be replaced by a server on this machine, such as http://127.0.0.1:9130")
		}
		*override.into = strings.TrimSuffix(override.address, "/")
	}
	return got, nil
}

// isDomain reports whether a text is a domain name of at least two parts. It becomes a part of host names.
func isDomain(text string) bool {
	return strings.Contains(text, ".") && len(text) <= 200 && !strings.HasPrefix(text, ".") && !strings.HasSuffix(text, ".") && !strings.Contains(text, "..") &&
		!strings.ContainsFunc(text, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' })
}

// checkScopes refuses what Google has no scope for.
func checkScopes(scopes []string) error {
	for _, scope := range scopes {
		if scope != "openid" && scope != "email" && !strings.HasPrefix(scope, "https://") || strings.ContainsFunc(scope, func(c rune) bool { return c <= ' ' || c > '~' || c == ',' }) {
			return fmt.Errorf("scope %q does not look like %s", scope, CloudPlatform)
		}
	}
	return nil
}

func orCloudPlatform(scopes []string) []string {
	if len(scopes) == 0 {
		return []string{CloudPlatform}
	}
	return scopes
}

// query is one request to a token service.
type query struct {
	address, contentType string
	body                 []byte
	bearer               secrets.Value
	// doing says what is attempted, and remedies what to do about the error codes of the service.
	doing    string
	remedies map[string]string
}

func (s *services) form(address string, form url.Values) query {
	return query{address: address, contentType: formType, body: []byte(form.Encode())}
}

// ask sends a query and decodes the answer. It asks again, once, when the service does not answer or is not able to. Errors are
// *identity.Error.
func (s *services) ask(ctx context.Context, q query, into any) error {
	began := time.Now()
	for try := 1; ; try++ {
		err := s.once(ctx, q, into)
		failure, ok := errors.AsType[*identity.Error](err)
		if !ok || !failure.Retryable || try == issuerTries || time.Since(began) > time.Second || !pause(ctx, issuerPause) {
			return err
		}
	}
}

func (s *services) once(ctx context.Context, q query, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, q.address, bytes.NewReader(q.body))
	if err != nil {
		return &identity.Error{Public: "cannot " + q.doing + ": internal error", Err: err}
	}
	request.Header.Set("Content-Type", q.contentType)
	if !q.bearer.IsZero() {
		request.Header.Set("Authorization", "Bearer "+q.bearer.Reveal())
	}
	response, err := s.http.Do(request)
	if err != nil {
		return &identity.Error{Public: "cannot " + q.doing + ": Google's token service does not answer", Err: err, Retryable: true}
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return &identity.Error{Public: "cannot " + q.doing + ": Google's token service does not answer", Err: err, Retryable: true}
	case len(answer) > maxAnswer:
		return &identity.Error{Public: fmt.Sprintf("cannot %s: the answer of Google's token service is larger than %d bytes", q.doing, maxAnswer)}
	case response.StatusCode != http.StatusOK:
		return q.refused(response, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return &identity.Error{Public: "cannot " + q.doing + ": the answer of Google's token service is not the expected JSON", Err: err, Retryable: true}
	}
	return nil
}

// refused puts a refusal into words. Of what the service says only its code is shown.
func (q query) refused(response *http.Response, answer []byte) error {
	code := parseCode(answer)
	text := fmt.Sprintf("cannot %s: Google's token service answered with status %d", q.doing, response.StatusCode)
	if code != "" {
		text += ", " + code
	}
	if remedy := q.remedies[code]; remedy != "" {
		text += "; " + remedy
	}
	if skew := identity.DescribeSkew(response.Header); skew != "" {
		text += "; " + skew
	}
	return &identity.Error{
		Public: text, Err: refusal(code),
		Retryable: response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError,
	}
}

// refusal is the code of a refusal.
type refusal string

// Error returns the code.
func (r refusal) Error() string { return "google: " + string(r) }

// parseCode finds the code of an error in either of the forms that Google's services have: error of RFC 6749 section 5.2, or error.status of
// https://cloud.google.com/apis/design/errors.
func parseCode(answer []byte) string {
	var inner struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	var plain struct {
		Error string `json:"error"`
	}
	code := ""
	if json.Unmarshal(answer, &plain) == nil {
		code = plain.Error
	} else if json.Unmarshal(answer, &inner) == nil {
		code = inner.Error.Status
	}
	if len(code) > 64 || strings.ContainsFunc(code, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' }) {
		return ""
	}
	return code
}

// granted is the answer of an OAuth 2.0 token endpoint.
type granted struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
	TokenType   string `json:"token_type"`
}

// token counts the expiry from before the request.
func (g granted) token(began time.Time, principal identity.Principal) (identity.Token, error) {
	if g.AccessToken == "" || g.ExpiresIn == 0 {
		return identity.Token{}, &identity.Error{Public: "the answer of Google's token service is not an access token with an expiry", Retryable: true}
	}
	return identity.Token{
		Value: secrets.NewValue(g.AccessToken), Type: g.TokenType, Expires: began.Round(0).Add(time.Duration(g.ExpiresIn) * time.Second), Principal: principal,
	}, nil
}
