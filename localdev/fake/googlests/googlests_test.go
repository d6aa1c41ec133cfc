package googlests_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/googlests"
	"github.com/postern-ai/postern/localdev/fake/jwtauth"
)

const (
	pool        = "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/pool"
	fromAWS     = pool + "/providers/aws"
	fromEntra   = pool + "/providers/entra"
	entraIssuer = "https://sts.windows.net/11111111-2222-4333-8444-555555555555/"
	gateway     = "gateway@local-project.iam.gserviceaccount.com"
	middle      = "middle@local-project.iam.gserviceaccount.com"
	keyed       = "keyed@local-project.iam.gserviceaccount.com"
	arn         = "arn:aws:sts::123456789012:assumed-role/postern-gateway/local"
	emptyHash   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	cloud       = googlests.CloudPlatform
)

var (
	entraKey   = jwtauth.NewSigner("RS256")
	accountKey = jwtauth.NewSigner("RS256")
	platform   = awscreds.New(awscreds.Options{})
	awsKey     = platform.Issue()
)

func server() *googlests.Server {
	return googlests.New(googlests.Options{
		Keys:    platform.Lookup,
		Issuers: jwtauth.Issuers(map[string]*jwtauth.Signer{entraIssuer: entraKey}),
		Callers: func(token string) (string, bool) {
			return "run@local-project.iam.gserviceaccount.com", token == "from-metadata"
		},
		Providers: map[string]googlests.Provider{
			fromAWS:   {AWS: "123456789012", Condition: func(subject string) bool { return strings.Contains(subject, "/postern-gateway/") }},
			fromEntra: {Issuer: entraIssuer, Audiences: []string{"api://postern"}},
		},
		Accounts: []googlests.Account{
			{Email: gateway, UniqueID: "1040", Creators: []string{"principal:" + pool + "/subject/" + arn, "serviceAccount:" + middle}},
			{Email: middle, UniqueID: "1041", Creators: []string{"serviceAccount:run@local-project.iam.gserviceaccount.com"}, LongLived: true},
			{Email: keyed, UniqueID: "1042", Keys: accountKey.KeySet()},
		},
		Users: []googlests.User{{Email: "alice@example.com", ClientID: "client", ClientSecret: "secret", RefreshToken: "refresh"}},
	})
}

// reply is what any of the endpoints may answer.
type reply struct {
	status      int
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	TokenType   string `json:"token_type"`
	Issued      string `json:"issued_token_type"`
	Generated   string `json:"accessToken"`
	ExpireTime  string `json:"expireTime"`
	Token       string `json:"token"`
	Error       any    `json:"error"`
}

// code returns the error, in whichever form.
func (r reply) code() string {
	if inner, ok := r.Error.(map[string]any); ok {
		return inner["status"].(string)
	}
	code, _ := r.Error.(string)
	return code
}

func send(t *testing.T, handler http.Handler, request *http.Request) reply {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	got := reply{status: recorder.Code}
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, recorder.Body)
	}
	return got
}

func post(path string, form url.Values) *http.Request {
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request
}

// callerIdentity is a request for the identity of the AWS role, signed as the documentation of token exchange wants it.
func callerIdentity(t *testing.T, change func(*http.Request)) string {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "https://sts.eu-central-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15", nil)
	request.Header.Set("x-goog-cloud-target-resource", fromAWS)
	credentials := aws.Credentials{AccessKeyID: awsKey.AccessKeyID, SecretAccessKey: awsKey.SecretAccessKey, SessionToken: awsKey.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, request, emptyHash, "sts", "eu-central-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(request)
	}
	headers := []map[string]string{{"key": "host", "value": request.Host}}
	for name, values := range request.Header {
		headers = append(headers, map[string]string{"key": strings.ToLower(name), "value": values[0]})
	}
	text, err := json.Marshal(map[string]any{"url": request.URL.String(), "method": request.Method, "headers": headers})
	if err != nil {
		t.Fatal(err)
	}
	return url.QueryEscape(string(text))
}

