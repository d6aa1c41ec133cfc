package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/config"
)

// line is one token of a list, as JSON, with one member replaced.
func line(change ...string) string {
	members := map[string]string{
		"id": `"abcdefghij234567"`, "hmac": `"` + strings.Repeat("A", 43) + `"`, "name": `"ci"`, "groups": `["build"]`,
		"created": `"2026-11-01T00:00:00Z"`, "expires": `"2027-01-30T00:00:00Z"`,
	}
	for i := 0; i < len(change); i += 2 {
		members[change[i]] = change[i+1]
	}
	var all []string
	for _, name := range []string{"id", "hmac", "name", "groups", "created", "expires", "token"} {
		if members[name] != "" {
			all = append(all, fmt.Sprintf("%q:%s", name, members[name]))
		}
	}
	return "{" + strings.Join(all, ",") + "}"
}

func TestListsOfAPITokensAreReadStrictly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, list, problem string
	}{
		{"a list", `{"tokens":[` + line() + `]}`, ""},
		{"a list without groups", `{"tokens":[` + line("groups", "") + `]}`, ""},
		{"an empty list", `{"tokens":[]}`, ""},
		{"no JSON", "pst_", "not JSON"},
		{"a list alone", "[]", "not JSON"},
		{"a token in it", `{"tokens":[` + line("token", `"pst_canary"`) + `]}`, "not JSON"},
		{"an id that is none", `{"tokens":[` + line("id", `"../../etc/passwd"`) + `]}`, "tokens[0] of the list of API tokens: id"},
		{"an HMAC that is too short", `{"tokens":[` + line("hmac", `"AAAA"`) + `]}`, "hmac"},
		{"an HMAC in another spelling", `{"tokens":[` + line("hmac", `"`+strings.Repeat("A", 42)+`B"`) + `]}`, "hmac"},
		{"no name", `{"tokens":[` + line("name", `""`) + `]}`, "name"},
		{"a name with a line break", `{"tokens":[` + line("name", `"a\nb"`) + `]}`, "name"},
		{"a group that is none", `{"tokens":[` + line("groups", `["a b"]`) + `]}`, "groups"},
		{"no end", `{"tokens":[` + line("expires", "") + `]}`, "expires"},
		{"an end in ten years", `{"tokens":[` + line("expires", `"2036-11-01T00:00:00Z"`) + `]}`, "expires"},
		{"one id twice", `{"tokens":[` + line() + "," + line() + `]}`, "tokens[1] of the list of API tokens: the id is in the list twice"},
		{"too many", `{"tokens":[` + strings.Repeat(line()+",", 500) + line() + `]}`, "more than 500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tokens, err := config.ParseAPITokens([]byte(c.list))
			if (err != nil) != (c.problem != "") || err != nil && (!strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "canary")) {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				return
			}
			text, err := config.FormatAPITokens(tokens)
			if err != nil {
				t.Fatal(err)
			}
			again, err := config.ParseAPITokens(text)
			if diff := cmp.Diff(tokens, again); err != nil || diff != "" {
				t.Errorf("%v (-first +second):\n%s", err, diff)
			}
		})
	}
}
