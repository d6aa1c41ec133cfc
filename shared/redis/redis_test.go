package redis

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRepliesOfAServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sent string
		want Reply
		err  error
	}{
		"a status":                         {sent: "+OK\r\n", want: Reply{Text: "OK"}},
		"a number":                         {sent: ":-2\r\n", want: Reply{Number: -2}},
		"a value with a line break":        {sent: "$4\r\na\r\nb\r\n", want: Reply{Text: "a\r\nb"}},
		"an empty value":                   {sent: "$0\r\n\r\n"},
		"no value":                         {sent: "$-1\r\n", want: Reply{Null: true}},
		"an error":                         {sent: "-WRONGTYPE Operation against a key\r\n", err: &Refusal{Code: "WRONGTYPE"}},
		"an error without a code":          {sent: "-unknown command\r\n", err: &Refusal{Code: "ERR"}},
		"an error without anything":        {sent: "- \r\n", err: &Refusal{Code: "ERR"}},
		"another node":                     {sent: "-MOVED 1 host:6379\r\n", err: &Refusal{Code: "MOVED", Address: "host:6379"}},
		"a list":                           {sent: "*1\r\n+OK\r\n", err: ErrProtocol},
		"a map of version 3":               {sent: "%1\r\n", err: ErrProtocol},
		"no kind":                          {sent: "\r\n", err: ErrProtocol},
		"a line that ends too simply":      {sent: "+OK\n", err: ErrProtocol},
		"a number that is none":            {sent: ":one\r\n", err: ErrProtocol},
		"a length that is none":            {sent: "$one\r\n", err: ErrProtocol},
		"a length below none":              {sent: "$-2\r\n", err: ErrProtocol},
		"a length above all":               {sent: "$65537\r\n", err: ErrProtocol},
		"a value longer than it says":      {sent: "$1\r\nabc\r\n", err: ErrProtocol},
		"a line longer than any should be": {sent: "+" + strings.Repeat("x", maxLine) + "\r\n", err: ErrProtocol},
	} {
		got, err := newConn(conversation{strings.NewReader(test.sent)}).exchange([]string{"PING"})
		if got != test.want {
			t.Errorf("%s: got %+v", name, got)
		}
		if refused, ok := errors.AsType[*Refusal](err); ok && test.err != nil {
			if diff := cmp.Diff(test.err, error(refused), cmp.AllowUnexported(Refusal{})); diff != "" {
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
		w := newConn(conversation{strings.NewReader(sent)})
		got, err := w.exchange([]string{"PING"})
		if refused, ok := errors.AsType[*Refusal](err); ok && strings.Trim(refused.Code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			t.Errorf("the code is %q", refused.Code)
		}
		if len(got.Text) > MaxValue || err != nil && got != (Reply{}) {
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
		if len(first)+len(second) > MaxValue {
			t.Skip("longer than what is read back")
		}
		w := &Conn{reader: bufio.NewReaderSize(strings.NewReader(text), maxLine)}
		for _, want := range []string{first, second} {
			line, err := w.line()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := w.bulk(line[1:]); err != nil || got.Text != want {
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
		server, err := New(Options{URL: test.url})
		if err != nil {
			t.Fatal(err)
		}
		if got := server.mayFollow(&Refusal{Code: "MOVED", Address: test.address}); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ url, want string }{
		"TLS":                      {url: "rediss://cache.example:6380/2"},
		"TLS on the usual port":    {url: "rediss://cache.example"},
		"this machine":             {url: "redis://127.0.0.1:6379/0"},
		"this machine by name":     {url: "redis://LocalHost"},
		"clear text to elsewhere":  {"redis://cache.example", "the Redis server is on another machine; use rediss://, which is Redis over TLS"},
		"a password in the URL":    {"rediss://user:password@cache.example", "the address of the Redis server is not a URL of the form rediss://host:port/database"},
		"no host":                  {"rediss://", "the address of the Redis server is not a URL of the form rediss://host:port/database"},
		"another scheme":           {"https://cache.example", "the address of the Redis server does not begin with rediss://"},
		"a database with a name":   {"rediss://cache.example/tokens", "the path in the address of the Redis server is not the number of a database"},
		"a database below nothing": {"rediss://cache.example/-1", "the path in the address of the Redis server is not the number of a database"},
	} {
		_, err := New(Options{URL: test.url})
		if got := fmt.Sprint(err); got != test.want && (test.want != "" || err != nil) {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestAServerThatFailedIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pause
		for _, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
			if p.Resting() {
				t.Fatal("it rests before it has failed")
			}
			p.Failed()
			if until := p.Failed(); time.Until(until) != want || !p.Resting() {
				t.Errorf("it rests for %s, want %s", time.Until(until), want)
			}
			time.Sleep(want)
		}
		p.Worked()
		if until := p.Failed(); time.Until(until) != 5*time.Second {
			t.Errorf("after it has worked it rests for %s", time.Until(until))
		}
	})
}

func TestAPauseEndsEvenWhenTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	p := &Pause{until: wall().Add(time.Hour)}
	if p.Resting() {
		t.Error("it lasts for an hour")
	}
	p.until = wall().Add(lastPause / 2)
	if !p.Resting() {
		t.Error("it does not last at all")
	}
}
