package stage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

// troubled are keys with which something is wrong, by the names of their
// upstreams. The secret of each has "-key" behind that.
var troubled = []string{"missing", "withheld", "occupied", "disabled"}

// withTroubles adds them to a document.
func withTroubles(_, document string) string {
	_, rest, _ := strings.Cut(document, "name: "+StoredKey+"\n    base_url: ")
	base, _, _ := strings.Cut(rest, "\n")
	upstreams, keys := "upstreams:\n", ""
	for _, name := range troubled {
		upstreams += fmt.Sprintf("  - {provider: openai, name: %s, base_url: %s, auth_type: api_key, credential_ref: %s-key, models: [%s]}\n", name, base, name, name)
		keys += fmt.Sprintf("    - {upstream: %s, project_id: %s, admin_ref: %s, grace: 1m}\n", name, openAIProject, adminSecret)
	}
	return strings.Replace(document, "upstreams:\n", upstreams, 1) + keys
}

// TestARefusedRotationChangesNothing asks for what cannot be done. The error says
// why, the store and the vendor have what they had, and the key that nothing is
// wrong with is rotated all the same.
func TestARefusedRotationChangesNothing(t *testing.T) {
	t.Parallel()
	s, log := own(t, Options{Document: withTroubles, Withheld: []string{"withheld-key"}})
	for _, cloud := range Clouds() {
		for _, name := range troubled[1:] {
			s.services.stores.seed(cloud, name+"-key", s.services.openAIKeys.AddKey(name+"-"+cloud).Secret)
		}
		t.Run(cloud, func(t *testing.T) { s.refuses(t, cloud) })
	}
	if text := log.String(); strings.Contains(text, canary) {
		t.Error("what was sent is in the log")
	}
}

// refuses wants a cloud's function to refuse all that makes no sense, and to fail
// at each key that something is wrong with.
func (s *Stage) refuses(t *testing.T, cloud string) {
	r, err := s.Rotation(cloud)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Tick(t.Context()); err == nil {
		t.Error("the schedule's run does not say that keys cannot be rotated")
	}
	store := s.operator().store(t, cloud)
	s.trouble(t, cloud, store)
	picture := func() string {
		text := fmt.Sprintln(len(s.services.openAIKeys.Keys.List()), len(s.services.openAIKeys.AdminKeys.List()), len(s.services.openAIKeys.Accounts()))
		for _, name := range append(slices.Clone(troubled), StoredKey) {
			inventory, err := store.Inspect(t.Context(), secrets.Ref{Name: name + "-key"})
			text += fmt.Sprintln(name, inventory, err)
		}
		return text
	}
	before := picture()
	for _, c := range refusals(cloud) {
		text, err := r.Operate(t.Context(), []byte(c.sent))
		refused, ok := errors.AsType[*RefusedError](err)
		if !ok || !strings.Contains(refused.Text, c.why) || strings.Contains(refused.Text, canary) || anyKey.MatchString(refused.Text) {
			t.Errorf("%s: got %s, %v; want the words %q", c.sent, text, err, c.why)
		}
	}
	if after := picture(); after != before {
		t.Errorf("something has changed: before\n%sand after\n%s", before, after)
	}
	for _, name := range troubled {
		if now := s.standing(t, cloud, name); now.Phase != "idle" || now.Failures == 0 {
			t.Errorf("%s stands at %+v", name, now)
		}
	}
	if got := s.do(t, cloud, Command{Verb: "force", Credential: StoredKey}); got != "rotated grace" {
		t.Errorf("the key that nothing is wrong with: %s", got)
	}
	s.told(t, cloud)
}

// trouble has a stranger stage a version of one secret, and disables another one.
func (s *Stage) trouble(t *testing.T, cloud string, store secrets.Store) {
	t.Helper()
	stranger := secrets.Candidate{Cycle: "5b1e0000-0000-4000-8000-000000000000", Value: secrets.NewValue("of a stranger")}
	if _, err := store.Stage(t.Context(), secrets.Ref{Name: "occupied-key"}, stranger); err != nil {
		t.Fatal(err)
	}
	inventory, err := store.Inspect(t.Context(), secrets.Ref{Name: "disabled-key"})
	if err != nil {
		t.Fatal(err)
	}
	s.operator().disable(t, cloud, "disabled-key", inventory.Current.ID)
}

// refusal is what is sent, and what the answer says.
type refusal struct{ sent, why string }

func refusals(cloud string) []refusal {
	force := func(name string) string { return fmt.Sprintf(`{"postern":"force","credential":%q}`, name) }
	disabled := "has no current version any more"
	if cloud == AWS {
		disabled = "it is scheduled for deletion"
	}
	withheld := map[string]string{AWS: "secretsmanager:", GCP: "roles/secretmanager.", Azure: "Key Vault Secrets Officer"}[cloud]
	all := []refusal{
		{`[]`, "not a JSON object"},
		{`{"postern":"force","credential":"openai","secret":"` + canary + `"}`, "it is not a JSON object of postern"},
		{`{"postern":"` + canary + `"}`, "there is no such verb"},
		{`{"postern":"force"}`, "the credential is missing"},
		{`{"postern":"rotate","actor":"` + canary + `"}`, "an actor has no effect"},
		{`{"postern":"force","credential":"openai","disable_first":true}`, "disable_first has an effect with emergency alone"},
		{`{"postern":"force","credential":"openai","actor":"` + strings.Repeat("a", 5000) + `"}`, "it is longer than"},
		{force("nobody"), "no such credential"},
		{`{"postern":"rollback","credential":"openai"}`, "not possible now"},
		{force("missing"), "missing-key"},
		{force("withheld"), withheld},
		{force("occupied"), "somebody else has staged"},
		{force("disabled"), disabled},
	}
	if cloud == AWS {
		step := func(step, secret string) string {
			return fmt.Sprintf(`{"Step":%q,"SecretId":"arn:aws:secretsmanager:%s:123456789012:secret:%s-AbCdEf","ClientRequestToken":"5b1e0000-0000-4000-8000-000000000001"}`, step, Region, secret)
		}
		all = append(all,
			refusal{`"` + canary + `"`, "the event is not a JSON object"},
			refusal{`{"version":"0","detail-type":"Scheduled Event","detail":{}}`, "give its target the constant input"},
			refusal{`{"Step":"createSecret"}`, "lacks SecretId or ClientRequestToken"},
			refusal{step("createSecret", "stranger"), "no key under rotation in the document"},
			refusal{step("createSecret", storedSecret), "its rotation is turned off"},
		)
	}
	return all
}
