package audit_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/audit"
)

// deed returns an event about a credential that has no place in a chain yet.
func deed(t testing.TB, credentialName string, number int) audit.Event {
	t.Helper()
	c := credential()
	c.Name, c.Cycle.ID = credentialName, fmt.Sprintf("cycle-%d", number)
	e, err := audit.KeyRevoked{Credential: c, Key: audit.Key{ID: fmt.Sprintf("key_%d", number)}, How: audit.EndingDeleted}.
		Event(at.Add(time.Duration(number) * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// chained returns a chain of so many events, and its end.
func chained(t testing.TB, credentialName string, count int) ([]audit.Event, audit.Head) {
	t.Helper()
	var events []audit.Event
	var head audit.Head
	for number := range count {
		linked, next, err := audit.Link(deed(t, credentialName, number), head)
		if err != nil {
			t.Fatal(err)
		}
		events, head = append(events, linked), next
	}
	return events, head
}

// recorded has the events at the lines 1, 2, 3 and so on.
func recorded(events ...audit.Event) iter.Seq[audit.Recorded] {
	return func(yield func(audit.Recorded) bool) {
		for i, e := range events {
			if !yield(audit.Recorded{Line: i + 1, Event: e}) {
				return
			}
		}
	}
}

func anchor(head audit.Head, credentialName string) audit.Anchor {
	return audit.Anchor{Head: head, Credential: credentialName, Source: credential().Function.Source()}
}

// edited returns the event with another text in its data.
func edited(e audit.Event, from, to string) audit.Event {
	e.Data = jsontext.Value(strings.Replace(string(e.Data), from, to, 1))
	return e
}

// TestTheHashIsWhatOthersCompute builds it without this package, as whoever verifies a trail by other means does.
func TestTheHashIsWhatOthersCompute(t *testing.T) {
	t.Parallel()
	events, head := chained(t, "openai", 2)
	signed, err := audit.Sign(t.Context(), events[1], func(context.Context, []byte) (audit.Signature, error) {
		return audit.Signature{KeyID: "k", Algorithm: audit.ES256, Value: "AA"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	chain := whole["data"].(map[string]any)["chain"].(map[string]any)
	if _, there := chain["signature"]; !there {
		t.Errorf("there is no signature in %s", text)
	}
	delete(chain, "signature")
	// Texts and numbers of these events are in the canonical form already, and keys are ASCII.
	canonical, err := json.Marshal(whole, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(canonical)
	if head.Hash != hex.EncodeToString(digest[:]) || head.Seq != 2 || head.Chain != events[0].ID {
		t.Errorf("got %+v for\n%s", head, canonical)
	}
	var place struct{ Chain audit.Place }
	first, err := audit.Hash(events[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(events[1].Data, &place, json.MatchCaseInsensitiveNames(true)); err != nil || place.Chain.Prev != first {
		t.Errorf("prev_hash is %q and not %q, error %v", place.Chain.Prev, first, err)
	}
}

// TestTheHashIsOverTheFormOfRFC8785 has the examples of its sections 3.2.2 and 3.2.3 in the data of an event.
func TestTheHashIsOverTheFormOfRFC8785(t *testing.T) {
	t.Parallel()
	written := audit.Event{ID: "1", Source: "/s", Type: "T", Time: at, Data: jsontext.Value(`{
		"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
		"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
		"literals": [null, true, false],
		"sorted": {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\ud83d\ude00": 5, "\u0080": 6, "\u00f6": 7}}`)}
	canonical := `{"data":{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"sorted":{"\r":2,"1":4,` +
		"\"\u0080\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\ufb33\":3}," +
		`"string":"€$\u000f\nA'B\"\\\\\"/"},"datacontenttype":"application/json","id":"1","source":"/s","specversion":"1.0",` +
		`"time":"2026-03-04T05:06:07.089123456Z","type":"T"}`
	want := sha256.Sum256([]byte(canonical))
	if got, err := audit.Hash(written); err != nil || got != hex.EncodeToString(want[:]) {
		t.Errorf("got %s, error %v", got, err)
	}
}

func TestLinkingIsPure(t *testing.T) {
	t.Parallel()
	e := deed(t, "openai", 1)
	before := string(e.Data)
	first, head, err := audit.Link(e, audit.Head{})
	if err != nil {
		t.Fatal(err)
	}
	second, same, err := audit.Link(e, audit.Head{})
	if err != nil || string(first.Data) != string(second.Data) || head != same || string(e.Data) != before {
		t.Errorf("got %s and %s, %+v and %+v, error %v", first.Data, second.Data, head, same, err)
	}
	if !strings.HasPrefix(string(first.Data), strings.TrimSuffix(before, "}")) {
		t.Errorf("the members of the data are not as they were: %s", first.Data)
	}
	line, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	longest := edited(e, "key_1", strings.Repeat("x", audit.MaxEvent-len(line)))
	for name, test := range map[string]struct {
		event audit.Event
		head  audit.Head
		want  string
	}{
		"twice":                {first, head, "has its place in a chain already"},
		"without a hash":       {e, audit.Head{Chain: "a", Seq: 1}, "head of its chain is incomplete"},
		"without a chain":      {e, audit.Head{Seq: 1, Hash: head.Hash}, "head of its chain is incomplete"},
		"without a number":     {e, audit.Head{Chain: "a", Hash: head.Hash}, "head of its chain is incomplete"},
		"after something else": {e, audit.Head{Chain: "a", Seq: 1, Hash: strings.ToUpper(head.Hash)}, "head of its chain is incomplete"},
		"into a text":          {edited(e, "{", `{"chain":"",`), head, "data.chain is not a JSON object"},
		"over the limit":       {longest, head, "no bus has to take more"},
	} {
		if _, _, err := audit.Link(test.event, test.head); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	events, head := chained(t, "openai", 6)
	others, _ := chained(t, "azure", 3)
	anchors := []audit.Anchor{anchor(head, "openai")}
	_, early := chained(t, "openai", 2)
	again, _, err := audit.Link(deed(t, "openai", 99), audit.Head{})
	if err != nil {
		t.Fatal(err)
	}
	_, third := chained(t, "openai", 3)
	rival, _, err := audit.Link(deed(t, "openai", 77), third)
	if err != nil {
		t.Fatal(err)
	}
	without := func(numbers ...int) []audit.Event {
		var kept []audit.Event
		for i, e := range events {
			if !slices.Contains(numbers, i+1) {
				kept = append(kept, e)
			}
		}
		return kept
	}
	with := func(number int, e audit.Event) []audit.Event {
		changed := slices.Clone(events)
		changed[number-1] = e
		return changed
	}
	token, err := rotated(t).Event(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		events []audit.Event
		verify audit.Verifier
		want   []string // fault and line of each finding
	}{
		{"nothing", nil, audit.Verifier{}, nil},
		{"what was written", events, audit.Verifier{Anchors: anchors}, nil},
		{"two chains at once", []audit.Event{events[0], others[0], others[1], events[1], events[2], others[2]}, audit.Verifier{}, nil},
		{"an event that belongs to no chain", append([]audit.Event{token}, events...), audit.Verifier{Anchors: anchors}, nil},
		{"an event that was delivered again at once", slices.Insert(slices.Clone(events), 2, events[1]), audit.Verifier{Anchors: anchors}, nil},
		{"an event that was delivered again later", append(slices.Clone(events), events[1]), audit.Verifier{Anchors: anchors}, nil},
		{"the part after an anchor", events[2:], audit.Verifier{Anchors: []audit.Anchor{anchor(early, "openai")}}, nil},
		{"a gap", without(3), audit.Verifier{}, []string{"gap 3"}},
		{"a long gap", without(2, 3, 4), audit.Verifier{}, []string{"gap 2"}},
		{"no beginning", without(1, 2), audit.Verifier{}, []string{"gap 1"}},
		{"no end", without(5, 6), audit.Verifier{Anchors: anchors}, []string{"truncation 0"}},
		{"no end, which only an anchor shows", without(5, 6), audit.Verifier{}, nil},
		{"nothing of what was anchored", others, audit.Verifier{Anchors: anchors}, []string{"truncation 0"}},
		{"two exchanged", []audit.Event{events[0], events[2], events[1], events[3]}, audit.Verifier{}, []string{"reorder 3"}},
		{"two exchanged by a bus without order", []audit.Event{events[0], events[2], events[1], events[3]}, audit.Verifier{AnyOrder: true}, nil},
		{"an edit", with(3, edited(events[2], "deleted", "deactivated")), audit.Verifier{}, []string{"edit 4"}},
		{"an edit of the first", with(1, edited(events[0], "deleted", "deactivated")), audit.Verifier{}, []string{"edit 2"}},
		{"an edit of the last", with(6, edited(events[5], "deleted", "deactivated")), audit.Verifier{Anchors: anchors}, []string{"edit 6"}},
		{"an edit of the time", with(3, func() audit.Event { e := events[2]; e.Time = at; return e }()), audit.Verifier{}, []string{"edit 4"}},
		{"an edit of a number", with(3, edited(events[2], `"seq":3`, `"seq":9`)), audit.Verifier{}, []string{"gap 3", "gap 4", "reorder 4", "reorder 5", "reorder 6"}},
		{"an edit of an order", with(3, edited(events[2], `"prev_hash":"`, `"prev_hash":"0`)), audit.Verifier{}, []string{"edit 3", "gap 4"}},
		{"an edit of what no schema has", with(3, edited(events[2], `"chain":{`, `"chain":{"x":1,`)), audit.Verifier{}, []string{"edit 4"}},
		{"an event that left its chain", with(3, deed(t, "openai", 2)), audit.Verifier{}, []string{"unlinked 3", "gap 4"}},
		{"one delivery of two was edited", slices.Insert(slices.Clone(events), 3, edited(events[2], "deleted", "deactivated")), audit.Verifier{}, []string{"edit 4"}},
		{"a fork", slices.Insert(slices.Clone(events), 4, rival), audit.Verifier{}, []string{"fork 5"}},
		{"a chain that begins anew", append(slices.Clone(events), again), audit.Verifier{}, []string{"restart 7"}},
		{"a chain that was written anew", []audit.Event{again}, audit.Verifier{Anchors: anchors}, []string{"truncation 0"}},
		{"a part that does not follow from its anchor", with(3, edited(events[2], "deleted", "deactivated"))[3:],
			audit.Verifier{Anchors: []audit.Anchor{anchor(audit.Head{Chain: head.Chain, Seq: 3, Hash: strings.Repeat("0", 64)}, "openai")}}, []string{"edit 1"}},
		{"a first event that is not the one its chain is named for", []audit.Event{edited(events[0], head.Chain, "x")}, audit.Verifier{}, []string{"edit 1"}},
		{"a chain that is none", []audit.Event{edited(events[0], `"seq":1`, `"seq":0`), edited(events[1], `"chain":{`, `"chain":null,"x":{`)}, audit.Verifier{}, []string{"edit 1", "edit 2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			report := test.verify.Verify(recorded(test.events...))
			var got []string
			for _, f := range report.Findings {
				got = append(got, fmt.Sprint(f.Fault, " ", f.Line))
				if f.Credential != "openai" || f.Line > 0 && f.Event == "" || f.Text == "" {
					t.Errorf("it does not say where: %+v", f)
				}
			}
			slices.Sort(got)
			slices.Sort(test.want)
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s\n%v", d, report.Findings)
			}
		})
	}
}

func TestAReportCountsAndEndsWhatItRead(t *testing.T) {
	t.Parallel()
	events, head := chained(t, "openai", 3)
	others, end := chained(t, "azure", 2)
	token, err := rotated(t).Event(at)
	if err != nil {
		t.Fatal(err)
	}
	report := audit.Verifier{}.Verify(recorded(append(slices.Concat(events, others), events[0], token)...))
	want := audit.Report{Linked: 5, Repeated: 1, Unlinked: 1, Heads: []audit.Anchor{anchor(end, "azure"), anchor(head, "openai")}}
	want.Heads[0].Time, want.Heads[1].Time = others[1].Time, events[2].Time
	if d := cmp.Diff(want, report); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAFindingIsASentence(t *testing.T) {
	t.Parallel()
	f := audit.Finding{Fault: audit.FaultGap, Line: 3, Event: "e1", Credential: "openai", Text: "number 2 of its chain is missing before it"}
	if got, want := f.String(), `line 3: event e1 of credential "openai": gap: number 2 of its chain is missing before it`; got != want {
		t.Errorf("got %s", got)
	}
	f = audit.Finding{Fault: audit.FaultTruncation, Credential: "openai", Text: "its end is missing"}
	if got, want := f.String(), `credential "openai": truncation: its end is missing`; got != want {
		t.Errorf("got %s", got)
	}
}

// pair is a key that signs, its algorithm, and its public key in PEM.
type pair struct {
	algorithm audit.Algorithm
	sign      audit.Signer
	public    []byte
}

func pairs(t *testing.T) []pair {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signature := func(alg audit.Algorithm, value []byte, err error) (audit.Signature, error) {
		return audit.Signature{KeyID: "key-1", Algorithm: alg, Value: base64.RawURLEncoding.EncodeToString(value)}, err
	}
	return []pair{
		{audit.ES256, func(_ context.Context, digest []byte) (audit.Signature, error) {
			r, s, err := ecdsa.Sign(rand.Reader, ec, digest)
			if err != nil {
				return audit.Signature{}, err
			}
			value := make([]byte, 64)
			r.FillBytes(value[:32])
			s.FillBytes(value[32:])
			return signature(audit.ES256, value, nil)
		}, publicPEM(t, &ec.PublicKey)},
		{audit.RS256, func(_ context.Context, digest []byte) (audit.Signature, error) {
			value, err := rsa.SignPKCS1v15(rand.Reader, rs, crypto.SHA256, digest)
			return signature(audit.RS256, value, err)
		}, publicPEM(t, &rs.PublicKey)},
		{audit.EdDSA, func(_ context.Context, digest []byte) (audit.Signature, error) {
			return signature(audit.EdDSA, ed25519.Sign(private, digest), nil)
		}, publicPEM(t, public)},
	}
}

func publicPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestSignaturesVouchForTheChainBeforeThem(t *testing.T) {
	t.Parallel()
	all := pairs(t)
	for i, p := range all {
		t.Run(string(p.algorithm), func(t *testing.T) {
			t.Parallel()
			events, head := chained(t, "openai", 3)
			sign := func(e audit.Event) audit.Event {
				signed, err := audit.Sign(t.Context(), e, p.sign)
				if err != nil {
					t.Fatal(err)
				}
				return signed
			}
			last := sign(events[2])
			if hash, err := audit.Hash(last); err != nil || hash != head.Hash {
				t.Errorf("the signature changes the hash to %s, error %v", hash, err)
			}
			other := all[(i+1)%len(all)]
			for _, test := range []struct {
				name   string
				events []audit.Event
				keys   []byte
				want   string
			}{
				{"the last alone is signed", []audit.Event{events[0], events[1], last}, p.public, "[]"},
				{"all are signed", []audit.Event{sign(events[0]), sign(events[1]), last}, p.public, "[]"},
				{"the key is one of several", []audit.Event{events[0], events[1], last}, slices.Concat(other.public, p.public), "[]"},
				{"one is delivered with and without", []audit.Event{events[0], events[1], events[2], last}, p.public, "[]"},
				{"none is signed", events, p.public, "[signature 1]"},
				{"the last is not signed", []audit.Event{events[0], sign(events[1]), events[2]}, p.public, "[signature 3]"},
				{"another key has signed", []audit.Event{events[0], events[1], last}, other.public, "[signature 1 signature 3]"},
				{"what was signed is edited", []audit.Event{events[0], events[1], edited(last, "deleted", "deactivated")}, p.public, "[signature 1 signature 3]"},
				{"the algorithm is edited", []audit.Event{events[0], events[1], edited(last, string(p.algorithm), "none")}, p.public, "[signature 1 signature 3]"},
				{"the signature is cut off", []audit.Event{events[0], events[1], edited(last, `"value":"`, `"value":"=`)}, p.public, "[signature 1 signature 3]"},
			} {
				keys, err := audit.ParseKeys(test.keys)
				if err != nil {
					t.Fatal(err)
				}
				got := []string{}
				for _, f := range (audit.Verifier{Keys: keys}).Verify(recorded(test.events...)).Findings {
					got = append(got, fmt.Sprint(f.Fault, " ", f.Line))
				}
				if fmt.Sprint(got) != test.want {
					t.Errorf("%s: got %v", test.name, got)
				}
			}
		})
	}
}

func TestWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	refuse := func(context.Context, []byte) (audit.Signature, error) { return audit.Signature{}, errSink }
	if _, err := audit.Sign(t.Context(), deed(t, "openai", 1), refuse); err == nil || errors.Is(err, errSink) {
		t.Errorf("an event without a chain: got %v", err)
	}
	events, _ := chained(t, "openai", 1)
	if e, err := audit.Sign(t.Context(), events[0], refuse); !errors.Is(err, errSink) || e.ID != "" {
		t.Errorf("a key that refuses: got %+v, error %v", e, err)
	}
}

func TestOnlyWhatIsNotSignedYetIsSigned(t *testing.T) {
	t.Parallel()
	events, _ := chained(t, "openai", 3)
	before := fmt.Sprint(events)
	calls, most := 0, 2
	sign := func(context.Context, []byte) (audit.Signature, error) {
		if calls++; calls > most {
			return audit.Signature{}, errSink
		}
		return audit.Signature{KeyID: fmt.Sprint(calls), Algorithm: audit.ES256, Value: "AA"}, nil
	}
	if signed, changed, err := audit.SignAll(t.Context(), events, nil); err != nil || changed || fmt.Sprint(signed) != before {
		t.Errorf("without a key: changed %v, error %v", changed, err)
	}
	if signed, _, err := audit.SignAll(t.Context(), events, sign); !errors.Is(err, errSink) || signed != nil || fmt.Sprint(events) != before {
		t.Errorf("a key that fails: got %v, error %v", signed, err)
	}
	calls, most = 0, 3
	first, changed, err := audit.SignAll(t.Context(), events[:2], sign)
	if err != nil || !changed || calls != 2 || fmt.Sprint(events) != before {
		t.Fatalf("changed %v by %d calls, error %v", changed, calls, err)
	}
	again, changed, err := audit.SignAll(t.Context(), append(first, events[2]), sign)
	if err != nil || !changed || calls != 3 || fmt.Sprint(again[:2]) != fmt.Sprint(first) {
		t.Errorf("changed %v by %d calls, error %v", changed, calls, err)
	}
	if _, _, err := audit.SignAll(t.Context(), []audit.Event{deed(t, "openai", 1)}, sign); err == nil || !strings.Contains(err.Error(), "there is nothing to sign") {
		t.Errorf("without a chain: got %v", err)
	}
}

func TestWhatIsNoPublicKey(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":       {nil, "there is no block PUBLIC KEY"},
		"a private key": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("canary")}), "there is a block PRIVATE KEY"},
		"garbage":       {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("canary")}), "holds no public key"},
		"another curve": {publicPEM(t, &curve.PublicKey), "another curve than P-256"},
		"a short key":   {publicPEM(t, &short.PublicKey), "1024 bits, and 2048 are the least"},
	} {
		if keys, err := audit.ParseKeys(test.text); err == nil || keys != nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, error %v", name, keys, err)
		}
	}
}

// FuzzVerify: whatever becomes of a trail, when its anchor finds nothing then nothing is missing and nothing was changed.
func FuzzVerify(f *testing.F) {
	events, head := chained(f, "openai", 4)
	var lines [][]byte
	original := map[string]bool{}
	for _, e := range events {
		line, err := e.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		hash, err := audit.Hash(e)
		if err != nil {
			f.Fatal(err)
		}
		lines, original[hash] = append(lines, line), true
	}
	f.Add([]byte{0, 1, 2, 3}, 0, "")
	f.Add([]byte{0, 2, 3}, 0, "")
	f.Add([]byte{1, 0, 2, 3, 3}, 0, "")
	f.Add([]byte{0, 1, 1, 2, 3}, len(lines[0])+1+bytes.Index(lines[1], []byte("deleted")), "d")
	f.Add([]byte{0, 1, 2, 3}, len(lines[0])+1+bytes.Index(lines[1], []byte(`"seq":2`)), `"seq":3`)
	f.Add([]byte{0, 1, 2, 3}, bytes.Index(lines[0], []byte(`"seq":1`)), `"x":{} `)
	f.Fuzz(func(t *testing.T, order []byte, offset int, patch string) {
		var text []byte
		for _, number := range order[:min(len(order), 16)] {
			text = append(append(text, lines[int(number)%len(lines)]...), '\n')
		}
		if offset >= 0 && offset < len(text) {
			copy(text[offset:], patch)
		}
		var read []audit.Event
		for line := range bytes.Lines(text) {
			var e audit.Event
			if e.UnmarshalJSON(line) == nil {
				read = append(read, e)
			}
		}
		for _, anyOrder := range []bool{false, true} {
			report := audit.Verifier{Anchors: []audit.Anchor{anchor(head, "openai")}, AnyOrder: anyOrder}.Verify(recorded(read...))
			if report.Linked+report.Repeated+report.Unlinked > len(read) {
				t.Errorf("%d events are counted as %+v", len(read), report)
			}
			if len(report.Findings) > 0 {
				continue
			}
			left := len(original)
			for _, hash := range distinct(t, read, head.Chain) {
				if !original[hash] {
					t.Errorf("nothing was found in\n%s", text)
				}
				left--
			}
			if left != 0 {
				t.Errorf("%d events are missing, and nothing was found in\n%s", left, text)
			}
		}
	})
}

// distinct returns the hashes of the different events of a chain up to the place of the fourth, which is where the anchor is.
func distinct(t *testing.T, events []audit.Event, chain string) []string {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range events {
		var data struct {
			Chain audit.Place `json:"chain"`
		}
		if json.Unmarshal(e.Data, &data) != nil || data.Chain.Chain != chain || data.Chain.Seq > 4 {
			continue
		}
		hash, err := audit.Hash(e)
		if err != nil {
			t.Fatal(err)
		}
		seen[hash] = true
	}
	var hashes []string
	for hash := range seen {
		hashes = append(hashes, hash)
	}
	return hashes
}
