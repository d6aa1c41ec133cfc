package stage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheReadmesCallWorks runs the README's own commands for a first chat,
// at the addresses of the stage.
func TestTheReadmesCallWorks(t *testing.T) {
	t.Parallel()
	out := readme(t, shared, "TOKEN=")
	if !strings.HasSuffix(out, "data: [DONE]\n\n") {
		t.Errorf("got %s", out)
	}
}

// TestTheReadmesRotationWorks runs those for a rotation. The trail of it is one
// that the README's command for trails takes.
func TestTheReadmesRotationWorks(t *testing.T) {
	t.Parallel()
	s, _ := own(t, Options{})
	out := strings.Split(readme(t, s, "curl -s 'http://127.0.0.1:9100/rotate"), "\n")
	for i, want := range []string{`"outcome":"not_due"`, `"outcome":"rotated"`, `[{"specversion":"1.0"`} {
		if i >= len(out) || !strings.Contains(out[i], want) {
			t.Errorf("line %d is not with %s in %q", i+1, want, out)
		}
	}
}

// readme runs the commands of the README that begin so, and returns what they
// say.
func readme(t *testing.T, s *Stage, begin string) string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("POSTERN_E2E") == "required" {
			t.Fatal("curl is required and not installed")
		}
		t.Skip("curl is not installed")
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```sh\n"+begin)
	commands, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatalf("the README has no commands that begin with %s", begin)
	}
	commands = strings.NewReplacer(
		"http://127.0.0.1:9100", s.Control,
		"http://127.0.0.1:9101", s.Gateways[AWS],
	).Replace("set -e\n" + begin + commands)
	out, err := exec.CommandContext(t.Context(), "bash", "-c", commands).Output()
	if err != nil {
		t.Errorf("%v", err)
	}
	return string(out)
}
