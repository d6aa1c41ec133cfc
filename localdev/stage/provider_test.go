package stage

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// provider is a certified OpenID Connect provider, run by node.
type provider struct {
	issuer   string
	resource string // what the gateways are to it
}

func startProvider(t *testing.T) provider {
	t.Helper()
	dir := nodeModules(t)
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "provider.js"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	issuer, resource, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok {
		t.Fatalf("the provider says %q: %v\n%s", line, err, log.String())
	}
	return provider{issuer, resource}
}

// user signs in with a browser of its own.
type user struct {
	provider provider
	client   *http.Client
	// key, when set, is what the user's tokens are bound to.
	key *holder
}

func (p provider) newUser(t *testing.T) user {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return user{provider: p, client: &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/callback" { // nobody listens there
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// tokens is the answer of a token endpoint.
type tokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Type    string `json:"token_type"`
	Problem string `json:"error_description"`
}

// signIn goes the way of an authorization code, with what a challenge asks for.
func (u user) signIn(t *testing.T, asked url.Values) tokens {
	t.Helper()
	verifier := strings.Repeat("verifier", 6)
	sum := sha256.Sum256([]byte(verifier))
	const callback = "http://127.0.0.1/callback"
	query := url.Values{
		"client_id": {"app"}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {"openid llm.invoke"}, "resource": {u.provider.resource},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "state": {"s"}, "nonce": {"n"},
	}
	for name, values := range asked {
		query[name] = values
	}
	resp, err := u.client.Get(u.provider.issuer + "/auth?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	location, err := resp.Location()
	if err != nil || location.Query().Get("code") == "" {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("no code: %s, %v, %s", resp.Status, location, text)
	}
	return u.exchange(t, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"app"}, "code": {location.Query().Get("code")}, "redirect_uri": {callback}, "code_verifier": {verifier},
	})
}

// exchange asks the token endpoint.
func (u user) exchange(t *testing.T, form url.Values) tokens {
	t.Helper()
	address := u.provider.issuer + "/token"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if u.key != nil {
		req.Header.Set("DPoP", u.key.prove(t, http.MethodPost, address, ""))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got tokens
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Access == "" {
		t.Fatalf("no token: %s, %v, %s", resp.Status, err, got.Problem)
	}
	return got
}

// parameters reads a challenge.
func parameters(challenge string) map[string]string {
	read := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(challenge, -1) {
		read[m[1]] = m[2]
	}
	return read
}

// chat makes one chat with an OpenAI client; options change its request.
func (s *Stage) chat(t *testing.T, cloud, token string, options ...option.RequestOption) (*openai.Error, error) {
	t.Helper()
	c := openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL(s.Gateways[cloud] + "/v1"), option.WithAPIKey(token), option.WithMaxRetries(0),
	}, options...)...)
	_, err := c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model: Model(cloud), Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("#say(hi)")},
	})
	refused, _ := errors.AsType[*openai.Error](err)
	return refused, err
}

// TestACertifiedProviderIsTheIssuer has callers with the tokens of a real
// provider: they are asked for a second factor and come back with it, are held
// to their keys, and get nowhere with what the provider made for something else.
func TestACertifiedProviderIsTheIssuer(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	s, err := Start(t.Context(), Options{Bin: bin, Document: func(_, document string) string {
		document = strings.Replace(document, "callers:\n", fmt.Sprintf(`callers:
  - name: certified
    issuer: %s
    audience: %s
    token_type: at+jwt
    dpop: optional
`, p.issuer, p.resource), 1)
		return "public_url: " + p.resource + "\nmfa: {acr_values: [phr], max_age: 5m}\n" + strings.Replace(document, "policy:\n", fmt.Sprintf(`policy:
  - {name: people, match: {issuer: "%[1]s", scopes: [llm.invoke], clients: [app]}, models: ["*"], mfa: always}
  - {name: jobs, match: {issuer: "%[1]s", scopes: [llm.invoke], clients: [job]}, models: ["*"], mfa: users}
`, p.issuer), 1)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	weak := p.newUser(t).signIn(t, nil)
	job := user{provider: p}.exchange(t, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"job"}, "client_secret": {"a secret of the job"}, "resource": {p.resource}, "scope": {"llm.invoke"},
	})
	other := user{provider: p}.exchange(t, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"job"}, "client_secret": {"a secret of the job"}, "resource": {"https://other.example.com"}, "scope": {"llm.invoke"},
	})
	for _, cloud := range Clouds() {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			refused, err := s.chat(t, cloud, weak.Access)
			if refused == nil || refused.StatusCode != http.StatusUnauthorized || refused.Code != "insufficient_user_authentication" {
				t.Fatalf("without a second factor: %v", err)
			}
			challenge := parameters(refused.Response.Header.Get("WWW-Authenticate"))
			if challenge["acr_values"] != "phr" || challenge["max_age"] != "300" || challenge["resource_metadata"] != p.resource+"/.well-known/oauth-protected-resource" {
				t.Fatalf("the challenge is %v", challenge)
			}
			u := p.newUser(t)
			strong := u.signIn(t, url.Values{"acr_values": {challenge["acr_values"]}, "max_age": {challenge["max_age"]}})
			if _, err := s.chat(t, cloud, strong.Access); err != nil {
				t.Errorf("with what the challenge asks for: %v", err)
			}
			if _, err := s.chat(t, cloud, job.Access); err != nil {
				t.Errorf("a job that the rule excepts: %v", err)
			}
			for name, token := range map[string]string{
				"the ID token of the same sign-in": strong.ID, "a token for another resource": other.Access, "half a token": strong.Access[:len(strong.Access)-10] + "AAAAAAAAAA",
			} {
				if refused, err := s.chat(t, cloud, token); refused == nil || refused.StatusCode != http.StatusUnauthorized || refused.Code != "invalid_api_key" {
					t.Errorf("%s: %v", name, err)
				}
			}
			s.boundTo(t, cloud, p)
		})
	}
}

// boundTo has a caller whose tokens the provider binds to a key.
func (s *Stage) boundTo(t *testing.T, cloud string, p provider) {
	t.Helper()
	u, key := p.newUser(t), newHolder(t)
	u.key = &key
	bound := u.signIn(t, url.Values{"acr_values": {"phr"}})
	if bound.Type != "DPoP" {
		t.Fatalf("the token's type is %s", bound.Type)
	}
	with := func(h holder) []option.RequestOption {
		return []option.RequestOption{
			option.WithHeader("Authorization", "DPoP "+bound.Access),
			option.WithHeader("DPoP", h.prove(t, http.MethodPost, p.resource+"/v1/chat/completions", bound.Access)),
		}
	}
	if _, err := s.chat(t, cloud, "unused", with(key)...); err != nil {
		t.Errorf("with its key: %v", err)
	}
	for name, options := range map[string][]option.RequestOption{"as a bearer token": nil, "with another key": with(newHolder(t))} {
		refused, err := s.chat(t, cloud, bound.Access, options...)
		if refused == nil || refused.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(refused.Response.Header.Get("WWW-Authenticate"), "DPoP ") {
			t.Errorf("a bound token %s: %v", name, err)
		}
	}
}
