package rotatekit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
	"github.com/postern-ai/postern/shared/release"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// none is a store that nothing is asked of.
type none struct{ secrets.Store }

// rotator is one for a document on AWS, whose services nobody asks anything.
func rotator(document string) (*Rotator, error) {
	return logging(document, slog.DiscardHandler)
}

// logging is one that logs.
func logging(document string, log slog.Handler) (*Rotator, error) {
	env := map[string]string{"POSTERN_CONFIG": document, "AWS_REGION": "eu-west-1", "POSTERN_DEPLOYMENT": "test"}
	reader := secrets.Environment{}
	return New(Kit{
		Cloud: config.AWS, Getenv: func(name string) string { return env[name] }, Log: slog.New(log),
		Secrets: secrets.Stores{secrets.StoreAWS: reader, secrets.StoreOwn: reader}, Store: none{}, StoreName: secrets.StoreAWS,
		Propagation: time.Minute, Ledger: &ledger.Book{Store: &ledgertest.Memory{}}, Audit: audit.NewLines(nil),
	})
}

// every is a document with a key of each issuer.
const every = `
platform_callers: true
upstreams:
- {provider: openai, auth_type: api_key, credential_ref: openai-key}
- {provider: azure-openai, auth_type: api_key, azure_instance: res, credential_ref: azure-key}
- {provider: bedrock, auth_type: aws_sigv4, aws_region: eu-west-1, credential_ref: iam-key}
- {provider: vertex, auth_type: oauth2, project_id: my-project, credential_ref: sa-key}
- {provider: anthropic, auth_type: api_key, credential_ref: anthropic-key}
- {provider: custom-openai, name: router, base_url: "https://openrouter.ai/api/v1", auth_type: api_key, credential_ref: router-key}
- {provider: custom-openai, name: mantle, base_url: "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1", auth_type: api_key, credential_ref: bedrock-key}
- {provider: custom-openai, name: gemini, base_url: "https://generativelanguage.googleapis.com/v1beta/openai", auth_type: api_key, credential_ref: gemini-key}
- {provider: custom-openai, name: llm, base_url: "https://llm.example.com/v1", auth_type: oidc, issuer: "https://idp.example.com", credential_ref: llm-client}
- {provider: azure-openai, name: app, azure_instance: res2, auth_type: azure_ad, credential_ref: app-secret}
rotation:
  keys:
  - {upstream: openai, grace: 24h, admin_ref: openai-admin-key, project_id: proj_abc}
  - {name: openai-admin, credential_ref: openai-admin-key, issuer: openai-admin, every: 168h}
  - {upstream: azure-openai, subscription_id: 11111111-2222-4333-8444-555555555555, resource_group: rg, account_name: res, azure_tenant_id: 11111111-2222-4333-8444-555555555556, azure_client_id: 11111111-2222-4333-8444-555555555557}
  - {upstream: bedrock, user_name: postern}
  - {upstream: vertex, service_account_email: postern@my-project.iam.gserviceaccount.com, gcp_workload_identity_provider: //iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/postern/providers/aws}
  - {upstream: anthropic}
  - {upstream: router, issuer: openrouter, admin_ref: router-admin, spend_limit: 50}
  - {upstream: mantle, issuer: bedrock-api-key, user_name: postern-bedrock, aws_region: eu-west-1}
  - {upstream: gemini, issuer: gcp-api-key, project_id: my-project, api_target: generativelanguage.googleapis.com, gcp_workload_identity_provider: //iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/postern/providers/aws}
  - {upstream: llm}
  - {upstream: app, application_object_id: 11111111-2222-4333-8444-555555555555, azure_tenant_id: 11111111-2222-4333-8444-555555555556, azure_client_id: 11111111-2222-4333-8444-555555555557}
  - {name: other, credential_ref: other-key, issuer: webhook, admin_ref: hook, webhook_url: "https://hook.example.com/keys", named: true}
`

func TestEveryIssuerOfTheDocumentIsLinked(t *testing.T) {
	t.Parallel()
	r, err := rotator(every)
	if err != nil {
		t.Fatal(err)
	}
	var made []config.Issuer
	for i, c := range r.job.Credentials {
		made = append(made, r.document.Rotation.Keys[i].Issuer)
		if c.Issuer == nil || c.Verifier == nil {
			t.Errorf("%s has no issuer or nothing that verifies its keys", c.Name)
		}
		if c.Grace < time.Minute || c.MaxGrace < c.Grace {
			t.Errorf("%s: the old key stays valid for %v, and at most for %v", c.Name, c.Grace, c.MaxGrace)
		}
	}
	for _, m := range config.Issuers() {
		if !slices.Contains(made, m.Issuer) {
			t.Errorf("the document has no key of the issuer %s", m.Issuer)
		}
	}
}

