package main

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/config"
)

// TestTokensAreMadeAndRevoked is the life of a list of API tokens.
func TestTokensAreMadeAndRevoked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list, key := filepath.Join(dir, "tokens.json"), filepath.Join(dir, "key")
	secret := []byte("0123456789abcdef0123456789abcdef")
	if err := os.WriteFile(key, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(args ...string) (out, log string) {
		t.Helper()
		var o, l strings.Builder
		if err := run(t.Context(), append([]string{"token"}, args...), &o, &l); err != nil {
			t.Fatal(err)
		}
		return o.String(), l.String()
	}
	first, log := do("create", "-key", "file://"+key, "-name", "ci", "-groups", "build,test", "-for", "1d", list)
	second, _ := do("create", "-key", "file://"+key, "-name", "ci", list)
	third, _ := do("create", "-key", "file://"+key, "-name", "notebook", list)
	first = strings.TrimSpace(first)
	if _, ok := config.APITokenID(first); !ok || first == strings.TrimSpace(second) || strings.Contains(log, first) {
		t.Errorf("the token is %q, the next one %q, and the log says %q", first, second, log)
	}
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), first) || strings.Contains(string(text), first[len(first)-52:]) {
		t.Errorf("the list holds a token: %s", text)
	}
	if info, err := os.Stat(list); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the list: %v, %v", info.Mode(), err)
	}
	tokens, err := config.ParseAPITokens(text)
	if err != nil || len(tokens) != 3 || tokens[0].HMAC != config.APITokenMAC(secret, first) || tokens[0].Expires.Sub(tokens[0].Created).Hours() != 24 {
		t.Fatalf("the list is %+v, %v", tokens, err)
	}
	if table, _ := do("list", list); !strings.Contains(table, tokens[0].ID+"  ci        build,test") {
		t.Errorf("the table is\n%s", table)
	}
	do("revoke", list, tokens[0].ID)
	if table, _ := do("list", list); strings.Contains(table, tokens[0].ID) || !strings.Contains(table, tokens[1].ID) {
		t.Errorf("after the first was revoked the table is\n%s", table)
	}
	do("revoke", list, "ci")
	if table, _ := do("list", list); strings.Contains(table, " ci ") || !strings.Contains(table, "notebook") || third == "" {
		t.Errorf("after all of ci were revoked the table is\n%s", table)
	}
}

func TestTokensThatCannotBeMadeAreNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, short := filepath.Join(dir, "key"), filepath.Join(dir, "short")
	for path, text := range map[string]string{key: strings.Repeat("ab", 32), short: "password", filepath.Join(dir, "broken.json"): `{"tokens":[{"id":"x"}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "busy.json.new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, args, fails string
	}{
		{"no command", "", "usage"},
		{"an unknown command", "make x", "usage"},
		{"no key", "create -name ci new.json", "usage"},
		{"a key that is the key", "create -key " + strings.Repeat("ab", 32) + " -name ci new.json", "-key"},
		{"a key that is too short", "create -key file://" + short + " -name ci new.json", "not 32 bytes"},
		{"no name", "create -key file://" + key + " new.json", "name"},
		{"a group that is none", "create -key file://" + key + " -name ci -groups a,,b new.json", "groups"},
		{"a life of ten years", "create -key file://" + key + " -name ci -for 3650d new.json", "366 days"},
		{"a life that is over", "create -key file://" + key + " -name ci -for 0d new.json", "366 days"},
		{"a life that is none", "create -key file://" + key + " -name ci -for long new.json", "invalid"},
		{"a list that is none", "create -key file://" + key + " -name ci broken.json", "tokens[0]"},
		{"a list that another run is changing", "create -key file://" + key + " -name ci busy.json", "exists"},
		{"a token that is not there", "revoke new.json ci", "no token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(c.args)
			for i, arg := range args {
				if strings.HasSuffix(arg, ".json") {
					args[i] = filepath.Join(dir, arg)
				}
			}
			var out, log strings.Builder
			err := run(t.Context(), append([]string{"token"}, args...), &out, &log)
			if err == nil || !strings.Contains(err.Error(), c.fails) || out.Len() > 0 || strings.Contains(err.Error(), "abab") {
				t.Errorf("it says %v and prints %q", err, out.String())
			}
			if _, err := os.Stat(filepath.Join(dir, "new.json")); err == nil {
				t.Error("a list was written")
			}
		})
	}
}
