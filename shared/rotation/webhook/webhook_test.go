package webhook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	fake "github.com/postern-ai/postern/localdev/fake/keyhook"
	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/rotation/webhook"
	"github.com/postern-ai/postern/shared/secrets"
)

// shared is a secret that both sides have, and that can be replaced.
type shared struct {
	mu      sync.Mutex
	current int // what the service wants
	cached  int // what this side has
	err     error
}

func text(n int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(rotationtest.Canary+"-shared-secret-"+string(rune('a'+n))))
}

func (s *shared) read(context.Context) (secrets.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return secrets.NewValue(text(s.cached)), s.err
}

func (s *shared) rejected(secret secrets.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret.Reveal() == text(s.cached) {
		s.cached = s.current
	}
}

func (s *shared) wanted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []string{text(s.current)}
}

func (s *shared) replace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current++
}

func (s *shared) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

type world struct {
	server *fake.Server
	issuer rotation.Issuer
	rotationtest.World
}

type setup struct {
	traits   rotation.Traits
	service  fake.Options
	disables bool
}

func open(t *testing.T, line *rotationtest.Line, s setup) world {
	t.Helper()
	secret := &shared{}
	s.service.Secrets = secret.wanted
	w := world{server: fake.New(s.service)}
	var err error
	w.issuer, err = webhook.New(webhook.Options{
		URL: "https://keys.example.com/rotate?tenant=a", Secret: secret.read, OnRejected: secret.rejected, Traits: s.traits, Disables: s.disables, Transport: line.Transport(w.server),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.World = rotationtest.World{
		Issuer: w.issuer,
		Keys: func() []rotation.Key {
			var keys []rotation.Key
			for _, k := range w.server.Keys.List() {
				keys = append(keys, issued(k).Key)
			}
			return keys
		},
		Wrong: secrets.NewValue("key-" + strings.Repeat("0", 40)), Expire: secret.replace, Lose: secret.lose,
	}
	if s.service.Slots == 0 {
		w.Make = func(name string) rotation.Issued { return issued(w.server.Add(name)) }
		return w
	}
	current := issued(w.server.Keys.List()[0])
	w.Current, w.Content = current.Key.ID, current.Value
	return w
}

func issued(k keyring.Key) rotation.Issued {
	return rotation.Issued{Key: rotation.Key{ID: k.ID, Name: k.Name, Disabled: k.Disabled}, Value: secrets.NewValue(k.Secret)}
}

// listed is a service of the usual kind.
var listed = setup{traits: rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true}}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		setup setup
	}{
		{"keys whose secret is shown once", listed},
		{"keys that can be stopped, with an end and a last use", setup{
			traits:   rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Listed, Named: true, Expiry: true, LastUsed: true},
			disables: true,
		}},
		{"keys that can be read again", setup{traits: rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Readable, Named: true}, disables: true}},
		{"keys that are chosen", setup{traits: rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Chosen, Named: true}, service: fake.Options{Chosen: true}, disables: true}},
		{"two slots", setup{traits: rotation.Traits{Overlap: rotation.TwoSlots, Recovery: rotation.Readable}, service: fake.Options{Slots: 2}}},
		{"one key that is replaced", setup{traits: rotation.Traits{Overlap: rotation.InPlace, Recovery: rotation.Readable}, service: fake.Options{Slots: 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World { return open(t, line, test.setup).World })
		})
	}
}

func TestAServiceThatFindsNothingMakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := listed
		s.service.Lacks = []string{"find"}
		w := open(t, &rotationtest.Line{}, s)
		_, err := w.issuer.Create(t.Context(), rotation.Order{Credential: "llm", Cycle: "c", Name: "postern-llm-1"})
		if want := "create key: the webhook does not know the action find (501)"; !errors.Is(err, rotation.ErrRefused) || err.Error() != want {
			t.Errorf("got %v", err)
		}
		if n := len(w.server.Keys.List()); n != 0 {
			t.Errorf("%d keys were made", n)
		}
	})
}

func TestAnOrderThatIsSentTwiceIsOneKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &rotationtest.Line{}, listed)
		order := rotation.Order{Credential: "llm", Cycle: "5bd4a7a5-6ed7-4ee0-a5d9-c29d0b0a2a3c", Name: "postern-llm-1"}
		first, err := w.issuer.Create(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.issuer.Create(t.Context(), order)
		if err != nil || first.Key.ID != second.Key.ID || !first.Value.Equal(second.Value) || len(w.server.Keys.List()) != 1 {
			t.Errorf("%d keys, error %v", len(w.server.Keys.List()), err)
		}
	})
}

