package redistokens

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

func testKeys(t testing.TB) keys {
	t.Helper()
	keys, err := parseKey(secrets.NewValue(strings.Repeat("ab", keyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func sample() entry {
	return entry{issued: time.UnixMilli(1_000_000), token: identity.Token{
		Value: secrets.NewValue("token"), Type: "Bearer", Expires: time.UnixMilli(4_600_000),
		Principal: identity.Principal{Name: "name", Source: "source"},
	}}
}

func TestASealedTokenOpensUnchanged(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	box, err := keys.seal("name", sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.open("name", box)
	if err != nil {
		t.Fatal(err)
	}
	equal := cmp.Comparer(func(a, b secrets.Value) bool { return a.Equal(b) })
	if diff := cmp.Diff(sample().token, got.token, equal); diff != "" || !got.issued.Equal(sample().issued) {
		t.Errorf("issued %v, and:\n%s", got.issued, diff)
	}
	again, err := keys.seal("name", sample())
	if err != nil || again == box {
		t.Errorf("sealed twice it is the same; error %v", err)
	}
}

func TestAnyOtherByteMakesASealedTokenUnusable(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	box, err := keys.seal("name", sample())
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(box) {
		changed := []byte(box)
		changed[i] ^= 1
		if _, err := keys.open("name", string(changed)); err == nil {
			t.Errorf("byte %d does not matter", i)
		}
		if _, err := keys.open("name", box[:i]); err == nil {
			t.Errorf("%d bytes of it are enough", i)
		}
	}
}

func TestASealedTokenThatFitsIntoNoHeaderIsUnusable(t *testing.T) {
	t.Parallel()
	keys, e := testKeys(t), sample()
	e.token.Value = secrets.NewValue("a\r\nb")
	box, err := keys.seal("name", e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.open("name", box); err == nil {
		t.Error("it opens")
	}
}

func TestAPauseEndsEvenWhenTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	c := &Cache{until: wall().Add(time.Hour)}
	if c.resting() {
		t.Error("it lasts for an hour")
	}
	c.until = wall().Add(lastPause / 2)
	if !c.resting() {
		t.Error("it does not last at all")
	}
}

func FuzzOpen(f *testing.F) {
	keys := testKeys(f)
	box, err := keys.seal("name", sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(box)
	f.Add(box[1:])
	f.Add("\x01")
	f.Fuzz(func(t *testing.T, data string) {
		if _, err := keys.open("name", data); err == nil && data != box {
			t.Errorf("%q opens", data)
		}
	})
}

func TestRepliesOfAServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sent string
		want reply
		err  error
	}{
		"a status":                         {sent: "+OK\r\n", want: reply{text: "OK"}},
		"a number":                         {sent: ":-2\r\n", want: reply{number: -2}},
		"a value with a line break":        {sent: "$4\r\na\r\nb\r\n", want: reply{text: "a\r\nb"}},
		"an empty value":                   {sent: "$0\r\n\r\n"},
		"no value":                         {sent: "$-1\r\n", want: reply{null: true}},
		"an error":                         {sent: "-WRONGTYPE Operation against a key\r\n", err: &refusal{code: "WRONGTYPE"}},
		"an error without a code":          {sent: "-unknown command\r\n", err: &refusal{code: "ERR"}},
		"an error without anything":        {sent: "- \r\n", err: &refusal{code: "ERR"}},
		"another node":                     {sent: "-MOVED 1 host:6379\r\n", err: &refusal{code: "MOVED", address: "host:6379"}},
		"a list":                           {sent: "*1\r\n+OK\r\n", err: errProtocol},
		"a map of version 3":               {sent: "%1\r\n", err: errProtocol},
		"no kind":                          {sent: "\r\n", err: errProtocol},
		"a line that ends too simply":      {sent: "+OK\n", err: errProtocol},
		"a number that is none":            {sent: ":one\r\n", err: errProtocol},
		"a length that is none":            {sent: "$one\r\n", err: errProtocol},
		"a length below none":              {sent: "$-2\r\n", err: errProtocol},
		"a length above all":               {sent: "$65537\r\n", err: errProtocol},
		"a value longer than it says":      {sent: "$1\r\nabc\r\n", err: errProtocol},
		"a line longer than any should be": {sent: "+" + strings.Repeat("x", maxLine) + "\r\n", err: errProtocol},
	} {
		got, err := newWire(conversation{strings.NewReader(test.sent)}).exchange([]string{"PING"})
		if got != test.want {
			t.Errorf("%s: got %+v", name, got)
		}
		if refused, ok := errors.AsType[*refusal](err); ok && test.err != nil {
			if diff := cmp.Diff(test.err, error(refused), cmp.AllowUnexported(refusal{})); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			continue
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", name, err, test.err)
		}
	}
}

// conversation is a connection on which everything has been said already.
type conversation struct{ *strings.Reader }

func (conversation) Write(p []byte) (int, error)        { return len(p), nil }
func (conversation) Close() error                       { return nil }
func (conversation) LocalAddr() net.Addr                { return nil }
func (conversation) RemoteAddr() net.Addr               { return nil }
func (conversation) SetDeadline(time.Time) error        { return nil }
func (conversation) SetReadDeadline(t time.Time) error  { return nil }
func (conversation) SetWriteDeadline(t time.Time) error { return nil }

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", ":1\r\n", "$1\r\na\r\n", "$-1\r\n", "-ERR x\r\n", "-MOVED 1 [::1]:1\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		w := newWire(conversation{strings.NewReader(sent)})
		got, err := w.exchange([]string{"PING"})
		if refused, ok := errors.AsType[*refusal](err); ok && strings.Trim(refused.code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			t.Errorf("the code is %q", refused.code)
		}
		if len(got.text) > maxBulk || err != nil && got != (reply{}) {
			t.Errorf("got %+v and error %v", got, err)
		}
	})
}

func FuzzCommand(f *testing.F) {
	f.Add("SET", "a\r\nb")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, first, second string) {
		// Each word is a value, so what encodes a command also reads back as values.
		text, ok := strings.CutPrefix(string(encode([]string{first, second})), "*2\r\n")
		if !ok {
			t.Fatalf("a command of two words begins otherwise: %.40q", text)
		}
		if len(first)+len(second) > maxBulk {
			t.Skip("longer than what is read back")
		}
		w := &wire{reader: bufio.NewReaderSize(strings.NewReader(text), maxLine)}
		for _, want := range []string{first, second} {
			line, err := w.line()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := w.bulk(line[1:]); err != nil || got.text != want {
				t.Errorf("got %+v and error %v, want %q", got, err, want)
			}
		}
	})
}

func TestWhereAClusterMayLead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		url, address string
		want         bool
	}{
		"elsewhere over TLS":             {"rediss://cache.example", "10.0.0.1:6379", true},
		"elsewhere without TLS":          {"redis://localhost", "10.0.0.1:6379", false},
		"to a host's name without TLS":   {"redis://localhost", "cache.example:6379", false},
		"to another port of this server": {"redis://localhost", ":6380", true},
		"to this machine":                {"redis://localhost", "127.0.0.1:6380", true},
		"nowhere":                        {"rediss://cache.example", "", false},
	} {
		cache, err := New(Options{URL: test.url, Key: func(context.Context) (secrets.Value, error) { return secrets.Value{}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if got := (&session{cache: cache}).mayFollow(&refusal{code: "MOVED", address: test.address}); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