func entraToken(t *testing.T, change map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": entraIssuer, "aud": "api://postern", "sub": "object-1", "iat": time.Now().Unix(), "exp": time.Now().Add(24 * time.Hour).Unix()}
	maps.Copy(claims, change)
	token, err := entraKey.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func exchange(audience, kind, token string) url.Values {
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"audience": {audience}, "scope": {cloud}, "subject_token": {token}, "subject_token_type": {kind},
	}
}

const (
	awsType = "urn:ietf:params:aws:token-type:aws4_request"
	jwtType = "urn:ietf:params:oauth:token-type:jwt"
)

func TestATokenOfAnotherCloudIsExchangedForAnAccessToken(t *testing.T) {
	t.Parallel()
	s := server()
	for want, form := range map[string]url.Values{
		"principal:" + pool + "/subject/" + arn:    exchange(fromAWS, awsType, callerIdentity(t, nil)),
		"principal:" + pool + "/subject/object-1":  exchange(fromEntra, jwtType, entraToken(t, nil)),
		"principal:" + pool + "/subject/object-2":  exchange(fromEntra, "urn:ietf:params:oauth:token-type:id_token", entraToken(t, map[string]any{"sub": "object-2"})),
		"principal:" + pool + "/subject/object-3+": exchange(fromEntra, jwtType, entraToken(t, map[string]any{"sub": "object-3+", "aud": []string{"x", "api://postern"}})),
	} {
		got := send(t, s, post("/v1/token", form))
		grant, ok := s.Grant(got.AccessToken)
		if got.status != http.StatusOK || got.TokenType != "Bearer" || !strings.HasSuffix(got.Issued, ":access_token") || got.ExpiresIn < 3599 || got.ExpiresIn > 3600 {
			t.Errorf("got %+v", got)
		}
		if !ok || grant.Member != want || !s.Valid(got.AccessToken) {
			t.Errorf("got %+v, want %s", grant, want)
		}
		s.Revoke(got.AccessToken)
		if s.Valid(got.AccessToken) {
			t.Error("a revoked token is valid")
		}
	}
}

