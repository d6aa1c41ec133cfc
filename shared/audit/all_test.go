package audit_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
)

func TestAllConforms(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]int{"when the first fails": 0, "when the last fails": 1} {
		t.Run(name, func(t *testing.T) {
			audittest.Run(t, func(*testing.T) audittest.Bus {
				sinks := []*sink{{}, {}}
				one := sinks[broken]
				return audittest.Bus{Publisher: audit.All(audit.NewLines(sinks[0]), audit.NewLines(sinks[1])), Accepted: one.events, Refuse: func(refuse bool) {
					one.mu.Lock()
					defer one.mu.Unlock()
					one.refuse = refuse
				}}
			})
		})
	}
}

func TestEachOfAllIsAskedAndEachFailureIsTold(t *testing.T) {
	t.Parallel()
	var asked []string
	named := func(name string, err error) audit.Publisher {
		return publisher(func(_ context.Context, events ...audit.Event) error {
			asked = append(asked, name+events[0].ID)
			return err
		})
	}
	errOther := errors.New("other")
	err := audit.All(named("a", errSink), named("b", nil), named("c", errOther)).Publish(t.Context(), audit.Event{ID: "1"})
	if !errors.Is(err, errSink) || !errors.Is(err, errOther) || !slices.Equal(asked, []string{"a1", "b1", "c1"}) {
		t.Errorf("asked %v, and got %v", asked, err)
	}
	if err := audit.All(named("a", nil), named("b", nil)).Publish(t.Context(), audit.Event{ID: "2"}); err != nil {
		t.Errorf("got %v", err)
	}
	if err := audit.All().Publish(t.Context(), audit.Event{ID: "3"}); err != nil {
		t.Errorf("got %v", err)
	}
	if err := audit.All(audit.NewLines(io.Discard)).Publish(t.Context(), audit.Event{Type: "T"}); err == nil || !strings.Contains(err.Error(), "source is missing") {
		t.Errorf("got %v", err)
	}
}
