package main

import (
	"os"
	"path/filepath"
	"strings"
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