func TestAnExchangeIsRefusedForItsOwnReason(t *testing.T) {
	t.Parallel()
	s := server()
	good := func(change func(url.Values)) url.Values {
		form := exchange(fromEntra, jwtType, entraToken(t, nil))
		if change != nil {
			change(form)
		}
		return form
	}
	set := func(name string, values ...string) url.Values { return good(func(f url.Values) { f[name] = values }) }
	signed := func(change func(*http.Request)) url.Values {
		return exchange(fromAWS, awsType, callerIdentity(t, change))
	}
	jwt := func(change map[string]any) url.Values { return set("subject_token", entraToken(t, change)) }
	for name, test := range map[string]struct {
		form url.Values
		want string
	}{
		"another grant":                        {set("grant_type", "client_credentials"), "unsupported_grant_type"},
		"another kind of token is asked for":   {set("requested_token_type", "id_token"), "invalid_request"},
		"no scope":                             {set("scope"), "invalid_scope"},
		"an empty scope":                       {set("scope", ""), "invalid_scope"},
		"scopes with commas":                   {set("scope", cloud+","+cloud), "invalid_scope"},
		"a parameter twice":                    {set("audience", fromEntra, fromEntra), "invalid_request"},
		"an audience that is no provider":      {set("audience", "https://"+fromEntra[2:]), "invalid_request"},
		"a provider that does not exist":       {set("audience", fromEntra+"s"), "invalid_target"},
		"a kind of token that does not fit":    {set("subject_token_type", awsType), "invalid_request"},
		"a token that is none":                 {set("subject_token", "x"), "invalid_grant"},
		"a token for another audience":         {jwt(map[string]any{"aud": "api://other"}), "invalid_grant"},
		"a token of an unknown issuer":         {jwt(map[string]any{"iss": "https://evil.example/"}), "invalid_grant"},
		"a token that has expired":             {jwt(map[string]any{"exp": time.Now().Unix() - 1}), "invalid_grant"},
		"a token that was issued two days ago": {jwt(map[string]any{"iat": time.Now().Unix() - 48*3600}), "invalid_grant"},
		"a subject that is too long":           {jwt(map[string]any{"sub": strings.Repeat("s", 128)}), "invalid_grant"},
		"a signature for another provider":     {signed(func(r *http.Request) { r.Header.Set("x-goog-cloud-target-resource", fromEntra) }), "invalid_grant"},
		"a signature that has been changed": {signed(func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().UTC().Add(-time.Minute).Format("20060102T150405Z"))
		}), "invalid_grant"},
		"a signature without the session token":    {signed(func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") }), "invalid_grant"},
		"a signed request for something else":      {signed(func(r *http.Request) { r.URL.RawQuery = "Action=GetSessionToken&Version=2011-06-15" }), "invalid_grant"},
		"a signed request to another host":         {signed(func(r *http.Request) { r.URL.Host = "sts.evil.example"; r.Host = r.URL.Host }), "invalid_grant"},
		"a signed request by another method":       {signed(func(r *http.Request) { r.Method = http.MethodGet }), "invalid_grant"},
		"a signed request that is not JSON":        {exchange(fromAWS, awsType, "x"), "invalid_grant"},
		"a signed request under another host name": {signed(func(r *http.Request) { r.Host = "sts.amazonaws.com" }), "invalid_grant"},
	} {
		if got := send(t, s, post("/v1/token", test.form)); got.code() != test.want || got.status != http.StatusBadRequest || got.AccessToken != "" {
			t.Errorf("%s: got %+v, want %s", name, got, test.want)
		}
	}
	withHeader := post("/v1/token", good(nil))
	withHeader.Header.Set("Authorization", "Bearer x")
	if got := send(t, s, withHeader); got.code() != "invalid_request" {
		t.Errorf("with an Authorization header: got %+v", got)
	}
	other := googlests.New(googlests.Options{Keys: platform.Lookup, Providers: map[string]googlests.Provider{fromAWS: {AWS: "999999999999"}}})
	if got := send(t, other, post("/v1/token", signed(nil))); got.code() != "unauthorized_client" {
		t.Errorf("another account: got %+v", got)
	}
	picky := googlests.New(googlests.Options{Keys: platform.Lookup, Providers: map[string]googlests.Provider{fromAWS: {AWS: "123456789012", Condition: func(string) bool { return false }}}})
	if got := send(t, picky, post("/v1/token", signed(nil))); got.code() != "unauthorized_client" {
		t.Errorf("a condition that does not hold: got %+v", got)
	}
}

func generate(method, bearer, body string) *http.Request {
	request := httptest.NewRequest(http.MethodPost, "/v1/projects/-/serviceAccounts/"+method, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+bearer)
	request.Header.Set("Content-Type", "application/json")
	return request
}

