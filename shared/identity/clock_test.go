package identity

import (
	"strings"
	"testing"
	"time"
)

// These two look inside because a test cannot set the wall clock.

func TestTimeIsReadWithoutTheMonotonicClock(t *testing.T) {
	t.Parallel()
	if now := wall().String(); strings.Contains(now, "m=") {
		t.Errorf("got %s", now)
	}
}

func TestAPauseEndsEvenWhenTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for name, test := range map[string]struct {
		until time.Time
		want  bool
	}{
		"a pause that has begun":                   {now.Add(10 * time.Second), true},
		"a pause that begins now":                  {now.Add(30 * time.Second), true},
		"a pause that is over":                     {now, false},
		"a pause begun before the clock went back": {now.Add(10 * time.Minute), false},
	} {
		if got := pausing(now, test.until, 30*time.Second); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
