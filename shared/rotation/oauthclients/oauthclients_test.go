package oauthclients_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	fake "github.com/postern-ai/postern/localdev/fake/oauth"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/oauthclients"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

const issuerURL = "https://idp.example.com/tenant"

// metadata are what a registration has beside the client's secret.
func metadata() map[string]any {
	return map[string]any{
		"client_name": "Gateway", "grant_types": []any{"client_credentials"}, "token_endpoint_auth_method": fake.SecretBasic, "contacts": []any{"a@example.com", "b@example.com"},
	}
}

type world struct {
	server *fake.Server
	issuer *oauthclients.Issuer
	line   *rotationtest.Line
}

func open(t *testing.T, line *rotationtest.Line, registration fake.Registration) world {
	t.Helper()
	registration.Token, registration.Metadata = "first-"+rotationtest.Canary, metadata()
	w := world{line: line, server: fake.New(fake.Options{URL: issuerURL, Clients: []fake.Client{{
		ID: "gateway client", Method: fake.SecretBasic, Secret: "first " + rotationtest.Canary, Grants: []string{fake.ClientCredentials},
		Scopes: []string{"llm:invoke"}, Targets: []string{"llm"}, Registration: &registration,
	}}})}
	var err error
	w.issuer, err = oauthclients.New(oauthclients.Options{
		TokenEndpoint: w.server.TokenURL(), Scopes: []string{"llm:invoke"}, Audience: "llm", Transport: line.Transport(w.server),
		Content: func(context.Context) (secrets.Value, error) { return w.content(t), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// content is what would be stored if no reply were ever lost.
func (w world) content(t *testing.T) secrets.Value {
	t.Helper()
	client, _ := w.server.Client("gateway client")
	return document(t, map[string]any{
		"client_id": client.ID, "client_secret": client.Secret, "registration_client_uri": issuerURL + "/register/gateway%20client",
		"registration_access_token": client.Registration.Token, "note": []int{1, 2},
	})
}

func document(t *testing.T, members map[string]any) secrets.Value {
	t.Helper()
	text, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return secrets.NewValue(string(text))
}

func members(t *testing.T, value secrets.Value) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(value.Reveal()), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConformance(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World {
		w := open(t, line, fake.Registration{})
		return rotationtest.World{
			Issuer: w.issuer, Keys: func() []rotation.Key { return []rotation.Key{{ID: "gateway client"}} },
			Current: "gateway client", Content: w.content(t),
			Wrong: document(t, map[string]any{"client_id": "gateway client", "client_secret": "wrong"}),
		}
	})
}

// TestBothReturnedValuesAreInOneContent rotates a client of a server that replaces everything that it can.
func TestBothReturnedValuesAreInOneContent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, fake.Registration{RotatesToken: true, SecretLife: time.Hour})
		content := w.content(t)
		for range 3 {
			issued, err := w.issuer.Create(t.Context(), rotation.Order{Content: content})
			if err != nil {
				t.Fatal(err)
			}
			before, after := members(t, content), members(t, issued.Value)
			for _, name := range []string{"client_secret", "registration_access_token"} {
				if before[name] == after[name] {
					t.Errorf("%s is still the same", name)
				}
			}
			if diff := cmp.Diff(members(t, w.content(t)), after); diff != "" {
				t.Errorf("the content is not what the server has:\n%s", diff)
			}
			if want := time.Now().Add(time.Hour); !issued.Key.Expires.Equal(want) {
				t.Errorf("it ends at %v, want %v", issued.Key.Expires, want)
			}
			content = issued.Value
		}
		client, _ := w.server.Client("gateway client")
		if diff := cmp.Diff(metadata(), client.Registration.Metadata); diff != "" {
			t.Errorf("the client's metadata have changed:\n%s", diff)
		}
	})
}

// TestAReplyThatTookTheTokenWithItSaysSo loses the reply of an update by a server that replaces the token too.
func TestAReplyThatTookTheTokenWithItSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, fake.Registration{RotatesToken: true})
		order := rotation.Order{Content: w.content(t)}
		if _, err := w.issuer.Create(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		_, err := w.issuer.Recover(t.Context(), rotation.Key{}, order)
		if !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "have it issued anew") {
			t.Errorf("got %v", err)
		}
	})
}

// TestATokenThatReadingReplacesIsKept is about a server that replaces the token whenever it is used.
func TestATokenThatReadingReplacesIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, fake.Registration{RotatesOnRead: true, RotatesToken: true})
		order := rotation.Order{Content: w.content(t)}
		value, err := w.issuer.Recover(t.Context(), rotation.Key{}, order)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(members(t, w.content(t)), members(t, value)); diff != "" {
			t.Errorf("the content is not what the server has:\n%s", diff)
		}
		issued, err := w.issuer.Create(t.Context(), rotation.Order{Content: value})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(members(t, w.content(t)), members(t, issued.Value)); diff != "" {
			t.Errorf("the content is not what the server has:\n%s", diff)
		}
	})
}

func TestASecretThatWasMadeBeforeIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, fake.Registration{})
		order := rotation.Order{Content: w.content(t)}
		if value, err := w.issuer.Recover(t.Context(), rotation.Key{}, order); err != nil || value.Reveal() != order.Content.Reveal() {
			t.Errorf("nothing was made, and another content is recovered, error %v", err)
		}
		first, err := w.issuer.Create(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		// The content was not stored. The order goes out again.
		second, err := w.issuer.Create(t.Context(), order)
		if err != nil || !first.Value.Equal(second.Value) {
			t.Errorf("another secret was made, error %v", err)
		}
	})
}

func TestAServerThatKeepsTheSecretIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, fake.Registration{KeepsSecret: true})
		_, err := w.issuer.Create(t.Context(), rotation.Order{Content: w.content(t)})
		if !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "keeps the secret") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAContentSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, fake.Registration{})
		for _, test := range []struct {
			name, member string
			value        any
			want         string
		}{
			{"no registration", "registration_client_uri", "", "has to be JSON with client_id, client_secret, registration_client_uri"},
			{"no token", "registration_access_token", nil, "registration_access_token, as the client's registration returned"},
			{"no TLS", "registration_client_uri", "http://idp.example.com/register/x", "begins with https://"},
			{"a token that fits into no header", "registration_access_token", "a\r\nb", "do not fit into a header"},
			{"a token of another client", "registration_access_token", "x", "have it issued anew"},
			{"another client's id", "client_id", "x", "not what the API of the authorization server describes"},
		} {
			content := members(t, w.content(t))
			content[test.member] = test.value
			order := rotation.Order{Content: document(t, content)}
			_, created := w.issuer.Create(t.Context(), order)
			_, recovered := w.issuer.Recover(t.Context(), rotation.Key{}, order)
			for _, err := range []error{created, recovered} {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got %v", test.name, err)
				}
			}
		}
	})
}

func TestTheTokenStaysWithItsServer(t *testing.T) {
	t.Parallel()
	w := open(t, &rotationtest.Line{}, fake.Registration{})
	moved := members(t, w.content(t))
	service := &canned{body: `{"client_id":"gateway client","client_secret":"next","registration_access_token":"t","registration_client_uri":"https://elsewhere.example/x"}`}
	issuer, err := oauthclients.New(oauthclients.Options{TokenEndpoint: issuerURL, Transport: w.line.Transport(service), Content: func(context.Context) (secrets.Value, error) { return secrets.Value{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	value, err := issuer.Recover(t.Context(), rotation.Key{}, rotation.Order{Content: document(t, moved)})
	if err != nil {
		t.Fatal(err)
	}
	got := members(t, value)
	if got["registration_client_uri"] != moved["registration_client_uri"] || got["client_secret"] != "next" || got["registration_access_token"] != "t" {
		t.Errorf("the content is %v", got)
	}
}

func TestATokenEndpointSaysWhyThereIsNoToken(t *testing.T) {
	t.Parallel()
	content := document(t, map[string]any{"client_id": "a", "client_secret": "b"})
	for _, test := range []struct {
		status     int
		body, want string
		kind       error
	}{
		{400, `{"error":"invalid_client"}`, "does not accept the client's secret", rotation.ErrRejected},
		{401, `{"error":"invalid_client"}`, "does not accept the key (401)", rotation.ErrRejected},
		{400, `{"error":"invalid_scope","error_description":"` + rotationtest.Canary + `"}`, "gives it no token: invalid_scope", rotation.ErrRefused},
		{400, `{"error":"` + rotationtest.Canary + `"}`, "answers with status 400", rotation.ErrRefused},
		{200, `{"access_token":""}`, "not what the API", rotation.ErrUnanswered},
		{200, `{"access_token":"t"}`, "", nil},
	} {
		line := &rotationtest.Line{}
		issuer, err := oauthclients.New(oauthclients.Options{
			TokenEndpoint: issuerURL, Transport: line.Transport(&canned{test.status, test.body}), Content: func(context.Context) (secrets.Value, error) { return secrets.Value{}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		err = issuer.Verify(t.Context(), content)
		if !errors.Is(err, test.kind) || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), rotationtest.Canary)) {
			t.Errorf("%d %s: got %v", test.status, test.body, err)
		}
	}
}

func TestASecretCanBePosted(t *testing.T) {
	t.Parallel()
	line := &rotationtest.Line{}
	server := fake.New(fake.Options{URL: issuerURL, Clients: []fake.Client{{ID: "a b", Method: fake.SecretPost, Secret: "s:/+ %", Grants: []string{fake.ClientCredentials}}}})
	for _, post := range []bool{false, true} {
		issuer, err := oauthclients.New(oauthclients.Options{
			TokenEndpoint: server.TokenURL(), Post: post, Transport: line.Transport(server), Content: func(context.Context) (secrets.Value, error) { return secrets.Value{}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		err = issuer.Verify(t.Context(), document(t, map[string]any{"client_id": "a b", "client_secret": "s:/+ %"}))
		if (err == nil) != post || !post && !errors.Is(err, rotation.ErrRejected) {
			t.Errorf("posted %v: got %v", post, err)
		}
	}
}

func TestAContentThatCannotBeReadIsNoList(t *testing.T) {
	t.Parallel()
	line := &rotationtest.Line{}
	issuer, err := oauthclients.New(oauthclients.Options{
		TokenEndpoint: issuerURL, Transport: line.Transport(&canned{}), Content: func(context.Context) (secrets.Value, error) { return secrets.Value{}, errors.New(rotationtest.Canary) },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = issuer.Find(t.Context(), "")
	if want := "find key: the client's stored content cannot be read"; !errors.Is(err, rotation.ErrUnavailable) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	content := func(context.Context) (secrets.Value, error) { return secrets.Value{}, nil }
	for _, test := range []struct {
		name    string
		options oauthclients.Options
		want    string
	}{
		{"no content", oauthclients.Options{TokenEndpoint: issuerURL}, "credential_ref"},
		{"no token endpoint", oauthclients.Options{Content: content}, "token_endpoint"},
		{"a token endpoint without TLS", oauthclients.Options{Content: content, TokenEndpoint: "http://example.com"}, "https://"},
	} {
		if _, err := oauthclients.New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

// canned answers every request in one way.
type canned struct {
	status int
	body   string
}

func (c *canned) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if c.status != 0 {
		w.WriteHeader(c.status)
	}
	_, _ = w.Write([]byte(c.body))
}
