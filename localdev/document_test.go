package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/check"
	"github.com/postern-ai/postern/localdev/kong"
)

func TestDocumentCommands(t *testing.T) {
	t.Parallel()
	const plugin = "config:\n  auth: {azure_use_managed_identity: true}\n  model: {provider: azure, name: gpt-4o, options: {azure_instance: res, azure_deployment_id: gpt-4o}}\n"
	cases := []struct {
		name     string
		command  string
		document string
		out, log string // what they must contain
		fails    string
	}{
		{"an import writes the document, and says on the side what to do", "import", plugin, "provider: azure-openai", "1 upstream imported.", ""},
		{"an import that lacks something still writes the document", "import", "config: {auth: {azure_use_managed_identity: true}}", "upstreams:", "does not load yet", "has to be completed"},
		{"what is no Kong configuration is not imported", "import", "a: 1", "", "", "no ai-proxy"},
		{"a check explains a document that loads", "check", "provider: bedrock\naws_region: eu-west-1\n", "Upstream bedrock", "", ""},
		{"a check of one that does not load lists its problems", "check", "provider: bedrok\n", "did you mean bedrock?", "", "does not load"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "document.yaml")
			if err := os.WriteFile(path, []byte(c.document), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, log strings.Builder
			err := run(t.Context(), []string{c.command, path}, &out, &log)
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			if !strings.Contains(out.String(), c.out) || !strings.Contains(log.String(), c.log) {
				t.Errorf("out:\n%s\nlog:\n%s", out.String(), log.String())
			}
		})
	}
	path := filepath.Join(t.TempDir(), "document.yaml")
	if err := os.WriteFile(path, []byte("provider: bedrock\naws_region: eu-west-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log strings.Builder
	if err := run(t.Context(), []string{"explain", path, "-arn", "arn:aws:iam::123456789012:user/x", "-model", "nova"}, &out, &log); err != nil || !strings.Contains(out.String(), "allowed") {
		t.Errorf("an explanation of a decision: %q, %v", out.String(), err)
	}
	out.Reset()
	if err := run(t.Context(), []string{"explain", "-arn", "arn:aws:iam::123456789012:user/x", "-model", "nova", path}, &out, &log); err != nil || !strings.Contains(out.String(), "allowed") {
		t.Errorf("an explanation with the file at the end: %q, %v", out.String(), err)
	}
	if err := run(t.Context(), []string{"explain", "-model", "nova"}, &out, &log); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("an explanation of nothing: %v", err)
	}
	out.Reset()
	if err := run(t.Context(), []string{"check", "-record", path}, &out, &log); err != nil || !strings.Contains(out.String(), "0 problems on AWS, 1 on Google Cloud") {
		t.Errorf("a record: %q, %v", out.String(), err)
	}
	if text, err := os.ReadFile(path + check.RecordSuffix); err != nil || !strings.Contains(string(text), `"aws": []`) {
		t.Errorf("the file of a record: %s, %v", text, err)
	}
	if err := run(t.Context(), []string{"check"}, nil, nil); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("a check of nothing: %v", err)
	}
}

// TestImportedDocumentsAreExplained: what an import writes is what a check reads.
func TestImportedDocumentsAreExplained(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("kong/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Kong configurations: %v", err)
	}
	explained := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil || len(archive.Files) == 0 {
			t.Fatalf("%s: not an archive, %v", path, err)
		}
		result, err := kong.Import(archive.Files[0].Data)
		if err != nil || result.Problems != nil {
			continue
		}
		text, err := check.Explain(result.Document)
		if got := strings.Count(text, "\nUpstream "); err != nil || got != result.Upstreams {
			t.Errorf("%s: %d of %d upstreams are explained, %v", path, got, result.Upstreams, err)
		}
		explained++
	}
	if explained < 15 {
		t.Errorf("only %d documents were explained", explained)
	}
}

func TestHelpAndMistakesInCommands(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	cases := []struct {
		name  string
		args  []string
		shown string // in what is written
		fails string // in the error
	}{
		{"there is help about all commands", []string{"help"}, "localdev explain FILE", ""},
		{"help as a flag says what commands there are", []string{"-h"}, "localdev explain FILE", flag.ErrHelp.Error()},
		{"help about a check is not about a file", []string{"check", "-h"}, "check -record FILE...", flag.ErrHelp.Error()},
		{"help about an import is not about a file", []string{"import", "-h"}, "localdev import FILE", flag.ErrHelp.Error()},
		{"help about trails is not a command", []string{"audit", "-h"}, "audit anchor FILE", flag.ErrHelp.Error()},
		{"help about tokens is not a command", []string{"token", "-h"}, "token revoke FILE", flag.ErrHelp.Error()},
		{"help about making tokens shows where the file stands", []string{"token", "create", "-h"}, "FILE is the list", flag.ErrHelp.Error()},
		{"a record of nothing is told what it takes", []string{"check", "-record"}, "", "check -record FILE"},
		{"a record has no place beside the standard input", []string{"check", "-record", "-"}, "", "check -record FILE"},
		{"a flag that a check does not have is refused", []string{"check", "-x", missing}, "localdev check FILE", "-x"},
		{"one standard input is not both a document and a token", []string{"explain", "-", "-token", "-", "-model", "m"}, "", "cannot both"},
		{"a list of tokens that is not there is not an empty one", []string{"token", "list", missing}, "", "no such file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var shown strings.Builder
			err := run(t.Context(), c.args, &shown, &shown)
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			if !strings.Contains(shown.String(), c.shown) {
				t.Errorf("shown:\n%s", shown.String())
			}
		})
	}
}

// full is a disk that nothing more goes on.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	path := writeFile(t, sampleTrail(t))
	for _, command := range []string{"verify", "anchor", "ocsf"} {
		if err := run(t.Context(), []string{"audit", command, path}, full{}, io.Discard); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", command, err)
		}
	}
}
