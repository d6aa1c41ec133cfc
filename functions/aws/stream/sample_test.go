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
	got := describeRequest(sample("alb-certificate"))
	for _, want := range []string{"POST /v1/chat/completions ", "remote 203.0.113.7:0,", "through a load balancer\n", "X-Amzn-Mtls-Clientcert-Leaf: [\"-----BEGIN%20CERTIFICATE-----%0A"} {
		if !strings.Contains(got, want) {
			t.Errorf("a load balancer's request has no %q: %s", want, got)
		}
	}
	got = describeRequest(sample("api-certificate"))
	if !strings.HasPrefix(got, "POST /v1/chat/completions ") || !strings.Contains(got, "certificate \"-----BEGIN CERTIFICATE-----\\n") {
		t.Errorf("an API's request has no certificate: %s", got)
	}
	if name, ok := directName(sample("doctor")); !ok || name != "doctor" {
		t.Errorf("the sample of the doctor asks for %q", name)
	}
}
