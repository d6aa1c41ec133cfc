package rotation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

// full is a record in which everything is set.
func full(t testing.TB) *record {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key := held{"key-1", "postern-a", "v1", "0123456789abcdef", at, at, true, true, true}
	about := audit.Credential{Name: "chat", Function: audit.Origin{Cloud: "aws", Name: "rotate"}, Cycle: audit.Cycle{ID: uuid(), Number: 1}, Reason: audit.ReasonScheduled}
	event, err := audit.OperatorDue{Credential: about, Task: "look", Due: at}.Event(at)
	if err != nil {
		t.Fatal(err)
	}
	event, head, err := audit.Link(event, audit.Head{})
	if err != nil {
		t.Fatal(err)
	}
	return &record{
		Format: recordFormat, Owner: "abcdefgh", Deployment: "prod", Begun: at, Phase: Grace,
		Cycle: cycle{
			Number: 7, ID: uuid(), Reason: audit.ReasonManual, Actor: "ada", Asked: true, Started: at, Attempt: 2, Name: "postern-b", Stage: uuid(), Ordered: at,
			Unsent: true, Fixed: true, Verifying: at, Tries: 3, Took: 4, Verified: at, Failed: 5, Aborted: true, Emergency: true, DisableFirst: true,
		},
		Current: key, Previous: key, Pending: key, From: "v0", Displaced: "v9", Promoted: at, RevokeAfter: at, Suspects: []window{{at, at}},
		Failures: failures{1, at, at, audit.StepCreate, audit.FailureLimit, 2}, Paused: true, Orphaned: true,
		Forced: forced{audit.ReasonCompromise, "eve", true}, Reminded: at, Chain: head, Outbox: []audit.Event{event},
	}
}

// book is a ledger that holds one record.
func book(t testing.TB, c *Credential, data []byte) (*Job, error) {
	t.Helper()
	job := &Job{Ledger: &ledger.Book{Store: &ledgertest.Memory{}}, Deployment: "prod"}
	_, err := job.Ledger.Save(context.Background(), recordKey(c.Name), ledger.Record{Data: data})
	return job, err
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	c := &Credential{Name: "chat"}
	job, err := book(t, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := job.Ledger.Load(t.Context(), recordKey(c.Name))
	if err != nil {
		t.Fatal(err)
	}
	was := full(t)
	if saved, err = job.save(t.Context(), c, was, saved); err != nil {
		t.Fatal(err)
	}
	again, found, err := job.load(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = job.save(t.Context(), c, again, found); err != nil {
		t.Fatal(err)
	}
	after, err := job.Ledger.Load(t.Context(), recordKey(c.Name))
	if err != nil || string(after.Data) != string(saved.Data) {
		t.Errorf("error %v, got\n%s\nwant\n%s", err, after.Data, saved.Data)
	}
}

func TestTheRecordOfAnotherDeploymentIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, of, by string
		says         string
	}{
		{"its own", "prod", "prod", ""},
		{"one that does not say", "", "prod", ""},
		{"another's", "prod", "dev", `it is of the deployment "prod", and this one is "dev": give each deployment a ledger of its own`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &Credential{Name: "chat"}
			was := full(t)
			was.Deployment = test.of
			data, err := json.Marshal(was)
			if err != nil {
				t.Fatal(err)
			}
			job, err := book(t, c, data)
			if err != nil {
				t.Fatal(err)
			}
			job.Deployment = test.by
			r, _, err := job.load(t.Context(), c)
			switch {
			case test.says == "" && (err != nil || r.Deployment != test.by):
				t.Errorf("got %+v and error %v", r, err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestTheRecordOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, `{}`, `null`, `[]`, `{"format":2}`, `{"format":1,"owner":"a","phase":"idle","news":true}`, `{"format":1,"owner":"","phase":"idle"}`,
		`{"format":1,"owner":"a","phase":"idle","cycle":{"attempt":-1}}`, `{"format":1,"owner":"a","phase":"idle","cycle":{"attempt":1000000000}}`,
		`{"format":1,"owner":"a","phase":"idle","phase":"idle"}`,
	} {
		c := &Credential{Name: "chat"}
		job, err := book(t, c, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		job.Credentials = []Credential{*c}
		if _, err := job.Status(t.Context()); err == nil || !strings.Contains(err.Error(), `"rotation/chat": it was written by another version of this function`) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestAPhaseThatIsNotKnownIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pass{c: &Credential{}, r: &record{Phase: "dancing"}}
		if _, err := p.step(t.Context()); err == nil || !strings.Contains(err.Error(), `the phase "dancing", which this version does not know`) {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	whole, err := book(f, &Credential{Name: "chat"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	empty, err := whole.Ledger.Load(f.Context(), recordKey("chat"))
	if err != nil {
		f.Fatal(err)
	}
	saved, err := whole.save(f.Context(), &Credential{Name: "chat"}, full(f), empty)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Data)
	f.Add([]byte(`{"format":1,"owner":"a","begun":"2026-01-02T03:04:05Z","phase":"idle","cycle":{}}`))
	f.Add([]byte(`{"format":1,"owner":"a","begun":"2026-01-02T03:04:05.5+02:00","phase":"idle","cycle":{"number":9007199254740993},"suspects":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Credential{Name: "chat"}
		job, err := book(t, c, data)
		if err != nil {
			return
		}
		r, found, err := job.load(t.Context(), c)
		if err != nil {
			return
		}
		first, err := job.save(t.Context(), c, r, found)
		if told, ok := errors.AsType[*ledger.Error](err); ok && strings.Contains(told.Reason, "are kept") {
			return // what was written with more room than this function takes
		}
		if err != nil {
			t.Fatalf("what was loaded cannot be saved: %v", err)
		}
		again, found, err := job.load(t.Context(), c)
		if err != nil {
			t.Fatalf("what was saved cannot be loaded: %v", err)
		}
		second, err := job.save(t.Context(), c, again, found)
		if err != nil || string(first.Data) != string(second.Data) {
			t.Errorf("error %v, saved first\n%s\nthen\n%s", err, first.Data, second.Data)
		}
		_, _ = again.staged("x"), (&pass{c: c, r: again, job: job}).about()
	})
}
