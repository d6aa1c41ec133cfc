package serve

import "testing"

func TestAServerWithoutARequestEndsAtOnce(t *testing.T) {
	t.Parallel()
	if err := drain(nil); err != nil {
		t.Error(err)
	}
}
