package secrets

import (
	"testing"
	"time"
)

func TestAClockThatWasSetBackEndsWhatItMeasured(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	tests := []struct {
		name  string
		since time.Time
		want  bool
	}{
		{"never", time.Time{}, false},
		{"just now", now, true},
		{"a moment before the limit", now.Add(-time.Hour + 1), true},
		{"at the limit", now.Add(-time.Hour), false},
		{"a clock that was corrected a little", now.Add(30 * time.Second), true},
		{"a clock that was set back", now.Add(2 * time.Minute), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := within(now, test.since, time.Hour); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
