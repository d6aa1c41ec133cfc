package front

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestAChildThatIgnoresSIGTERMIsKilled(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p, err := start(command{path: "/bin/sh", args: []string{"-c", `trap 'echo no' TERM; echo up; while :; do sleep 0.01; done`}, output: &lines{to: &out}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // for the trap; without it the child just ends earlier
	p.stop(100 * time.Millisecond)
	if got := p.ending(); !strings.HasPrefix(got, "signal: ") {
		t.Errorf("the child ended with %q", got)
	}
	p.signal(9) // a child that has ended is no error
}

func TestLines(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		writes []string
		want   string
	}{
		{"every line has the prefix", []string{"a\nb\n"}, "> a\n> b\n"},
		{"a line may come in pieces", []string{"a", "b", "\nc\n"}, "> ab\n> c\n"},
		{"the last line needs no end", []string{"a\nb"}, "> a\n> b\n"},
		{"empty lines are left out", []string{"\n\n", "a\n\nb"}, "> a\n> b\n"},
		{"a line that is too long is cut", []string{strings.Repeat("x", maxLine), "y\n"}, "> " + strings.Repeat("x", maxLine) + "\n> y\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			l := &lines{prefix: "> ", to: &out}
			for _, s := range tt.writes {
				if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
					t.Fatalf("wrote %d of %d: %v", n, len(s), err)
				}
			}
			l.flush()
			if out.String() != tt.want {
				t.Errorf("got %.100q, want %.100q", out.String(), tt.want)
			}
		})
	}
}
