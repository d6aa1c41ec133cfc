package rotation_test

import (
	"bytes"
	"context"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// The kinds of keys that most scenarios are about.
const (
	shownOnce = "named keys that are shown once"
	unnamed   = "two keys without names"
	twoSlots  = "two slots"
	inPlace   = "a key that is replaced in place"
	chosen    = "keys that are chosen here"
	readable  = "named keys that can be read again, in a store that copies"
)

func kindOf(name string) kind {
	for _, k := range kinds() {
		if k.name == name {
			return k
		}
	}
	panic("no kind is called " + name)
}

// play runs a scenario in a world of its own, and checks what must be so at the end of all of them.
func play(t *testing.T, k kind, scenario func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	scene(t, k, scenario)
}

// scene is play within a test that runs beside others already.
func scene(t *testing.T, k kind, scenario func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(k)
		scenario(t, w)
		for _, wrong := range append(slices.Clone(w.broken), w.told()...) {
			t.Error(wrong)
		}
		for _, e := range w.events {
			if err := schemas()[e.Schema].Validate(decoded(e)); err != nil {
				t.Errorf("%s: %v", e.Data, err)
			}
		}
		if t.Failed() {
			t.Log(w.last())
		}
	})
}

// schemas are those of the events, by their ids.
var schemas = sync.OnceValue(func() map[string]*jsonschema.Schema {
	compiler := jsonschema.NewCompiler()
	all := map[string]*jsonschema.Schema{}
	names, err := fs.Glob(events.Files(), "schema/*.json")
	for _, name := range names {
		text, _ := fs.ReadFile(events.Files(), name)
		var document any
		if document, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
			break
		}
		id := document.(map[string]any)["$id"].(string)
		if err = compiler.AddResource(id, document); err != nil {
			break
		}
		if all[id], err = compiler.Compile(id); err != nil {
			break
		}
	}
	if err != nil {
		panic(err)
	}
	return all
})

func decoded(e audit.Event) any {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Data))
	if err != nil {
		panic(err)
	}
	return value
}

// tick runs the rotation once, without an error.
func (w *world) tick(t *testing.T) rotation.Result {
	t.Helper()
	report, err := w.run(t.Context(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.last())
	}
	return report.Results[0]
}

// fails runs the rotation once, and wants an error that says something.
func (w *world) fails(t *testing.T, says string) error {
	t.Helper()
	report, err := w.run(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), says) || report.Results[0].Outcome != rotation.Failed {
		t.Fatalf("got error %v and %+v, want one that says %q\n%s", err, report.Results, says, w.last())
	}
	return err
}

// until runs the rotation at every tick until it stands where it should. Failures on the way are none of the scenario's.
func (w *world) until(t *testing.T, phase rotation.Phase) {
	t.Helper()
	for range 20 {
		_, _ = w.run(t.Context(), nil)
		if w.status(t.Context()).Phase == phase {
			return
		}
		time.Sleep(tick)
	}
	t.Fatalf("it is %+v, and not %s\n%s", w.status(t.Context()), phase, w.last())
}

// settled runs the rotation until there is nothing left to do.
func (w *world) settled(t *testing.T) {
	t.Helper()
	if _, err := w.rest(t.Context(), nil); err != nil {
		t.Fatalf("%v\n%s", err, w.last())
	}
}

// begin lets a rotation have come to the grace of its first cycle.
func (w *world) begin(t *testing.T) {
	t.Helper()
	w.due()
	w.until(t, rotation.Grace)
}

// job is the rotation in a new function in which nothing goes wrong.
func (w *world) job() *rotation.Job { return (&function{world: w}).job() }

// failing breaks all calls of some names.
func failing(calls ...string) func(string) fault {
	return func(call string) fault {
		if slices.Contains(calls, call) {
			return throttled
		}
		return none
	}
}

// refusing has the service reject every key.
func refusing(job *rotation.Job) {
	for i := range job.Credentials {
		job.Credentials[i].Verifier = rejecting{}
	}
}

type rejecting struct{}

func (rejecting) Verify(context.Context, secrets.Value) error {
	return &rotation.Error{Op: "verify", Reason: "the key is not accepted", Err: rotation.ErrRejected}
}

// request is one of an operator.
func request() rotation.Request {
	return rotation.Request{Credential: credential, Actor: "arn:aws:iam::1:user/ada"}
}

// key returns the key whose secret readers get.
func (w *world) key() *made { return w.bySecret(w.version(w.current).text) }

// people stores a key of their own as the current one.
func (w *world) people(text string) *version {
	v := &version{id: w.nextID(), text: text, created: time.Now()}
	w.versions = append(w.versions, v)
	w.current, w.previous = v.id, w.current
	return v
}

// pend stages a version as people do.
func (w *world) pend(text string) *version {
	v := &version{id: w.nextID(), cycle: "5e9a2c34-1111-4222-8333-444455556666", text: text, created: time.Now()}
	w.versions = append(w.versions, v)
	w.staged = v.id
	return v
}

// strange makes a key at the issuer as people do.
func (w *world) strange() *made {
	k := w.newKey("by-hand")
	k.foreign, k.ready = true, time.Time{}
	return k
}

// of returns the events of a type, in their order.
func (w *world) of(kind audit.Type) []audit.Event {
	return slices.DeleteFunc(w.distinct(), func(e audit.Event) bool { return e.Type != kind })
}

// types returns the types of all events, in their order and without what they have in common.
func (w *world) types() string {
	var types []string
	for _, e := range w.distinct() {
		types = append(types, strings.ToLower(strings.TrimPrefix(string(e.Type), "AI_PROVIDER_TOKEN_")))
	}
	return strings.Join(types, " ")
}

// facts are what most scenarios want to know of an event's data.
type facts struct {
	Cycle struct {
		ID string `json:"id"`
		No int    `json:"no"`
	} `json:"cycle"`
	Reason audit.Reason `json:"reason"`
	Actor  audit.Actor  `json:"actor"`
	Old    audit.Key    `json:"old"`
	New    audit.Key    `json:"new"`
	Key    audit.Key    `json:"key"`
	How    audit.Ending `json:"how"`
	Task   string       `json:"task"`
	Step   audit.Step   `json:"step"`

	Class    audit.FailureClass `json:"error_class"`
	Retry    time.Time          `json:"retry_at"`
	Overlap  int64              `json:"overlap_seconds"`
	Failures int                `json:"failures"`
}

func factsOf(e audit.Event) facts {
	var f facts
	if err := json.Unmarshal(e.Data, &f); err != nil {
		panic(err)
	}
	return f
}

// latest returns the facts of the last event of a type.
func (w *world) latest(t *testing.T, kind audit.Type) facts {
	t.Helper()
	all := w.of(kind)
	if len(all) == 0 {
		t.Fatalf("there is no event %s among %s", kind, w.types())
	}
	return factsOf(all[len(all)-1])
}

// want compares what is with what should be.
func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
