package ledgertest

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/ledger"
)

// content is what a record says in these tests.
func content(text string) []byte { return []byte(Canary + " " + text) }

// save saves a record and expects that it works.
func save(t *testing.T, l ledger.Ledger, record ledger.Record) ledger.Record {
	t.Helper()
	saved, err := l.Save(t.Context(), "key", record)
	if err != nil {
		t.Fatalf("save: %v", err)
	}
	if saved.Revision == "" || saved.Revision == record.Revision {
		t.Fatalf("the revision after %q is %q", record.Revision, saved.Revision)
	}
	return saved
}

// want loads the record and compares it.
func want(t *testing.T, l ledger.Ledger, record ledger.Record) {
	t.Helper()
	got, err := l.Load(t.Context(), "key")
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if !bytes.Equal(got.Data, record.Data) || got.Revision != record.Revision || !got.Expires.Equal(record.Expires) {
		t.Errorf("loaded %d bytes %.60q of revision %q until %v\nwant %d bytes %.60q of revision %q until %v",
			len(got.Data), got.Data, got.Revision, got.Expires, len(record.Data), record.Data, record.Revision, record.Expires)
	}
}

// wantError expects an error of a kind, which tells nothing that it must not.
func wantError(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	wantTold(t, err)
}

// sentinels are the kinds of errors that say what became of a record.
var sentinels = []error{ledger.ErrNotFound, ledger.ErrConflict, ledger.ErrUncertain}

// wantPlain expects an error that says nothing of what became of a record.
func wantPlain(t *testing.T, err error) {
	t.Helper()
	for _, kind := range sentinels {
		if errors.Is(err, kind) {
			t.Errorf("the error is %q: %v", kind, err)
		}
	}
	wantTold(t, err)
}

func wantTold(t *testing.T, err error) {
	t.Helper()
	told, ok := errors.AsType[*ledger.Error](err)
	if !ok || told.Reason == "" || !strings.Contains(err.Error(), strconv.Quote(told.Key)) {
		t.Errorf("the error does not name the record: %v", err)
	}
	if strings.Contains(err.Error(), Canary) {
		t.Errorf("the error tells too much: %v", err)
	}
}

func testSaved(t *testing.T, w World) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	last := ledger.Record{}
	for _, data := range [][]byte{content("one"), {}, every, bytes.Repeat([]byte{0}, ledger.MaxData), bytes.Repeat([]byte{0xff}, ledger.MaxData)} {
		for _, after := range []time.Duration{0, 100 * time.Millisecond, time.Second, 24 * time.Hour} {
			record := ledger.Record{Data: data, Revision: last.Revision}
			if after > 0 {
				record.Expires = time.Now().Add(after)
			}
			saved := save(t, w.Ledger, record)
			if early := record.Expires.Sub(saved.Expires); early > 0 || early <= -time.Second {
				t.Errorf("it expires %v early", early)
			}
			if !bytes.Equal(saved.Data, data) {
				t.Errorf("Save returns %d bytes", len(saved.Data))
			}
			want(t, w.Another, saved)
			last = saved
		}
	}
}

func testMissing(t *testing.T, w World) {
	_, err := w.Ledger.Load(t.Context(), "key")
	wantError(t, err, ledger.ErrNotFound)
	_, err = w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("x"), Revision: save(t, w.Ledger, ledger.Record{}).Revision + "0"})
	if err == nil {
		t.Error("a record was saved under a revision that it never had")
	}
	wantTold(t, err)
}

func testMadeOnce(t *testing.T, w World) {
	first := save(t, w.Ledger, ledger.Record{Data: content("one")})
	_, err := w.Another.Save(t.Context(), "key", ledger.Record{Data: content("two")})
	wantError(t, err, ledger.ErrConflict)
	want(t, w.Ledger, first)
}

func testStale(t *testing.T, w World) {
	first := save(t, w.Ledger, ledger.Record{Data: content("one")})
	second := save(t, w.Another, ledger.Record{Data: content("one"), Revision: first.Revision})
	for _, l := range []ledger.Ledger{w.Ledger, w.Another} {
		_, err := l.Save(t.Context(), "key", ledger.Record{Data: content("three"), Revision: first.Revision})
		wantError(t, err, ledger.ErrConflict)
		wantError(t, l.Delete(t.Context(), "key", first), ledger.ErrConflict)
	}
	want(t, w.Ledger, second)
}

func testDeleted(t *testing.T, w World) {
	wantPlain(t, w.Ledger.Delete(t.Context(), "key", ledger.Record{}))
	first := save(t, w.Ledger, ledger.Record{Data: content("one")})
	for range 2 {
		if err := w.Another.Delete(t.Context(), "key", first); err != nil {
			t.Fatalf("delete: %v", err)
		}
		_, err := w.Ledger.Load(t.Context(), "key")
		wantError(t, err, ledger.ErrNotFound)
	}
	_, err := w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("two"), Revision: first.Revision})
	wantError(t, err, ledger.ErrConflict)
	again := save(t, w.Ledger, ledger.Record{Data: content("one")})
	if again.Revision == first.Revision {
		t.Errorf("a revision has come back: %q", first.Revision)
	}
	wantError(t, w.Another.Delete(t.Context(), "key", first), ledger.ErrConflict)
	want(t, w.Ledger, again)
}

