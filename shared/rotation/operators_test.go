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
		for name, emergencies := range map[string]bool{"without emergencies": false, "with emergencies": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for i := range seeds(*tries / 5) {
					var wrong []string
					log := ""
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(k)
						w.due()
						w.emergency = emergencies
						var group sync.WaitGroup
						group.Go(func() { w.operators(t.Context(), i, emergencies) })
						group.Go(func() { w.crowd(t.Context(), i, 40) })
						group.Wait()
						wrong = w.calm(t.Context())
						log = w.last()
					})
					if len(wrong) > 0 {
						t.Fatalf("-rotation.seed=%d: %v\n%s", i, wrong, log)
					}
				}
			})
		}
	})
}

// operators ask for one thing after another.
func (w *world) operators(ctx context.Context, seed uint64, emergencies bool) {
	r := rand.New(rand.NewPCG(seed, 3))
	verbs := []func(*rotation.Job, context.Context, rotation.Request) error{
		(*rotation.Job).Force, (*rotation.Job).Pause, (*rotation.Job).Resume, (*rotation.Job).Resume, (*rotation.Job).Rollback,
	}
	if emergencies {
		verbs = append(verbs, (*rotation.Job).Emergency)
	}
	for range 30 {
		time.Sleep(time.Duration(r.IntN(1200)) * time.Second)
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
	if w.version(w.staged) != nil || w.version(w.previous) != nil {
		add("a version is left: staged %q, previous %q", w.staged, w.previous)
	}
	if usable := w.usable(); w.kind.traits.Overlap == rotation.Parallel && len(usable) != 1 {
		add("%d keys are usable", len(usable))
	}
	return slices.Compact(wrong)
}
