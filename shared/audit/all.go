package audit

import (
	"context"
	"errors"
)

// All returns a Publisher that publishes with each of the publishers in turn, whether or not the one before has failed. Its error has those of
// all that did. The one that loses least time and least often stands first: whatever becomes of the function while it waits for the next,
// that one has the events.
func All(publishers ...Publisher) Publisher { return all(publishers) }

type all []Publisher

func (a all) Publish(ctx context.Context, events ...Event) error {
	var failed []error
	for _, publisher := range a {
		failed = append(failed, publisher.Publish(ctx, events...))
	}
	return errors.Join(failed...)
}