// TestTokensThatManageKeysAreSharedWithNobody has a server to share tokens on, whose key the gateway has too.
func TestTokensThatManageKeysAreSharedWithNobody(t *testing.T) {
	t.Parallel()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listen.Close() })
	var connections atomic.Int64
	go func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_ = conn.Close()
		}
	}()
	key := secrets.Environment{Lookup: func(string) (string, bool) { return strings.Repeat("0f", 32), true }}
	r, err := New(Kit{
		Cloud: config.AWS, Log: slog.New(slog.DiscardHandler), Store: none{}, StoreName: secrets.StoreAWS, Ledger: &ledger.Book{Store: &ledgertest.Memory{}},
		Audit: audit.NewLines(nil), Secrets: secrets.Stores{secrets.StoreEnv: key, secrets.StoreOwn: key},
		Getenv: func(name string) string {
			return map[string]string{"POSTERN_CONFIG": every + "cache: {redis: {url: 'redis://" + listen.Addr().String() + "', key_ref: env://KEY}}\n", "AWS_REGION": "eu-west-1"}[name]
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	manager, err := r.azure(&r.document.Rotation.Keys[2], "https://management.azure.com/.default")
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://management.azure.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.Authorize(request); err == nil {
		t.Error("there is a token although nobody can give one")
	}
	if n := connections.Load(); n > 0 {
		t.Errorf("the server has been asked %d times", n)
	}
}

func TestAStartAndEveryEventSayTheRelease(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r, err := logging(every, slog.NewTextHandler(&log, nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := `msg="the function has started" version=` + release.Version; strings.Count(log.String(), want) != 1 {
		t.Errorf("the log has %s, want one line with %s", log.String(), want)
	}
	for _, c := range r.job.Credentials {
		if of := c.About.Function; of.Version != release.Version || of.Commit != release.Commit {
			t.Errorf("%s: events are of %+v", c.Name, of)
		}
	}
}

func TestTheGraceCoversWhoeverMayHaveTheOldKey(t *testing.T) {
	t.Parallel()
	r, err := rotator(every)
	if err != nil {
		t.Fatal(err)
	}
	given, computed := r.job.Credentials[0], r.job.Credentials[1]
	if given.Grace != 24*time.Hour {
		t.Errorf("got %v, want what the document says", given.Grace)
	}
	// What is kept in gateways, the longest request, the store and the issuer.
	least := 5*time.Minute + 5*time.Minute + time.Minute + computed.Issuer.Traits().Propagation
	if computed.Grace < least || computed.Grace > least+time.Hour {
		t.Errorf("got %v, want a little more than %v", computed.Grace, least)
	}
}

func TestAKeyThatIsRenewedMoreOftenThanItCanEndIsRefused(t *testing.T) {
	t.Parallel()
	_, err := rotator(`
platform_callers: true
upstreams:
- {provider: anthropic, auth_type: api_key, credential_ref: anthropic-key}
limits: {request_timeout: 24m}
rotation: {keys: [{upstream: anthropic, every: 1h}]}
`)
	if err == nil || !strings.Contains(err.Error(), `rotation of "anthropic": the old key has to stay valid for 36m`) {
		t.Errorf("got %v", err)
	}
}

func TestAKeyInAnotherCloudsStoreIsRefused(t *testing.T) {
	t.Parallel()
	_, err := rotator(`
platform_callers: true
upstreams:
- {provider: anthropic, auth_type: api_key, credential_ref: "gcp-sm://anthropic-key"}
rotation: {keys: [{upstream: anthropic}]}
`)
	if err == nil || !strings.Contains(err.Error(), `rotation of "anthropic": the key is in another cloud's store (gcp-sm://)`) {
		t.Errorf("got %v", err)
	}
}

func TestARotationWithoutItsPartsIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := New(Kit{}); err == nil {
		t.Error("a kit without a store is none")
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       Command
		refused    string
	}{
		{"a tick", `{"postern":"rotate"}`, Command{Verb: Rotate}, ""},
		{"one key", `{"postern":"rotate","credential":"openai"}`, Command{Verb: Rotate, Credential: "openai"}, ""},
		{"a forced rotation", `{"postern":"force","credential":"openai","actor":"jane"}`, Command{Verb: Force, Credential: "openai", Actor: "jane"}, ""},
		{"an emergency", `{"postern":"emergency","credential":"openai","disable_first":true}`, Command{Verb: Emergency, Credential: "openai", DisableFirst: true}, ""},
		{"no JSON", `rotate`, Command{}, "it is not a JSON object"},
		{"another member", `{"postern":"rotate","canary":1}`, Command{}, "it is not a JSON object of"},
		{"no verb", `{}`, Command{}, "there is no such verb"},
		{"another verb", `{"postern":"canary"}`, Command{}, "there is no such verb"},
		{"a change of nothing", `{"postern":"pause"}`, Command{}, "the credential is missing"},
		{"an actor of a tick", `{"postern":"rotate","actor":"jane"}`, Command{}, "an actor has no effect"},
		{"disable_first elsewhere", `{"postern":"force","credential":"a","disable_first":true}`, Command{}, "disable_first has an effect with emergency alone"},
		{"too long", `{"postern":"rotate","credential":"` + strings.Repeat("a", 5000) + `"}`, Command{}, "longer than 4096 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseCommand([]byte(test.text))
			switch {
			case test.refused == "" && (err != nil || got != test.want):
				t.Errorf("got %+v and %v", got, err)
			case test.refused != "" && (!errors.Is(err, ErrCommand) || !strings.Contains(err.Error(), test.refused)):
				t.Errorf("got %v, want it refused because %s", err, test.refused)
			case err != nil && strings.Contains(err.Error(), "canary"):
				t.Errorf("the error quotes the command: %v", err)
			}
		})
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte(`{"postern":"rotate"}`))
	f.Add([]byte(`{"postern":"emergency","credential":"openai","actor":"jane","disable_first":true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCommand(text)
		if err == nil && !slices.Contains(Verbs(), c.Verb) {
			t.Errorf("%q is no verb", c.Verb)
		}
	})
}

func TestVerbsAboutKeysThatThereAreNotAreRefused(t *testing.T) {
	t.Parallel()
	r, err := rotator(every)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []Verb{Rotate, Force, Pause, Resume, Rollback, Emergency} {
		if _, err := r.Do(t.Context(), Command{Verb: verb, Credential: "nobody"}); !errors.Is(err, rotation.ErrUnknown) {
			t.Errorf("%s: got %v", verb, err)
		}
	}
	status, err := r.Do(t.Context(), Command{Verb: Status})
	if all, ok := status.([]rotation.Status); err != nil || !ok || len(all) != len(r.job.Credentials) {
		t.Errorf("got %v and %v", status, err)
	}
}

// dated is a server that says what time it is.
type dated struct{ date string }

func (d dated) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Date": {d.date}}, Body: http.NoBody}, nil
}

func TestTheClockIsComparedWithTheServers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name string
			date string
			want time.Duration
		}{
			{"the same time", time.Now().UTC().Format(http.TimeFormat), 0},
			{"a function that is behind", time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat), -10 * time.Minute},
			{"a function that is ahead", time.Now().Add(-10 * time.Minute).UTC().Format(http.TimeFormat), 10 * time.Minute},
			{"a reply without a date", "", 0},
		} {
			c := &clock{next: dated{test.date}}
			if _, err := c.RoundTrip(&http.Request{}); err != nil {
				t.Fatal(err)
			}
			if got := c.skew(); got != test.want {
				t.Errorf("%s: got %v, want %v", test.name, got, test.want)
			}
		}
	})
}

func TestAClockThatWasWrongOnceIsNotSoForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// The reply to a function that was frozen before it read it.
		c := &clock{next: dated{time.Now().Add(-10 * time.Minute).UTC().Format(http.TimeFormat)}}
		if _, err := c.RoundTrip(&http.Request{}); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct{ after, want time.Duration }{{5 * time.Minute, 10 * time.Minute}, {10 * time.Minute, 0}} {
			time.Sleep(test.after)
			if got := c.skew(); got != test.want {
				t.Errorf("%v later: got %v, want %v", test.after, got, test.want)
			}
		}
	})
}

func TestAnEventIsActedUponOnce(t *testing.T) {
	t.Parallel()
	r, err := rotator(every)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	done := 0
	do := func(err error) error {
		return r.Once(t.Context(), "an event", func(context.Context) error { done++; return err })
	}
	if err := do(failed); !errors.Is(err, failed) {
		t.Errorf("got %v, want the failure", err)
	}
	for range 2 {
		if err := do(nil); err != nil {
			t.Error(err)
		}
	}
	if done != 2 {
		t.Errorf("it was done %d times, want once after the failure", done)
	}
}

func TestAnEventWhoseRunHasDiedIsActedUponWhenItComesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := rotator(every)
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		deliver := func() error {
			return r.Once(t.Context(), "an event", func(context.Context) error { done++; return nil })
		}
		func() {
			defer func() { _ = recover() }()
			_ = r.Once(t.Context(), "an event", func(context.Context) error { panic("the function dies") })
		}()
		if err := deliver(); !errors.Is(err, ledger.ErrHeld) || done != 0 {
			t.Errorf("got %v, so that the bus forgets the event", err)
		}
		time.Sleep(15 * time.Minute)
		if err := deliver(); err != nil || done != 1 {
			t.Errorf("it was done %d times: %v", done, err)
		}
	})
}

// kept are the events that a bus has accepted, unless it refuses them.
type kept struct {
	events  []audit.Event
	refuses bool
}

func (k *kept) Publish(_ context.Context, events ...audit.Event) error {
	if k.refuses {
		return errors.New("the bus is out of order")
	}
	k.events = append(k.events, events...)
	return nil
}

func TestAnotherDocumentIsToldOnceAndNeverLost(t *testing.T) {
	t.Parallel()
	r, err := rotator(every)
	if err != nil {
		t.Fatal(err)
	}
	bus := &kept{}
	r.kit.Audit = bus
	follow := func(want int) {
		t.Helper()
		if err := r.follow(t.Context()); (err != nil) != bus.refuses {
			t.Errorf("got %v", err)
		}
		if len(bus.events) != want {
			t.Errorf("%d events, want %d", len(bus.events), want)
		}
	}
	follow(1)
	follow(1)
	r.job.PolicyHash, bus.refuses = strings.Repeat("0", 64), true
	follow(1)
	bus.refuses = false
	follow(2)
	follow(2)
}

func TestThatAnotherDocumentIsInUseIsSignedOnce(t *testing.T) {
	t.Parallel()
	r, err := rotator(every)
	if err != nil {
		t.Fatal(err)
	}
	bus := &kept{refuses: true}
	signatures, away := 0, true
	r.kit.Audit = bus
	r.kit.Sign = func(context.Context, []byte) (audit.Signature, error) {
		if away {
			return audit.Signature{}, errors.New("the key is out of reach")
		}
		signatures++
		return audit.Signature{KeyID: "key", Algorithm: audit.ES256, Value: strings.Repeat("A", signatures)}, nil
	}
	follow := func(want string) {
		t.Helper()
		if err := r.follow(t.Context()); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	follow("cannot be signed")
	away = false
	follow("the bus has not accepted")
	follow("the bus has not accepted")
	bus.refuses = false
	follow("")
	follow("")
	if len(bus.events) != 1 || signatures != 1 || !strings.Contains(string(bus.events[0].Data), `"value":"A"`) {
		t.Errorf("%d signatures, published %v", signatures, bus.events)
	}
}

// hanging is a store that answers when the caller gives up.
type hanging struct {
	secrets.Store
	// lease is how long the lease on the one key holds meanwhile.
	lease func() time.Duration
	held  time.Duration
}

func (h *hanging) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	h.held = h.lease()
	<-ctx.Done()
	return secrets.Inventory{}, &secrets.Error{Ref: ref, Op: "inspect", Reason: "timed out", Err: ctx.Err()}
}

func TestARunEndsBeforeThePlatformEndsTheFunction(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// given is how long the platform lets the function run. Zero means that its context does not say.
		given, lease time.Duration
	}{
		{"a deadline of the platform's", time.Minute, time.Minute + 20*time.Second},
		{"no deadline", 0, 4 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, err := rotator(every)
				if err != nil {
					t.Fatal(err)
				}
				store := &hanging{lease: func() time.Duration {
					record, err := r.kit.Ledger.Load(t.Context(), "rotation/anthropic/lease")
					var lease struct {
						Until time.Time `json:"until"`
					}
					if err != nil || json.Unmarshal(record.Data, &lease) != nil {
						t.Errorf("the lease: %v", err)
					}
					return time.Until(lease.Until)
				}}
				r.job.Store, r.job.Audit = store, &kept{}
				ctx := t.Context()
				begin := time.Now()
				if test.given > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.given)
					defer cancel()
				}
				if _, err := r.Do(ctx, Command{Verb: Rotate, Credential: "anthropic"}); err == nil {
					t.Error("a store that hangs is no failure")
				}
				if test.given > 0 && time.Since(begin) >= test.given {
					t.Errorf("the run ends after %v, when the function has been ended", time.Since(begin))
				}
				if store.held != test.lease {
					t.Errorf("the lease is held for %v, want %v", store.held, test.lease)
				}
				status, err := r.job.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range status {
					if s.Credential == "anthropic" && s.Failures != 1 {
						t.Errorf("%d failures are noted, want one", s.Failures)
					}
				}
			})
		})
	}
}