func testExpired(t *testing.T, w World) {
	sweeps := []func(){func() {}}
	if w.Sweep != nil {
		sweeps = append(sweeps, w.Sweep)
	}
	last := ledger.Record{}
	for i, sweep := range sweeps {
		saved := save(t, w.Ledger, ledger.Record{Data: content("one"), Expires: time.Now().Add(time.Minute)})
		time.Sleep(time.Until(saved.Expires) - 1)
		sweep()
		want(t, w.Another, saved)
		time.Sleep(1 + time.Second)
		sweep()
		_, err := w.Another.Load(t.Context(), "key")
		wantError(t, err, ledger.ErrNotFound)
		last = save(t, w.Another, ledger.Record{Data: content("two"), Expires: time.Now().Add(time.Second)})
		_, err = w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("three"), Revision: saved.Revision})
		wantError(t, err, ledger.ErrConflict)
		_, err = w.Ledger.Save(t.Context(), "key", ledger.Record{Data: content("three")})
		wantError(t, err, ledger.ErrConflict)
		want(t, w.Ledger, last)
		if i < len(sweeps)-1 {
			if err := w.Ledger.Delete(t.Context(), "key", last); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func testLimits(t *testing.T, w World) {
	long := strings.Repeat("k", ledger.MaxKey)
	for _, key := range []string{
		"", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a.", "a/b.", ".a", "a b", "a?b", "a#b", "a%2Fb", "a\\b", "ä", "a\n", "a\x00", "a+b", long + "k",
	} {
		_, err := w.Ledger.Load(t.Context(), key)
		wantPlain(t, err)
		_, err = w.Ledger.Save(t.Context(), key, ledger.Record{})
		wantPlain(t, err)
		wantPlain(t, w.Ledger.Delete(t.Context(), key, ledger.Record{Revision: "1"}))
	}
	for _, record := range []ledger.Record{
		{Data: make([]byte, ledger.MaxData+1)},
		{Expires: time.Now()},
		{Expires: time.Now().Add(-time.Hour)},
		{Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := w.Ledger.Save(t.Context(), "key", record)
		wantPlain(t, err)
	}
	if n := w.Calls(); n != 0 {
		t.Errorf("it took %d requests to refuse them", n)
	}
	if _, err := w.Ledger.Save(t.Context(), long, ledger.Record{Data: content("x")}); err != nil {
		t.Errorf("the longest key: %v", err)
	}
	if _, err := w.Another.Load(t.Context(), long); err != nil {
		t.Errorf("the longest key: %v", err)
	}
}

func testAlike(t *testing.T, w World) {
	keys := []string{"a", "A", "a/b", "a:b", "a_b", "a=b", "a@b", "a-b", "a.b", "a/b/c", "a/b:c", "a/b=c", "events/sqs:3f-1", "rotation/openai@prod/eu", "a/B", "a-"}
	for _, key := range keys {
		if _, err := w.Ledger.Save(t.Context(), key, ledger.Record{Data: content(key)}); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range keys {
		if got, err := w.Another.Load(t.Context(), key); err != nil || string(got.Data) != string(content(key)) {
			t.Errorf("%q has %q, error %v", key, got.Data, err)
		}
	}
	for _, key := range keys {
		got, err := w.Another.Load(t.Context(), key)
		if err == nil {
			err = w.Ledger.Delete(t.Context(), key, got)
		}
		if err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func testWriters(t *testing.T, w World) {
	last := ledger.Record{}
	for round := range 5 {
		var (
			mu   sync.Mutex
			won  []ledger.Record
			work sync.WaitGroup
		)
		for i := range 8 {
			work.Go(func() {
				l := []ledger.Ledger{w.Ledger, w.Another}[i%2]
				saved, err := l.Save(t.Context(), "key", ledger.Record{Data: content(strconv.Itoa(round*10 + i)), Revision: last.Revision})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, saved)
				} else if !errors.Is(err, ledger.ErrConflict) {
					t.Errorf("got %v", err)
				}
			})
		}
		work.Wait()
		if len(won) != 1 {
			t.Fatalf("%d writers have won", len(won))
		}
		want(t, w.Ledger, won[0])
		last = won[0]
	}
}

func testCounting(t *testing.T, w World) {
	const writers, each = 6, 5
	var work sync.WaitGroup
	for i := range writers {
		work.Go(func() {
			l := []ledger.Ledger{w.Ledger, w.Another}[i%2]
			for done := 0; done < each; {
				record, err := l.Load(t.Context(), "key")
				if err != nil && !errors.Is(err, ledger.ErrNotFound) {
					t.Errorf("load: %v", err)
					return
				}
				n, _ := strconv.Atoi(string(record.Data))
				record.Data = []byte(strconv.Itoa(n + 1))
				switch _, err = l.Save(t.Context(), "key", record); {
				case err == nil:
					done++
				case !errors.Is(err, ledger.ErrConflict):
					t.Errorf("save: %v", err)
					return
				}
			}
		})
	}
	work.Wait()
	got, err := w.Ledger.Load(t.Context(), "key")
	if err != nil || string(got.Data) != strconv.Itoa(writers*each) {
		t.Errorf("counted to %q, error %v", got.Data, err)
	}
}
