package kong_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/golden"
	"github.com/postern-ai/postern/localdev/kong"
	"github.com/postern-ai/postern/shared/config"
)

// TestImportGoldens: each golden file is a Kong configuration, and the document and report that come of it.
func TestImportGoldens(t *testing.T) {
	t.Parallel()
	golden.Run(t, "", func(_ *testing.T, given golden.Files) golden.Files {
		r, err := kong.Import([]byte(given["given-kong.yaml"]))
		if err != nil {
			return golden.Files{"error": fmt.Sprintln(err)}
		}
		return golden.Files{"postern.yaml": string(r.Document), "report": r.Report()}
	})
}

// configurations are what the golden files start from, by their names.
func configurations(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil || len(archive.Files) == 0 {
			t.Fatalf("%s: not an archive, %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".txtar")] = archive.Files[0].Data
	}
	return all
}

// TestDocumentsLoad: a document is of use as it comes out, but for what its notes ask for. The exceptions lack something that
// the Kong file lacks too.
func TestDocumentsLoad(t *testing.T) {
	t.Parallel()
	exceptions := []string{
		"what_is_filled_in_elsewhere_is_left_to_be_written",
		"an_address_that_is_not_encrypted_is_refused_by_the_document",
	}
	for name, text := range configurations(t) {
		r, err := kong.Import(text)
		if err != nil {
			continue
		}
		if fails := r.Problems != nil; fails != slices.Contains(exceptions, name) {
			t.Errorf("%s: problems: %v", name, r.Problems)
		}
		if r.Problems == nil {
			if d, err := config.Load(r.Document); err != nil || len(d.Upstreams) != r.Upstreams {
				t.Errorf("%s: loaded %+v, %v", name, d, err)
			}
		}
	}
}

// TestNoSecretIsCopied looks for what stands in the secret fields of every golden file, and in the unknown ones, in what the
// import says.
func TestNoSecretIsCopied(t *testing.T) {
	t.Parallel()
	secret := []string{"header_value", "param_value", "azure_client_secret", "gcp_service_account_json", "aws_access_key_id",
		"aws_secret_access_key", "aws_session_token", "client_secret", "password", "unknown_field"}
	checked := 0
	for name, text := range configurations(t) {
		r, err := kong.Import(text)
		if err != nil {
			continue
		}
		said := string(r.Document) + r.Report()
		var documents any
		decoder := yaml.NewDecoder(strings.NewReader(string(text)))
		for decoder.Decode(&documents) == nil {
			walk(documents, "", func(field, text string) {
				if !slices.Contains(secret, field) || strings.Contains(text, "{vault://") || strings.Contains(text, "${") {
					return
				}
				checked++
				for part := range strings.FieldsSeq(text) {
					if len(part) > 6 && strings.Contains(said, part) {
						t.Errorf("%s: the value of %s comes out", name, field)
					}
				}
			})
		}
	}
	if checked < 10 {
		t.Errorf("only %d secrets were looked for", checked)
	}
}

func walk(v any, name string, visit func(name, text string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			walk(value, key, visit)
		}
	case []any:
		for _, item := range v {
			walk(item, name, visit)
		}
	case string:
		visit(name, v)
	}
}

// FuzzImport: whatever a file holds, what comes out is one document whose comments stay comments.
func FuzzImport(f *testing.F) {
	for _, text := range configurations(f) {
		f.Add(string(text))
	}
	f.Add("config:\n  auth:\n    header_value: canary-0123456789\n  model:\n    provider: openai\n    name: \"x # y: [\\n\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := kong.Import([]byte(text))
		if err != nil {
			return
		}
		var document map[string]any
		if err := yaml.Unmarshal(r.Document, &document); err != nil {
			t.Fatalf("the document is no YAML: %v\n%s", err, r.Document)
		}
		for key := range document {
			if !slices.Contains([]string{"callers", "policy", "upstreams", "logging", "limits"}, key) {
				t.Errorf("the document has a section %q", key)
			}
		}
		upstreams, _ := document["upstreams"].([]any)
		if len(upstreams) != r.Upstreams {
			t.Errorf("%d upstreams in the document, want %d", len(upstreams), r.Upstreams)
		}
	})
}

// FuzzSecrets: whatever else a plugin says, nothing of what stands in a secret's place comes out, and a model keeps its name.
func FuzzSecrets(f *testing.F) {
	for _, provider := range []string{"openai", "azure", "bedrock", "gemini", "anthropic", "mistral", "ollama"} {
		f.Add(provider, "Authorization", "Bearer", "gpt-4o", "https://llm.example.com/v1", true, false)
		f.Add(provider, "X-Key", "# token: [", "a: b # c", "res", false, true)
	}
	f.Fuzz(func(t *testing.T, provider, header, scheme, name, address string, managed, body bool) {
		const canary = "canary-0123456789"
		location := "query"
		if body {
			location = "body"
		}
		data, err := json.Marshal(map[string]any{
			"name": "ai-proxy",
			"config": map[string]any{
				"auth": map[string]any{
					"header_name": header, "header_value": scheme + " " + canary,
					"param_name": header, "param_value": canary, "param_location": location,
					"azure_use_managed_identity": managed, "azure_client_id": address, "azure_tenant_id": name, "azure_client_secret": canary,
					"gcp_use_service_account": managed, "gcp_service_account_json": canary,
					"aws_access_key_id": canary, "aws_secret_access_key": canary, "aws_session_token": canary,
				},
				"model": map[string]any{
					"provider": provider, "name": name,
					"options": map[string]any{"upstream_url": address, "azure_instance": address, "password": canary, "headers": map[string]any{"x": canary}},
				},
			},
		})
		if err != nil || strings.Contains(provider+header+scheme+name+address, "canary") {
			return // the canary would not be ours alone
		}
		r, err := kong.Import(data)
		if err != nil {
			t.Fatal(err)
		}
		if said := string(r.Document) + r.Report(); strings.Contains(said, "canary") {
			t.Errorf("a secret comes out:\n%s", said)
		}
		d, err := config.Load(r.Document)
		if err != nil {
			return
		}
		for _, m := range d.Upstreams[0].Models {
			if m.Name != name || m.Model != name {
				t.Errorf("the model %q became %+v", name, m)
			}
		}
	})
}