func TestImpersonationNeedsEachStepToBeAllowed(t *testing.T) {
	t.Parallel()
	s := server()
	federated := send(t, s, post("/v1/token", exchange(fromAWS, awsType, callerIdentity(t, nil)))).AccessToken
	narrow := exchange(fromAWS, awsType, callerIdentity(t, nil))
	narrow.Set("scope", "https://www.googleapis.com/auth/pubsub")
	weak := send(t, s, post("/v1/token", narrow)).AccessToken
	const scope = `"scope":["` + cloud + `"]`
	tests := []struct {
		name, method, bearer, body, want string
	}{
		{"a federated identity that may", gateway + ":generateAccessToken", federated, `{` + scope + `,"lifetime":"3600s"}`, ""},
		{"by the account's number", "1040:generateAccessToken", federated, `{` + scope + `}`, ""},
		{"a chain", gateway + ":generateAccessToken", "from-metadata", `{` + scope + `,"delegates":["projects/-/serviceAccounts/` + middle + `"]}`, ""},
		{"twelve hours where they are allowed", middle + ":generateAccessToken", "from-metadata", `{` + scope + `,"lifetime":"43200s"}`, ""},
		{"a chain without its middle", gateway + ":generateAccessToken", "from-metadata", `{` + scope + `}`, "PERMISSION_DENIED"},
		{"a chain in the wrong order", middle + ":generateAccessToken", "from-metadata", `{` + scope + `,"delegates":["projects/-/serviceAccounts/` + gateway + `"]}`, "PERMISSION_DENIED"},
		{"a delegate under a project", gateway + ":generateAccessToken", "from-metadata", `{` + scope + `,"delegates":["projects/p/serviceAccounts/` + middle + `"]}`, "INVALID_ARGUMENT"},
		{"an account that does not exist", "x@y:generateAccessToken", federated, `{` + scope + `}`, "PERMISSION_DENIED"},
		{"more than an hour", gateway + ":generateAccessToken", federated, `{` + scope + `,"lifetime":"3601s"}`, "INVALID_ARGUMENT"},
		{"a lifetime in hours", gateway + ":generateAccessToken", federated, `{` + scope + `,"lifetime":"1h"}`, "INVALID_ARGUMENT"},
		{"no scope", gateway + ":generateAccessToken", federated, `{}`, "INVALID_ARGUMENT"},
		{"scopes in one text", gateway + ":generateAccessToken", federated, `{"scope":"` + cloud + `"}`, "INVALID_ARGUMENT"},
		{"an unknown field", gateway + ":generateAccessToken", federated, `{` + scope + `,"scopes":[]}`, "INVALID_ARGUMENT"},
		{"an unknown token", gateway + ":generateAccessToken", "x", `{` + scope + `}`, "UNAUTHENTICATED"},
		{"a token with too small a scope", gateway + ":generateAccessToken", weak, `{` + scope + `}`, "PERMISSION_DENIED"},
		{"an unknown method", gateway + ":signBlob", federated, `{}`, "NOT_FOUND"},
		{"an identity token", gateway + ":generateIdToken", federated, `{"audience":"sts.amazonaws.com","includeEmail":true}`, ""},
		{"an identity token for nobody", gateway + ":generateIdToken", federated, `{}`, "INVALID_ARGUMENT"},
		{"an identity token of an account that is not allowed", middle + ":generateIdToken", federated, `{"audience":"a"}`, "PERMISSION_DENIED"},
	}
	for _, test := range tests {
		got := send(t, s, generate(test.method, test.bearer, test.body))
		if got.code() != test.want || (got.status == http.StatusOK) != (test.want == "") {
			t.Errorf("%s: got %+v, want %s", test.name, got, test.want)
		}
		if test.want != "" {
			continue
		}
		if got.Token != "" {
			claims, err := jwtauth.Verify(got.Token, func(string) (jose.JSONWebKeySet, bool) { return s.KeySet(), true }, jose.RS256)
			if err != nil || claims.Subject != "1040" || claims.Audience[0] != "sts.amazonaws.com" || claims.Text("email") != gateway {
				t.Errorf("%s: got %+v and error %v", test.name, claims, err)
			}
			continue
		}
		grant, _ := s.Grant(got.Generated)
		if expires, err := time.Parse(time.RFC3339, got.ExpireTime); err != nil || !expires.Equal(grant.Expires) || !strings.HasPrefix(grant.Member, "serviceAccount:") {
			t.Errorf("%s: got %+v, which is %+v: %v", test.name, got, grant, err)
		}
	}
	project := generate(gateway+":generateAccessToken", federated, `{`+scope+`}`)
	project.URL.Path = strings.Replace(project.URL.Path, "/-/", "/local-project/", 1)
	if got := send(t, s, project); got.code() != "INVALID_ARGUMENT" {
		t.Errorf("under a project: got %+v", got)
	}
}

