package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/shared/audit"
)

// writeFile writes a file of a test and returns its path.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sampleTrail(t *testing.T) string {
	t.Helper()
	text, err := fs.ReadFile(events.Files(), "sample/trail.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// exported is a public key as the services of all clouds give it out.
func exported(t *testing.T, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// signTrail signs each event that is in a chain.
func signTrail(t *testing.T, trail string, private ed25519.PrivateKey) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(trail) {
		var event audit.Event
		if err := event.UnmarshalJSON([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, `"chain":{`) {
			var err error
			event, err = audit.Sign(t.Context(), event, func(_ context.Context, digest []byte) (audit.Signature, error) {
				return audit.Signature{KeyID: "key", Algorithm: audit.EdDSA, Value: base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, digest))}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		text, err := event.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(text, '\n'))
	}
	return out.String()
}

// anchorOf has audit anchor write down where a trail ends.
func anchorOf(t *testing.T, trail string) string {
	t.Helper()
	var out, log strings.Builder
	if err := run(t.Context(), []string{"audit", "anchor", writeFile(t, trail)}, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	return out.String()
}

func TestAuditCommands(t *testing.T) {
	t.Parallel()
	trail := sampleTrail(t)
	anchor := anchorOf(t, trail)
	lines := strings.SplitAfter(trail, "\n")
	cut := strings.Join(lines[:7], "")
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := exported(t, public)
	former, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := signTrail(t, trail, private)
	for _, c := range []struct {
		name    string
		command string
		trail   string
		flags   []string // @ before the text of a file
		out     []string // what it must contain
		log     string
		fails   string
	}{
		{"a trail that is whole", "verify", trail, nil, []string{`credential "openai"`, "intact to number 6", "6 events are in chains, 0 came again, 5 belong to none.", "Without an anchor"}, "", ""},
		{"a trail that ends where its anchor says", "verify", trail, []string{"-anchor", "@" + anchor}, []string{"intact to number 6"}, "", ""},
		{"a trail of many lines", "verify", strings.ReplaceAll("["+strings.ReplaceAll(strings.TrimSpace(trail), "\n", ",\n")+"]", `,"`, ",\n\""), nil, []string{"intact to number 6"}, "", ""},
		{"a trail whose end is missing", "verify", cut, []string{"-anchor", "@" + anchor}, []string{`credential "openai": truncation: `, "ends with number 5, and had 6 events"}, "", "1 finding"},
		{"a trail whose end is missing and whose anchor too", "verify", cut, nil, []string{"intact to number 5"}, "", ""},
		{"an edit", "verify", strings.Replace(trail, `"how":"deleted"`, `"how":"deactivated"`, 1), nil, []string{"line 5: event ", ` of credential "openai": edit: it does not follow from event `, " at line 4"}, "", "1 finding"},
		{"a line that is none", "verify", trail + "torn", nil, []string{"line 12: unreadable: it is not a JSON object"}, "", "1 finding"},
		{"two findings", "verify", lines[1] + lines[4] + lines[3] + "torn\n", nil, []string{"line 3: ", "reorder: ", "line 4: unreadable"}, "", "2 findings"},
		{"a bus that keeps no order", "verify", lines[1] + lines[4] + lines[3], []string{"-any-order"}, []string{"intact to number 3"}, "", ""},
		{"no events", "verify", "{}\n", nil, nil, "", "there are no audit events in it"},
		{"a trail that nobody signed", "verify", trail, []string{"-key", "@" + key}, []string{"line 2: ", "signature: no signature vouches for it"}, "", "1 finding"},
		{"a trail that is signed", "verify", signed, []string{"-key", "@" + key}, []string{"intact to number 6"}, "", ""},
		{"a key beside a former one, in a file of Windows", "verify", signed, []string{"-key", "@" + strings.ReplaceAll(exported(t, former.Public())+key, "\n", "\r\n")}, []string{"intact to number 6"}, "", ""},
		{"a trail that another key has signed", "verify", signed, []string{"-key", "@" + exported(t, former.Public())}, []string{"signature: "}, "", "7 findings"},
		{"a key that is none", "verify", trail, []string{"-key", "@x"}, nil, "", "there is no block PUBLIC KEY"},
		{"an anchor that is none", "verify", trail, []string{"-anchor", "@{}"}, nil, "", "anchor 1 is none"},
		{"an anchor with something more", "verify", trail, []string{"-anchor", "@" + strings.Replace(anchor, "{", `{"x":1,`, 1)}, nil, "", "anchor 1 is none"},
		{"an anchor file without anchors", "verify", trail, []string{"-anchor", "@"}, nil, "", "anchor 1 is none"},
		{"no anchor of a trail that was changed", "anchor", strings.Replace(trail, `"how":"deleted"`, `"how":"deactivated"`, 1), nil, nil, "edit: ", "nothing is anchored"},
		{"no anchor of events without a chain", "anchor", lines[0], nil, nil, "", "no event of "},
		{"events in the form of OCSF", "ocsf", trail, nil, []string{`"class_uid":3004`, `"class_uid":3002`}, "", ""},
		{"events that OCSF has no form for", "ocsf", lines[0] + strings.Replace(lines[1], `"type":"AI_PROVIDER_TOKEN_ROTATED"`, `"type":"AI_OTHER"`, 1) + "torn", nil, []string{`"class_uid":3004`}, "there is no mapping for it", "2 lines were left out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"audit", c.command, writeFile(t, c.trail)}
			for _, f := range c.flags {
				if text, file := strings.CutPrefix(f, "@"); file {
					f = writeFile(t, text)
				}
				args = append(args, f)
			}
			var out, log strings.Builder
			err := run(t.Context(), args, &out, &log)
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			for _, want := range c.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
			if c.out == nil && out.Len() > 0 || !strings.Contains(log.String(), c.log) {
				t.Errorf("out:\n%s\nlog:\n%s", out.String(), log.String())
			}
		})
	}
}

func TestAuditCommandsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"audit"}, {"audit", "verify"}, {"audit", "prove", "x"}, {"audit", "verify", "a", "b"}, {"audit", "verify", "a", "-x"}, {"audit", "verify", "missing"}} {
		var out, log strings.Builder
		if err := run(t.Context(), args, &out, &log); err == nil || out.Len() > 0 {
			t.Errorf("%v: error %v, out %s", args, err, out.String())
		}
	}
}
