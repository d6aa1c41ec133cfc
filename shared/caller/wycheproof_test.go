package caller

import (
	"encoding/json"
	"os"
	"testing"
)

// group is one key or set of keys of Project Wycheproof and what is signed with them.
type group struct {
	Comment string          `json:"comment"`
	Public  json.RawMessage `json:"public"`
	Private json.RawMessage `json:"private"`
	Tests   []struct {
		ID      int    `json:"tcId"`
		Comment string `json:"comment"`
		JWS     string `json:"jws"`
		Result  string `json:"result"`
	} `json:"tests"`
}

func groups(t *testing.T, file string) []group {
	t.Helper()
	text, err := os.ReadFile("testdata/wycheproof/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Groups []group `json:"testGroups"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	return vectors.Groups
}

// verifiedWith reports whether a text verifies with one of the keys that an issuer publishes.
func verifiedWith(set json.RawMessage, text string) bool {
	keys, err := parseKeys(set)
	var j jws
	if err != nil || j.takeApart(text) != nil {
		return false
	}
	for _, k := range keys {
		if k.fits(&j) && k.verifies(&j) {
			return true
		}
	}
	return false
}

// stricter are the valid vectors that are refused here, and why.
func stricter(g group, algorithm string) string {
	var key jwk
	switch _ = json.Unmarshal(g.Public, &key); {
	case key.Type == "":
		return "a shared secret is no public key"
	case key.Algorithm != "" && key.Algorithm != algorithm:
		return "the key is for another algorithm than the text's"
	}
	return ""
}

func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, 0
	for _, g := range groups(t, "json_web_signature_test.json") {
		set := json.RawMessage(`{"keys":[` + string(g.Public) + `]}`)
		if g.Public == nil {
			set = json.RawMessage(`{"keys":[` + string(g.Private) + `]}`)
		}
		for _, test := range g.Tests {
			var j jws
			_ = j.takeApart(test.JWS)
			want := test.Result == "valid" && stricter(g, j.header.Algorithm) == ""
			got := verifiedWith(set, test.JWS)
			if got != want {
				t.Errorf("%s, test %d (%s): verified %v, want %v", g.Comment, test.ID, test.Comment, got, want)
			}
			if got {
				accepted++
			} else {
				refused++
			}
		}
	}
	if accepted < 30 || refused < 250 {
		t.Errorf("%d are accepted and %d refused: these are not the vectors that they were", accepted, refused)
	}
}

func TestWycheproofKeySets(t *testing.T) {
	t.Parallel()
	accepted := 0
	for _, g := range groups(t, "json_web_key_test.json") {
		set := g.Public
		if set == nil {
			set = g.Private // as if somebody had published what should be secret
		}
		for _, test := range g.Tests {
			got, want := verifiedWith(set, test.JWS), test.Result == "valid" && g.Public != nil
			if got != want {
				t.Errorf("%s, test %d (%s): verified %v, want %v", g.Comment, test.ID, test.Comment, got, want)
			}
			if got {
				accepted++
			}
		}
	}
	if accepted == 0 {
		t.Error("none is accepted: these are not the vectors that they were")
	}
}
