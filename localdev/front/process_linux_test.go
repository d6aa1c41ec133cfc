package front_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/front"
)

// parentChild is a program with a front, to be killed without warning.
func parentChild() {
	l, err := front.StartLambda(context.Background(), front.LambdaOptions{
		Binary: os.Args[0], Timeout: watchdog, Env: map[string]string{childRole: "lambda"},
	})
	if err != nil {
		panic(err)
	}
	response, _, err := l.Invoke(context.Background(), []byte(`{"do":"pid"}`))
	fmt.Println(string(response), err)
	select {}
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	t.Parallel()
	parent := exec.Command(binary(t))
	parent.Env = []string{childRole + "=parent", "TMPDIR=" + t.TempDir()} // it leaves its files behind
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := strings.Cut(line, " ")
	if err := exec.Command("kill", "-0", pid).Run(); err != nil {
		t.Fatalf("the child of %q does not run: %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	eventually(t, "the frozen child dies", func() bool {
		state, err := exec.Command("ps", "-o", "state=", "-p", pid).Output()
		return err != nil || strings.HasPrefix(string(state), "Z")
	})
}
