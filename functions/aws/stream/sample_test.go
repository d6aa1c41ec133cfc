package stream

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/postern-ai/postern/events"
)

// TestTheSamplesAreRequestsAndDirectInvocations has the samples that are for others to read be what they are said to be.
func TestTheSamplesAreRequestsAndDirectInvocations(t *testing.T) {
	t.Parallel()
	sample := func(name string) []byte {
		payload, err := fs.ReadFile(events.Files(), "aws/"+name+".json")
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	for name, caller := range map[string]string{"url-token": "", "url-iam": "arn:aws:sts::123456789012:assumed-role/app/app"} {
		got := describeRequest(sample(name))
		if !strings.HasPrefix(got, "POST /v1/chat/completions ") || strings.Contains(got, "UserARN:"+caller) != (caller != "") {
			t.Errorf("%s becomes %s", name, got)
		}
	}
	if name, ok := directName(sample("doctor")); !ok || name != "doctor" {
		t.Errorf("the sample of the doctor asks for %q", name)
	}
}
