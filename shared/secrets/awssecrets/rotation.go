package awssecrets

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/postern-ai/postern/shared/secrets"
)

// Rotating reports whether a rotation of AWS's own has reached its end, which is when its version is current. The version's id is the token in
// the event that a rotation function gets, and what [Store.Stage] takes for the cycle.
//
// It is an error when the rotation of the secret is turned off. It is [secrets.ErrNotFound] when AWS has registered no such version, and
// [secrets.ErrConflict] when the version is not the staged one.
func (s *Store) Rotating(ctx context.Context, ref secrets.Ref, version string) (done bool, err error) {
	of, err := s.target(ref)
	if err == nil {
		done, err = s.rotating(ctx, of, version)
	}
	return done, secrets.Failed("inspect", err)
}

func (s *Store) rotating(ctx context.Context, of target, version string) (bool, error) {
	refuse := func(reason string, cause error) (bool, error) {
		return false, &secrets.Error{Ref: of.ref, Reason: reason, Err: cause}
	}
	out, err := s.describe(ctx, of)
	if err != nil {
		return false, err
	}
	labels, registered := out.VersionIdsToStages[version]
	switch {
	case !aws.ToBool(out.RotationEnabled):
		return refuse("AWS does not rotate it: its rotation is turned off", nil)
	case !registered:
		return refuse("AWS has registered no version of this id to rotate to", secrets.ErrNotFound)
	case slices.Contains(labels, labelCurrent):
		return true, nil
	case !slices.Contains(labels, labelPending):
		return refuse("the version to rotate to does not have the label AWSPENDING", secrets.ErrConflict)
	}
	return false, nil
}
