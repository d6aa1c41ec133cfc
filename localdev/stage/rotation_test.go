package stage

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/audit"
)

// own starts a stage for a test that changes more than its stored key.
func own(t *testing.T, o Options) (*Stage, *lines) {
	t.Helper()
	var log lines
	o.Bin, o.Output = bin, &log
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if found := anyKey.FindString(log.String()); found != "" {
			t.Error("a stored key came out in a log")
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return s, &log
}

// outcomeOf is what a report says of the one key that it is about.
func outcomeOf(t *testing.T, text []byte) string {
	t.Helper()
	var r struct {
		Results []struct{ Credential, Outcome, Phase string }
	}
	if err := json.Unmarshal(text, &r); err != nil || len(r.Results) != 1 || anyKey.Match(text) {
		t.Fatalf("not the report of one key: %s, %v", text, err)
	}
	return r.Results[0].Outcome + " " + r.Results[0].Phase
}

// do has the rotation function of a cloud do something with its one key.
func (s *Stage) do(t *testing.T, cloud string, c Command) string {
	t.Helper()
	text, err := s.Rotate(t.Context(), cloud, c)
	if err != nil {
		t.Fatalf("%s: %+v: %v", cloud, c, err)
	}
	return outcomeOf(t, text)
}

// standing is where the rotation of a key stands.
type standing struct {
	Credential, Phase string
	Failures          int
	Unpublished       int
	Class             string `json:"error_class"`
	Current, Previous struct {
		ID string `json:"key_id"`
	}
}

func (s *Stage) standing(t *testing.T, cloud, credential string) standing {
	t.Helper()
	text, err := s.Rotate(t.Context(), cloud, Command{Verb: "status"})
	if err != nil {
		t.Fatal(err)
	}
	var all []standing
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(one standing) bool { return one.Credential == credential })
	if at < 0 {
		t.Fatalf("%s is not in %s", credential, text)
	}
	return all[at]
}

// signedBy makes a chat with the stored key and wants it signed by the key of an
// id.
func (s *Stage) signedBy(t *testing.T, cloud, id string) {
	t.Helper()
	count := func() (n int) {
		for _, c := range s.Calls() {
			if c.Signer == storedSigner+id {
				n++
			}
		}
		return n
	}
	before := count()
	bearer, err := s.Token(oidc.Token{})
	if err != nil {
		t.Fatal(err)
	}
	c := openai.NewClient(option.WithBaseURL(s.Gateways[cloud]+"/v1"), option.WithAPIKey(bearer), option.WithMaxRetries(0))
	if _, err := c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model: StoredModel, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("#say(hi)")},
	}); err != nil {
		t.Fatalf("%s: %v", cloud, err)
	}
	if id == "" || count() != before+1 {
		t.Errorf("%s: the call was not signed by the key %s: %v", cloud, id, s.Calls())
	}
}

// told are the events of a cloud about stored keys, which have to be whole chains
// of signed events.
func (s *Stage) told(t *testing.T, cloud string) []audit.Event {
	t.Helper()
	var events []audit.Event
	for _, e := range s.Events() {
		if strings.HasPrefix(e.Source, "/postern/"+cloud+"/") && strings.HasPrefix(string(e.Type), "AI_PROVIDER_TOKEN_") && strings.Contains(string(e.Data), `"kind":"key"`) {
			events = append(events, e)
			if !strings.Contains(string(e.Data), `"signature":{`) {
				t.Errorf("%s: an event is not signed: %s", cloud, e.Data)
			}
		}
	}
	report := audit.Verifier{Keys: s.services.auditKeys[cloud]}.Verify(func(yield func(audit.Recorded) bool) {
		for i, e := range events {
			if !yield(audit.Recorded{Line: i + 1, Event: e}) {
				return
			}
		}
	})
	if len(report.Findings) > 0 || report.Linked != len(events) {
		t.Errorf("%s: the chain of events: %v", cloud, report)
	}
	if text, err := EncodeEvents(events); err != nil || anyKey.Match(text) {
		t.Errorf("%s: a stored key is in an event: %v", cloud, err)
	}
	return events
}