func assertion(t *testing.T, change map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": keyed, "sub": keyed, "aud": "https://oauth2.googleapis.com/token", "scope": cloud, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range change {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	token, err := accountKey.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTheTokenEndpointTakesAssertionsAndRefreshTokens(t *testing.T) {
	t.Parallel()
	s := server()
	bearer := func(change map[string]any) url.Values {
		return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion(t, change)}}
	}
	refresh := func(id, secret, token string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "client_id": {id}, "client_secret": {secret}, "refresh_token": {token}}
	}
	for name, test := range map[string]struct {
		form         url.Values
		member, want string
	}{
		"a service account":                {bearer(nil), "serviceAccount:" + keyed, ""},
		"a person":                         {refresh("client", "secret", "refresh"), "user:alice@example.com", ""},
		"another audience":                 {bearer(map[string]any{"aud": "https://evil.example"}), "", "invalid_grant"},
		"another subject":                  {bearer(map[string]any{"sub": gateway}), "", "invalid_grant"},
		"an account without this key":      {bearer(map[string]any{"iss": gateway, "sub": gateway}), "", "invalid_grant"},
		"an assertion for two hours":       {bearer(map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()}), "", "invalid_grant"},
		"no scope":                         {bearer(map[string]any{"scope": nil}), "", "invalid_scope"},
		"another client":                   {refresh("other", "secret", "refresh"), "", "invalid_client"},
		"a wrong client secret":            {refresh("client", "x", "refresh"), "", "invalid_client"},
		"a refresh token that was revoked": {refresh("client", "secret", "x"), "", "invalid_grant"},
		"another grant":                    {url.Values{"grant_type": {"password"}}, "", "unsupported_grant_type"},
	} {
		got := send(t, s, post("/token", test.form))
		grant, _ := s.Grant(got.AccessToken)
		if got.code() != test.want || grant.Member != test.member {
			t.Errorf("%s: got %+v for %+v, want %s", name, got, grant, test.want)
		}
	}
}

func TestTokensThatAServiceAccountSignsItselfAreAccessTokens(t *testing.T) {
	t.Parallel()
	s := server()
	for name, test := range map[string]struct {
		change map[string]any
		want   bool
	}{
		"for scopes":                         {map[string]any{"aud": nil}, true},
		"for Vertex AI":                      {map[string]any{"aud": "https://aiplatform.googleapis.com/", "scope": nil}, true},
		"for both":                           {map[string]any{"aud": "https://aiplatform.googleapis.com/"}, false},
		"for another service":                {map[string]any{"aud": "https://pubsub.googleapis.com/", "scope": nil}, false},
		"for the token endpoint":             {nil, false},
		"for two hours":                      {map[string]any{"aud": nil, "exp": time.Now().Add(2 * time.Hour).Unix()}, false},
		"in the name of another account":     {map[string]any{"aud": nil, "iss": gateway, "sub": gateway}, false},
		"for a scope that is not this one's": {map[string]any{"aud": nil, "scope": "https://www.googleapis.com/auth/pubsub"}, false},
	} {
		if got := s.Valid(assertion(t, test.change)); got != test.want {
			t.Errorf("%s: valid is %v", name, got)
		}
	}
}

func TestTokensExpireAndFaultsArePerService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := server()
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"client"}, "client_secret": {"secret"}, "refresh_token": {"refresh"}}
		token := send(t, s, post("/token", form)).AccessToken
		time.Sleep(time.Hour)
		if s.Valid(token) {
			t.Error("an expired token is valid")
		}
		s.SetLifetime(-time.Minute)
		if got := send(t, s, post("/token", form)); s.Valid(got.AccessToken) || got.ExpiresIn != -60 {
			t.Errorf("got %+v", got)
		}
		s.STS.Set(fault.Fault{Status: 503, Body: `{"error":"x"}`})
		if got := send(t, s, post("/v1/token", nil)); got.status != 503 {
			t.Errorf("got %+v", got)
		}
		if s.STS.Calls() != 1 || s.OAuth.Calls() != 2 || s.Credentials.Calls() != 0 {
			t.Error("the counters are wrong")
		}
	})
}
