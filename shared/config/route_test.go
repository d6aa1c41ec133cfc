package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/config"
)

func TestRoute(t *testing.T) {
	t.Parallel()
	const several = `
platform_callers: true
upstreams:
- {name: gemini, provider: vertex}
- name: eu
  provider: bedrock
  models: [amazon.nova-lite-v1:0, {name: claude, model: eu.anthropic.claude-x-v1:0}, {name: team/claude, model: eu.anthropic.claude-y-v1:0}]
- {name: llm, provider: custom-openai, auth_type: api_key, credential_ref: env://K, base_url: https://llm.example.com/v1}
`
	const single = "platform_callers: true\nupstreams: [{provider: vertex}]\n"
	const listed = "platform_callers: true\nupstreams: [{provider: vertex, models: [a]}]\n"
	tests := []struct {
		name, document, model string
		upstream, want        string // both empty: not found
	}{
		{"a listed model goes to its upstream", several, "amazon.nova-lite-v1:0", "eu", "amazon.nova-lite-v1:0"},
		{"a listed model is sent under its own id", several, "claude", "eu", "eu.anthropic.claude-x-v1:0"},
		{"a listed name may have a slash", several, "team/claude", "eu", "eu.anthropic.claude-y-v1:0"},
		{"an upstream that lists no models serves all under its name", several, "gemini/gemini-2.5-flash", "gemini", "gemini-2.5-flash"},
		{"the rest of the name may have slashes where the provider allows them", several, "llm/meta-llama/Llama-3", "llm", "meta-llama/Llama-3"},
		{"a bare name goes nowhere when there are several upstreams", several, "gemini-2.5-flash", "", ""},
		{"an upstream that lists its models serves no others", several, "eu/claude", "", ""},
		{"names are case sensitive", several, "Claude", "", ""},
		{"a model that would become a path is not found", several, "gemini/../../secret", "", ""},
		{"a model that would become a query is not found", several, "gemini/x?alt=y", "", ""},
		{"a model that would become another method is not found", several, "gemini/x:predict", "", ""},
		{"an upstream's name alone is no model", several, "gemini/", "", ""},
		{"an empty name is no model", single, "", "", ""},
		{"the only upstream serves bare names", single, "gemini-2.5-flash", "vertex", "gemini-2.5-flash"},
		{"the only upstream serves its prefixed names too", single, "vertex/gemini-2.5-flash", "vertex", "gemini-2.5-flash"},
		{"a bare name that would become a path is not found", single, "x/y", "", ""},
		{"the only upstream serves only what it lists", listed, "b", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d, err := config.Load([]byte(test.document))
			if err != nil {
				t.Fatal(err)
			}
			route, ok := config.NewRouter(d).Route(test.model)
			got := ""
			if ok {
				got = route.Upstream.Name
			}
			if got != test.upstream || route.Model != test.want {
				t.Errorf("Route(%q) = %q, %q, want %q, %q", test.model, got, route.Model, test.upstream, test.want)
			}
		})
	}
	d, _ := config.Load([]byte(several))
	if diff := cmp.Diff([]string{"amazon.nova-lite-v1:0", "claude", "team/claude"}, config.NewRouter(d).Models()); diff != "" {
		t.Errorf("the listed models (-want +got):\n%s", diff)
	}
}

func TestFallbacksOfARoute(t *testing.T) {
	t.Parallel()
	d, err := config.Load([]byte(`
platform_callers: true
upstreams:
- {name: gemini, provider: vertex}
- provider: bedrock
  models: [{name: nova, model: amazon.nova-lite-v1:0, fallbacks: [sonnet]}, {name: sonnet, model: eu.anthropic.claude-x-v1:0, fallbacks: [gemini/gemini-2.5-flash, nova]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	router := config.NewRouter(d)
	for model, want := range map[string][]string{
		"sonnet":                  {"gemini/gemini-2.5-flash is gemini-2.5-flash of gemini", "nova is amazon.nova-lite-v1:0 of bedrock"},
		"nova":                    {"sonnet is eu.anthropic.claude-x-v1:0 of bedrock"},
		"gemini/gemini-2.5-flash": nil,
	} {
		route, ok := router.Route(model)
		if !ok || route.Name != model {
			t.Fatalf("%s is %+v", model, route)
		}
		var got []string
		for _, to := range route.Fallbacks {
			got = append(got, to.Name+" is "+to.Model+" of "+to.Upstream.Name)
			if len(to.Fallbacks) > 0 {
				t.Errorf("%s would be followed from %s to %+v", model, to.Name, to.Fallbacks)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the fallbacks of %s (-want +got):\n%s", model, diff)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "A", false}, {"a", "ab", false}, {"", "", true}, {"", "a", false},
		{"*", "", true}, {"*", "abc", true}, {"*", "a/b", false}, {"*/*", "a/b", true}, {"*/*", "a", false}, {"*/*", "a/b/c", false},
		{"a*", "a", true}, {"a*", "abc", true}, {"a*c", "abbc", true}, {"a*c", "ab/c", false}, {"a*b*c", "a1b2b3c", true}, {"a*b*c", "acb", false},
		{"gpt-*", "gpt-4o", true}, {"x/*/z", "x/y/z", true}, {"x/*/z", "x/y/y/z", false}, {"*x/y*", "ax/yb", true}, {"*x/y*", "a/xx/yb", false},
		{"[a]", "a", false}, {"a?", "ab", false}, {"a.c", "abc", false}, {"*a", "aab/a", false}, {"*/a*a", "x/aaa", true}, {"a*a", "a", false},
	}
	for _, test := range tests {
		if got := config.Matches(test.pattern, test.text); got != test.want {
			t.Errorf("Matches(%q, %q) = %v", test.pattern, test.text, got)
		}
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("a*b/*", "aab/c")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if got, want := config.Matches(pattern, text), slowMatches(pattern, text); got != want {
			t.Errorf("Matches(%q, %q) = %v, by definition %v", pattern, text, got, want)
		}
	})
}

// slowMatches is the definition of Matches, for short texts.
func slowMatches(pattern, text string) bool {
	if len(pattern) > 12 || len(text) > 12 {
		return config.Matches(pattern, text)
	}
	if pattern == "" {
		return text == ""
	}
	if pattern[0] == '*' {
		return slowMatches(pattern[1:], text) || text != "" && text[0] != '/' && slowMatches(pattern, text[1:])
	}
	return text != "" && pattern[0] == text[0] && slowMatches(pattern[1:], text[1:])
}

// TestAPatternMatchesWhatThePatternsThatItMatchesMatch is what finding rules that never decide rests on.
func TestAPatternMatchesWhatThePatternsThatItMatchesMatch(t *testing.T) {
	t.Parallel()
	texts := []string{""}
	for i := 0; len(texts[i]) < 4; i++ {
		for _, c := range "ab/*" {
			texts = append(texts, texts[i]+string(c))
		}
	}
	for _, wide := range texts {
		for _, narrow := range texts {
			if !strings.Contains(wide, "*") || !config.Matches(wide, narrow) {
				continue
			}
			for _, text := range texts {
				if !strings.Contains(text, "*") && config.Matches(narrow, text) && !config.Matches(wide, text) {
					t.Fatalf("%q matches %q, which matches %q, which the first does not match", wide, narrow, text)
				}
			}
		}
	}
}