// kinds are the types of the events, with what one of their members says.
func kinds(events []audit.Event, member string) []string {
	var all []string
	for _, e := range events {
		var data map[string]any
		_ = json.Unmarshal(e.Data, &data)
		all = append(all, strings.TrimSpace(fmt.Sprint(strings.TrimPrefix(string(e.Type), "AI_PROVIDER_TOKEN_"), " ", data[member])))
	}
	return all
}

// TestAStoredKeyIsRotated goes through the life of a key: the schedule leaves it
// alone, an operator has it replaced, its predecessor ends, and an emergency ends
// it itself.
func TestAStoredKeyIsRotated(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cloud string) {
		s, vendor := shared, shared.services.openAIKeys
		first := s.services.initial[cloud]
		s.signedBy(t, cloud, first)
		if got := s.do(t, cloud, Command{}); got != "not_due idle" {
			t.Errorf("the schedule: %s", got)
		}
		if got := s.do(t, cloud, Command{Verb: "force", Credential: StoredKey, Actor: "jane"}); got != "rotated grace" {
			t.Fatalf("forced: %s", got)
		}
		now := s.standing(t, cloud, StoredKey)
		if now.Previous.ID != first || now.Current.ID == first {
			t.Errorf("it stands at %+v", now)
		}
		if _, err := s.Rotate(t.Context(), cloud, Command{Verb: "force", Credential: StoredKey}); err == nil || !strings.Contains(err.Error(), "a rotation is under way") {
			t.Errorf("forced while the old key is still valid: %v", err)
		}
		// The gateway has the old key at hand, and finds out.
		if vendor.Keys.Remove(func(k keyring.Key) bool { return k.ID == first }) != 1 {
			t.Fatal("the first key is not there any more")
		}
		s.signedBy(t, cloud, now.Current.ID)
		if got := s.do(t, cloud, Command{Verb: "emergency", Credential: StoredKey, Actor: "jane"}); got != "rotated idle" {
			t.Fatalf("emergency: %s", got)
		}
		last := s.standing(t, cloud, StoredKey)
		if _, alive := vendor.Keys.Get(now.Current.ID); alive || last.Previous.ID != "" {
			t.Errorf("the key of the emergency is still there: %+v", last)
		}
		s.signedBy(t, cloud, last.Current.ID)
		got := kinds(s.told(t, cloud), "reason")
		if want := []string{"ROTATED manual", "REVOKED manual", "ROTATED compromise", "REVOKED compromise"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// TestTheControlPageRotates asks by HTTP, as the README does.
func TestTheControlPageRotates(t *testing.T) {
	t.Parallel()
	get := func(path string, q url.Values) (int, string) {
		resp, err := http.Get(shared.Control + path + "?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	for _, cloud := range Clouds() {
		status, text := get("/rotate", url.Values{"cloud": {cloud}, "verb": {"status"}})
		if status != http.StatusOK || !strings.Contains(text, `"credential":"openai"`) {
			t.Errorf("%s: %d %s", cloud, status, text)
		}
		status, text = get("/rotate", url.Values{"cloud": {cloud}, "verb": {"explode"}, "credential": {canary}})
		if status != http.StatusBadGateway || !strings.Contains(text, "there is no such verb") || strings.Contains(text, canary) {
			t.Errorf("%s: %d %s", cloud, status, text)
		}
	}
	for query, why := range map[string]string{
		"cloud=moon": "aws, gcp, azure", "": "aws, gcp, azure", "cloud=aws&disable_first=" + canary: "true or false", "cloud=aws&" + canary + "=1": "parameters",
	} {
		q, _ := url.ParseQuery(query)
		if status, text := get("/rotate", q); status != http.StatusBadRequest || !strings.Contains(text, why) || strings.Contains(text, canary) {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	status, text := get("/events", nil)
	var events []struct{ Specversion string }
	if err := json.Unmarshal([]byte(text), &events); status != http.StatusOK || err != nil || slices.ContainsFunc(events, func(e struct{ Specversion string }) bool { return e.Specversion != "1.0" }) {
		t.Errorf("%d %s: %v", status, text, err)
	}
}

// TestStoresHaveTheirKeysRotated: a notice of the store begins a rotation, and the
// same notice does not begin another one.
func TestStoresHaveTheirKeysRotated(t *testing.T) {
	t.Parallel()
	s, log := own(t, Options{})
	push := func(kind, secret string) string {
		return fmt.Sprintf(`{"message":{"attributes":{"eventType":%q,"secretId":"projects/123456789/secrets/%s","timestamp":"2027-01-02T03:04:05Z"},`+
			`"data":"e30=","messageId":"1","publishTime":"2027-01-02T03:04:05Z"},"subscription":"projects/local-project/subscriptions/rotate"}`, kind, secret)
	}
	near := func(kind, secret string) string {
		return fmt.Sprintf(`{"id":"1","source":"/subscriptions/x","type":"Microsoft.KeyVault.%s","specversion":"1.0","time":"2027-01-02T03:04:05Z",`+
			`"subject":%q,"data":{"Id":"https://v.vault.azure.net/secrets/s","VaultName":"v","ObjectType":"Secret","ObjectName":%q,"Version":"1"}}`, kind, secret, secret)
	}
	for _, c := range []struct {
		cloud, reason                      string
		right, unknown, another, senseless string
	}{
		{GCP, "scheduled", push("SECRET_ROTATE", storedSecret), push("SECRET_ROTATE", "stranger"), push("SECRET_UPDATE", storedSecret), `{"subscription":"s","message":"` + canary + `"}`},
		{Azure, "pre_expiry", near("SecretNearExpiry", storedSecret), near("SecretNearExpiry", "stranger"), near("SecretNewVersionCreated", storedSecret), `"` + canary + `"`},
	} {
		r, err := s.Rotation(c.cloud)
		if err != nil {
			t.Fatal(err)
		}
		for _, taken := range []string{c.unknown, c.another} {
			if text, err := r.Notice(t.Context(), []byte(taken)); err != nil || !strings.Contains(string(text), `"taken"`) {
				t.Errorf("%s: %s: %s, %v", c.cloud, taken, text, err)
			}
		}
		if text, err := r.Notice(t.Context(), []byte(c.senseless)); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: what makes no sense: %s, %v", c.cloud, text, err)
		}
		if now := s.standing(t, c.cloud, StoredKey); now.Phase != "idle" {
			t.Errorf("%s: it stands at %+v", c.cloud, now)
		}
		text, err := r.Notice(t.Context(), []byte(c.right))
		if err != nil {
			t.Fatalf("%s: %v", c.cloud, err)
		}
		if got := outcomeOf(t, text); got != "rotated grace" {
			t.Errorf("%s: %s", c.cloud, got)
		}
		now := s.standing(t, c.cloud, StoredKey)
		if _, err := r.Notice(t.Context(), []byte(c.right)); err != nil || s.standing(t, c.cloud, StoredKey) != now {
			t.Errorf("%s: the same notice again: %v", c.cloud, err)
		}
		s.signedBy(t, c.cloud, now.Current.ID)
		if got := kinds(s.told(t, c.cloud), "reason"); !slices.Equal(got, []string{"ROTATED " + c.reason}) {
			t.Errorf("%s: told %q", c.cloud, got)
		}
	}
	if strings.Contains(log.String(), canary) {
		t.Error("what makes no sense is in the log")
	}
}

// TestSecretsManagerRotatesByItself has Secrets Manager call the function, step by
// step, as it does when somebody turns the rotation of a secret on.
func TestSecretsManagerRotatesByItself(t *testing.T) {
	t.Parallel()
	s, log := own(t, Options{})
	client, store := s.operator().secretsManager(), s.services.stores.aws
	rotate := func(now bool) (string, error) {
		reply, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: aws.String(storedSecret), RotateImmediately: &now,
			RotationLambdaARN: aws.String("arn:aws:lambda:" + Region + ":123456789012:function:rotate-aws"),
			RotationRules:     &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
		})
		store.Wait()
		return aws.ToString(reply.VersionId), err
	}
	current := func() (id string, staged bool) {
		described, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(storedSecret)})
		if err != nil {
			t.Fatal(err)
		}
		for version, labels := range described.VersionIdsToStages {
			if slices.Contains(labels, "AWSCURRENT") {
				id = version
			}
			staged = staged || slices.Contains(labels, "AWSPENDING") && !slices.Contains(labels, "AWSCURRENT")
		}
		return id, staged
	}
	first, _ := current()
	if _, err := rotate(false); err != nil {
		t.Fatal(err)
	}
	if now, staged := current(); now != first || staged || len(s.told(t, AWS)) != 0 || !strings.Contains(log.String(), "nothing is rotated yet") {
		t.Errorf("turned on, it is rotated: %s was %s", now, first)
	}
	version, err := rotate(true)
	if err != nil {
		t.Fatal(err)
	}
	if now, staged := current(); now != version || staged {
		t.Errorf("the current version is %s, not %s", now, version)
	}
	now := s.standing(t, AWS, StoredKey)
	if now.Phase != "grace" || now.Previous.ID != s.services.initial[AWS] {
		t.Errorf("it stands at %+v", now)
	}
	s.signedBy(t, AWS, now.Current.ID)
	if got := kinds(s.told(t, AWS), "reason"); !slices.Equal(got, []string{"ROTATED scheduled"}) {
		t.Errorf("told %q", got)
	}
	// The grace of the last rotation is not over, and Secrets Manager tries again later.
	if _, err := rotate(true); err != nil {
		t.Fatal(err)
	}
	if again, _ := current(); again != version || s.standing(t, AWS, StoredKey).Current != now.Current {
		t.Errorf("within the grace it was rotated again, to %s", again)
	}
}

