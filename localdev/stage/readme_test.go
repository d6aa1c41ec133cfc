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
	_, rest, _ := strings.Cut(string(text), "```sh\nTOKEN=")
	commands, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the README shows no call")
	}
	commands = strings.NewReplacer(
		"http://127.0.0.1:9100", shared.Control,
		"http://127.0.0.1:9101", shared.Gateways[AWS],
	).Replace("set -e\nTOKEN=" + commands)
	out, err := exec.CommandContext(t.Context(), "bash", "-c", commands).Output()
	if err != nil || !strings.HasSuffix(string(out), "data: [DONE]\n\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
