package rotationtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/rotation"
)

// wantError expects an error of a kind.
func wantError(t *testing.T, err error, op string, kind error) *rotation.Error {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want one that is %q", err, kind)
	}
	return wantTold(t, err, op)
}

var sentinels = []error{rotation.ErrRejected, rotation.ErrUnanswered, rotation.ErrUnavailable, rotation.ErrRefused}

// wantTold expects an error that says what was not done and why, is of one kind, and tells nothing that it must not.
func wantTold(t *testing.T, err error, op string) *rotation.Error {
	t.Helper()
	told, ok := errors.AsType[*rotation.Error](err)
	if !ok || told.Op != op || told.Reason == "" {
		t.Fatalf("the error does not say what was not done, and why: %v", err)
	}
	kinds := 0
	for _, kind := range sentinels {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	if kinds != 1 {
		t.Errorf("the error is of %d kinds: %v", kinds, err)
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		if strings.Contains(text, Canary) {
			t.Errorf("the error tells too much: %s", text)
		}
	}
	return told
}