// TestARotationWaitsForItsBus: a key takes the place of another one only together
// with its event, which is told when the bus is there again. Until then the old
// key does not end, and requests are served.
func TestARotationWaitsForItsBus(t *testing.T) {
	t.Parallel()
	s, _ := own(t, Options{})
	buses := map[string]*faultplan.Plan{
		AWS: &s.services.stores.eventBridge.Faults, GCP: &s.services.stores.pubSub.Faults, Azure: &s.services.stores.eventGrid.Faults,
	}
	for _, cloud := range Clouds() {
		bus := buses[cloud].Before("")
		bus.Set(fault.Fault{Status: http.StatusForbidden})
		text, err := s.Rotate(t.Context(), cloud, Command{Verb: "force", Credential: StoredKey})
		if err == nil || anyKey.MatchString(err.Error()) || bus.Calls() == 0 {
			t.Errorf("%s: without a bus: %s, %v", cloud, text, err)
		}
		now := s.standing(t, cloud, StoredKey)
		if now.Phase != "grace" || now.Unpublished != 1 || len(s.told(t, cloud)) != 0 {
			t.Errorf("%s: it stands at %+v", cloud, now)
		}
		s.signedBy(t, cloud, now.Current.ID)
		bus.Clear()
		if got := s.do(t, cloud, Command{}); got != "pending grace" {
			t.Errorf("%s: with the bus again: %s", cloud, got)
		}
		if got := kinds(s.told(t, cloud), "reason"); !slices.Equal(got, []string{"ROTATED manual"}) || s.standing(t, cloud, StoredKey).Unpublished != 0 {
			t.Errorf("%s: told %q", cloud, got)
		}
	}
}

