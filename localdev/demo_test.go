package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/stage"
)

// anyKey is the beginning of every key that the stand-in for OpenAI issues. Less of
// it is part of a random name at times.
var anyKey = regexp.MustCompile(`sk-(proj|svcacct|admin)-[A-Z2-7]`)

// TestTheDemoShowsEachCloudAndItsRotation runs all of it, and then where the
// stored keys cannot be replaced.
func TestTheDemoShowsEachCloudAndItsRotation(t *testing.T) {
	t.Parallel()
	o := stage.Options{Bin: t.TempDir()}
	var out bytes.Buffer
	if err := demo(t.Context(), o, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for text, times := range map[string]int{
		"  plain     ": 3, "  streamed  ": 3, "openai: rotated, and in its grace now": 3, "was signed by the stored key": 3, `"type":"AI_PROVIDER_TOKEN_ROTATED"`: 3,
	} {
		if got := strings.Count(out.String(), text); got != times {
			t.Errorf("%q is there %d times, not %d, in\n%s", text, got, times, out.String())
		}
	}
	if key := anyKey.FindString(out.String()); key != "" {
		t.Errorf("a key is printed, which begins %q, in\n%s", key, out.String())
	}
	o.Withheld = []string{"openai-key"}
	if err := demo(t.Context(), o, &out); err == nil || !strings.Contains(err.Error(), "aws: rotation:") || !strings.Contains(err.Error(), "secretsmanager:DescribeSecret") {
		t.Errorf("without the right to replace the key: %v", err)
	}
}