// answer answers every request in one way.
type answer string

func (a answer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, string(a))
}

func TestKeysOfOthersAreNotFoundWhateverTheServiceSays(t *testing.T) {
	t.Parallel()
	line := &rotationtest.Line{}
	issuer, err := webhook.New(webhook.Options{
		URL: "https://keys.example.com", Secret: (&shared{}).read, Traits: listed.traits,
		Transport: line.Transport(answer(`{"keys":[{"id":"a","name":"postern-x-1"},{"id":"b","name":"other"},{"name":"postern-x-2"}]}`)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := issuer.Find(t.Context(), "postern-x-"); err != nil || len(keys) != 1 || keys[0].ID != "a" {
		t.Errorf("found %v, error %v", keys, err)
	}
}

// recorder keeps the last request.
type recorder struct {
	header http.Header
	body   []byte
	path   string
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.header, r.path = request.Header.Clone(), request.URL.RequestURI()
	r.body, _ = io.ReadAll(request.Body)
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"keys":[],"key":{"id":"k","name":"postern-llm-7"},"value":"v"}`))}, nil
}

// TestARequestIsWhatTheContractSays is about the example in the package's comment.
func TestARequestIsWhatTheContractSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sent := &recorder{}
		issuer, err := webhook.New(webhook.Options{URL: "https://keys.example.com/keys", Secret: (&shared{}).read, Traits: listed.traits, Transport: sent})
		if err != nil {
			t.Fatal(err)
		}
		_, err = issuer.Create(t.Context(), rotation.Order{
			Credential: "llm", Cycle: "5bd4a7a5-6ed7-4ee0-a5d9-c29d0b0a2a3c", Number: 7, Name: "postern-llm-7", Current: "key_6",
			Expires: time.Now().Add(time.Hour), Content: secrets.NewValue(rotationtest.Canary),
		})
		if err != nil {
			t.Fatal(err)
		}
		want := `{"version":1,"action":"create","sent_at":"2000-01-01T00:00:00Z","credential":"llm","cycle":"5bd4a7a5-6ed7-4ee0-a5d9-c29d0b0a2a3c","number":7,` +
			`"name":"postern-llm-7","expires_at":"2000-01-01T01:00:00Z","current":"key_6"}`
		if string(sent.body) != want {
			t.Errorf("got  %s\nwant %s", sent.body, want)
		}
		if id := sent.header.Get("Webhook-Id"); id != "create-postern-llm-7" || sent.path != "/keys" {
			t.Errorf("the id is %q, the path %q", id, sent.path)
		}
		if err := verify(text(0), received{sent.header, sent.body, time.Now()}); err != nil {
			t.Error(err)
		}
		for name, spoil := range map[string]func(*received){
			"another body":     func(r *received) { r.body = bytes.Replace(r.body, []byte("7"), []byte("8"), 1) },
			"another id":       func(r *received) { r.header.Set("Webhook-Id", "x") },
			"another time":     func(r *received) { r.header.Set("Webhook-Timestamp", "946684801") },
			"a time ago":       func(r *received) { r.now = r.now.Add(5*time.Minute + time.Second) },
			"no signature":     func(r *received) { r.header.Del("Webhook-Signature") },
			"another's secret": func(r *received) { r.header.Set("Webhook-Signature", "v1,"+strings.Repeat("A", 43)+"=") },
		} {
			r := received{sent.header.Clone(), bytes.Clone(sent.body), time.Now()}
			spoil(&r)
			if verify(text(0), r) == nil {
				t.Errorf("%s is accepted", name)
			}
		}
	})
}

func TestASecretHasAForm(t *testing.T) {
	t.Parallel()
	random := bytes.Repeat([]byte{7}, 64)
	for _, test := range []struct {
		name, secret string
		good         bool
	}{
		{"24 bytes", "whsec_" + base64.StdEncoding.EncodeToString(random[:24]), true},
		{"64 bytes", "whsec_" + base64.StdEncoding.EncodeToString(random), true},
		{"23 bytes", "whsec_" + base64.StdEncoding.EncodeToString(random[:23]), false},
		{"65 bytes", "whsec_" + base64.StdEncoding.EncodeToString(append(random, 7)), false},
		{"no prefix", base64.StdEncoding.EncodeToString(random[:24]), false},
		{"no base64", "whsec_" + rotationtest.Canary, false},
		{"nothing", "", false},
	} {
		sent := &recorder{}
		issuer, err := webhook.New(webhook.Options{
			URL: "https://keys.example.com", Traits: listed.traits, Transport: sent,
			Secret: func(context.Context) (secrets.Value, error) { return secrets.NewValue(test.secret), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = issuer.Find(t.Context(), "")
		if (err == nil) != test.good || (sent.body != nil) != test.good {
			t.Errorf("%s: got %v", test.name, err)
		}
		if err != nil && !strings.Contains(errors.Unwrap(err).Error(), "openssl rand -base64 32") {
			t.Errorf("%s: the cause is %v", test.name, errors.Unwrap(err))
		}
	}
}

func TestAnIssuerIsWhatItsServiceDeclares(t *testing.T) {
	t.Parallel()
	for _, recovery := range []rotation.Recovery{rotation.Listed, rotation.Readable, rotation.Chosen} {
		for _, disables := range []bool{false, true} {
			issuer, err := webhook.New(webhook.Options{
				URL: "https://keys.example.com", Secret: (&shared{}).read, Traits: rotation.Traits{Overlap: rotation.Parallel, Recovery: recovery}, Disables: disables,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, recovers := issuer.(rotation.Recoverer)
			_, chooses := issuer.(rotation.Chooser)
			_, stops := issuer.(rotation.Disabler)
			_, verifies := issuer.(rotation.Verifier)
			if recovers != (recovery == rotation.Readable) || chooses != (recovery == rotation.Chosen) || stops != disables || !verifies {
				t.Errorf("%s, disables %v: recovers %v, chooses %v, disables %v, verifies %v", recovery, disables, recovers, chooses, stops, verifies)
			}
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		edit func(*webhook.Options)
		want string
	}{
		{"no address", func(o *webhook.Options) { o.URL = "" }, "webhook_url"},
		{"an address without TLS", func(o *webhook.Options) { o.URL = "http://keys.example.com" }, "https://"},
		{"no secret", func(o *webhook.Options) { o.Secret = nil }, "admin_ref"},
		{"no overlap", func(o *webhook.Options) { o.Traits.Overlap = "" }, "overlap"},
		{"people make the keys", func(o *webhook.Options) { o.Traits.Recovery = rotation.Assisted }, "recovery"},
		{"what is lost is lost", func(o *webhook.Options) { o.Traits.Overlap = rotation.InPlace }, "recovery has to be readable or chosen"},
		{"no room for a second key", func(o *webhook.Options) { o.Traits.MaxLive = 1 }, "max_live"},
	} {
		options := webhook.Options{URL: "https://keys.example.com", Secret: (&shared{}).read, Traits: listed.traits}
		test.edit(&options)
		if _, err := webhook.New(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

func TestAReplyThatIsNotWhatTheContractSaysIsNone(t *testing.T) {
	t.Parallel()
	create := func(i rotation.Issuer) error {
		_, err := i.Create(t.Context(), rotation.Order{Name: "postern-llm-1", Cycle: "c"})
		return err
	}
	choose := func(i rotation.Issuer) error {
		_, err := i.Create(t.Context(), rotation.Order{Name: "postern-llm-1", Cycle: "c", Chosen: secrets.NewValue("v")})
		return err
	}
	revoke := func(i rotation.Issuer) error { return i.Revoke(t.Context(), rotation.Key{ID: "a"}) }
	for _, test := range []struct {
		name, reply string
		call        func(rotation.Issuer) error
		good        bool
	}{
		{"a key", `{"keys":[],"key":{"id":"a","name":"postern-llm-1"},"value":"v"}`, create, true},
		{"a key of another name", `{"keys":[],"key":{"id":"a","name":"other"},"value":"v"}`, create, false},
		{"a key without a value", `{"keys":[],"key":{"id":"a","name":"postern-llm-1"}}`, create, false},
		{"a key without an id", `{"keys":[],"key":{"name":"postern-llm-1"},"value":"v"}`, create, false},
		{"a chosen key", `{"keys":[],"key":{"id":"a","name":"postern-llm-1"}}`, choose, true},
		{"a chosen key with a value", `{"keys":[],"key":{"id":"a","name":"postern-llm-1"},"value":"w"}`, choose, false},
		{"done", `{"done":true}`, revoke, true},
		{"not done", `{"done":false}`, revoke, false},
		{"nothing", `{}`, revoke, false},
	} {
		line := &rotationtest.Line{}
		issuer, err := webhook.New(webhook.Options{URL: "https://keys.example.com", Secret: (&shared{}).read, Traits: listed.traits, Transport: line.Transport(answer(test.reply))})
		if err != nil {
			t.Fatal(err)
		}
		if err := test.call(issuer); (err == nil) != test.good || !test.good && !errors.Is(err, rotation.ErrUnanswered) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