// TestOperatorsPauseAndGoBack has a rotation wait, go on, and be undone.
func TestOperatorsPauseAndGoBack(t *testing.T) {
	t.Parallel()
	s, _ := own(t, Options{})
	for _, cloud := range Clouds() {
		for _, step := range []struct{ verb, want string }{
			{"pause", "pending idle"}, {"rotate", "pending idle"}, {"force", ""}, {"resume", "not_due idle"}, {"force", "rotated grace"},
			{"rollback", "rotated grace"}, {"rotate", "pending grace"},
		} {
			if step.want == "" {
				if text, err := s.Rotate(t.Context(), cloud, Command{Verb: step.verb, Credential: StoredKey}); err == nil || !strings.Contains(err.Error(), "resume it first") {
					t.Errorf("%s: %s: %s, %v", cloud, step.verb, text, err)
				}
				continue
			}
			if got := s.do(t, cloud, Command{Verb: step.verb, Credential: StoredKey}); got != step.want {
				t.Fatalf("%s: %s: %s", cloud, step.verb, got)
			}
		}
		if now := s.standing(t, cloud, StoredKey); now.Current.ID != s.services.initial[cloud] || now.Previous.ID == "" {
			t.Errorf("%s: it stands at %+v", cloud, now)
		}
		s.signedBy(t, cloud, s.services.initial[cloud])
		if got := kinds(s.told(t, cloud), "reason"); !slices.Equal(got, []string{"ROTATED manual", "ROTATED rollback"}) {
			t.Errorf("%s: told %q", cloud, got)
		}
	}
}
