package rotation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestWhatIsWrongWithAJobIsNamed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		kind  string
		spoil func(*rotation.Job, *rotation.Credential)
		says  string
	}{
		{"no ledger", shownOnce, func(j *rotation.Job, _ *rotation.Credential) { j.Ledger = nil }, "Ledger is missing"},
		{"no store", shownOnce, func(j *rotation.Job, _ *rotation.Credential) { j.Store = nil }, "Store is missing"},
		{"no bus", shownOnce, func(j *rotation.Job, _ *rotation.Credential) { j.Audit = nil }, "Audit is missing"},
		{"no name", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Name = "" }, "Name is missing"},
		{"no place", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Ref = secrets.Ref{} }, "Ref is missing"},
		{"a version", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Ref.Version = "3" }, "Ref has a version"},
		{"no issuer", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Issuer = nil }, "Issuer is missing"},
		{"no verifier", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Verifier = nil }, "Verifier is missing"},
		{"never", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Every = 0 }, "Every is not positive"},
		{"a negative grace", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Grace = -time.Second }, "Grace is negative"},
		{"a longest grace that is the shorter", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.MaxGrace = c.Grace - 1 }, "MaxGrace is shorter than Grace"},
		{"negative successes", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.Successes = -1 }, "Successes is negative"},
		{"nobody to tell of", shownOnce, func(_ *rotation.Job, c *rotation.Credential) { c.About.Chain = audit.Place{Seq: 1} }, "no event can be made of About"},
		{"a choice that nobody makes", chosen, func(_ *rotation.Job, c *rotation.Credential) { c.Issuer = struct{ rotation.Issuer }{c.Issuer} }, "chooses none"},
		{"a key that nobody reads", readable, func(_ *rotation.Job, c *rotation.Credential) { c.Issuer = struct{ rotation.Issuer }{c.Issuer} }, "reads none"},
		{"a key in place that nobody reads", inPlace, func(_ *rotation.Job, c *rotation.Credential) { c.Issuer = struct{ rotation.Issuer }{c.Issuer} }, "nothing would be left"},
		{"one name twice", shownOnce, func(j *rotation.Job, c *rotation.Credential) {
			other := *c
			other.Ref.Name = "other"
			j.Credentials = append(j.Credentials, other)
		}, `two credentials have the name "openai"`},
		{"one secret twice", shownOnce, func(j *rotation.Job, c *rotation.Credential) {
			other := *c
			other.Name, other.Ref.Field = "another", "key"
			j.Credentials = append(j.Credentials, other)
		}, `"openai" and "another" are stored in one secret`},
		{"one secret twice, once by its store", shownOnce, func(j *rotation.Job, c *rotation.Credential) {
			other := *c
			other.Name, other.Ref.Store = "another", "aws-sm"
			j.Credentials = append(j.Credentials, other)
		}, `"openai" and "another" are stored in one secret`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			job := newWorld(kindOf(test.kind)).job()
			if err := job.Check(); err != nil {
				t.Fatalf("before: %v", err)
			}
			test.spoil(job, &job.Credentials[0])
			_, run := job.Run(t.Context())
			_, one := job.RunOne(t.Context(), credential)
			_, step := job.Advance(t.Context(), rotation.Native{Credential: credential})
			for name, err := range map[string]error{"check": job.Check(), "run": run, "run of one": one, "step": step} {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: got %v, want one that says %q", name, err, test.says)
				}
			}
		})
	}
}

func TestAllThatIsWrongIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	err := (&rotation.Job{Credentials: []rotation.Credential{{Name: "a", Grace: -1}}}).Check()
	for _, says := range []string{"Ledger", "Store", "Audit", "Ref", "Issuer", "Verifier", "Every", "Grace"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not name %s", err, says)
		}
	}
}
