package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
)

// TestOperatorsBesideSeveralRunners has operators ask for whatever comes into their heads while several functions work on the credential, with
// faults. In the end there is one key, it works, and the events are one chain.
func TestOperatorsBesideSeveralRunners(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		for name, o := range map[string]operators{
			"calm ones": {}, "in an emergency": {emergencies: true}, "who store keys themselves": {keys: true}, "who do it all": {emergencies: true, keys: true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if _, identifies := newWorld(k).job().Credentials[0].Issuer.(rotation.Identifier); o.keys && (!identifies || k.traits.MaxLive == 2 || k.traits.Overlap == rotation.TwoSlots) {
					t.Skip("there is no place for strangers' keys, or people have to explain them")
				}
				k := k
				if o.keys {
					k.traits.MaxLive = 0 // people leave theirs behind
				}
				for i := range seeds(max(1, random()/5)) {
					var wrong []string
					log := ""
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(k)
						w.due()
						w.emergency, w.rush = o.emergencies, o.keys
						var group sync.WaitGroup
						group.Go(func() { o.ask(t.Context(), w, i) })
						group.Go(func() { w.crowd(t.Context(), i, 40) })
						group.Wait()
						wrong = w.calm(t.Context())
						log = w.last()
					})
					if len(wrong) > 0 {
						t.Fatalf("-rotation.seed=%d: %v\n%s", i, wrong, log)
					}
				}
				t.Logf("%d schedules of operators and several runners", max(1, random()/5))
			})
		}
	})
}

// operators are people who ask for things, and what else they do.
type operators struct{ emergencies, keys bool }

// ask has them ask for one thing after another.
func (o operators) ask(ctx context.Context, w *world, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	verbs := []func(*rotation.Job, context.Context, rotation.Request) error{
		(*rotation.Job).Force, (*rotation.Job).Pause, (*rotation.Job).Resume, (*rotation.Job).Resume, (*rotation.Job).Rollback,
	}
	if o.emergencies {
		verbs = append(verbs, (*rotation.Job).Emergency)
	}
	for range 30 {
		time.Sleep(time.Duration(r.IntN(1200)) * time.Second)
		if o.keys && r.IntN(4) == 0 {
			w.mu.Lock()
			w.people(w.store(w.strange()))
			w.mu.Unlock()
			continue
		}
		asked := request()
		asked.DisableFirst = w.kind.disables && r.IntN(2) == 0
		err := verbs[r.IntN(len(verbs))](w.job(), ctx, asked)
		if err != nil && !errors.Is(err, rotation.ErrUnderWay) && !errors.Is(err, rotation.ErrNotPossible) {
			w.mu.Lock()
			w.violate("an operator is told: %v", err)
			w.mu.Unlock()
		}
	}
}

// calm resumes the rotation, and returns what is wrong when it has come to rest.
func (w *world) calm(ctx context.Context) []string {
	wrong := []string{}
	add := func(format string, values ...any) { wrong = append(wrong, fmt.Sprintf(format, values...)) }
	if err := w.job().Resume(ctx, request()); err != nil {
		add("resume: %v", err)
	}
	w.promotions = 1 // whatever has been asked for may have come to nothing
	if _, err := w.rest(ctx, nil); err != nil {
		add("%v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	wrong = append(append(wrong, w.broken...), w.told()...)
	if current := w.version(w.current); current == nil || !w.bySecret(current.text).works() {
		add("the current key does not work")
	}
	left := w.version(w.previous)
	if w.version(w.staged) != nil || left != nil && !w.bySecret(left.text).foreign {
		add("a version is left: staged %q, previous %q", w.staged, w.previous)
	}
	if usable := slices.DeleteFunc(w.usable(), func(k *made) bool { return k.foreign && w.rush && k != w.key() }); w.kind.traits.Overlap == rotation.Parallel && len(usable) != 1 {
		add("%d keys are usable", len(usable))
	}
	return slices.Compact(wrong)
}
