package trail_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/trail"
	"github.com/postern-ai/postern/shared/audit"
)

// line is an event on a line, by its id.
func line(id string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"T","subject":"openai","time":"2026-03-04T05:06:07Z","dataschema":"urn:postern:event:T:1","data":{"a":1}}`, id)
}

// published is the same as Pub/Sub has it.
func published(id string) string {
	return fmt.Sprintf(`{"attributes":{"content-type":"application/json","ce-specversion":"1.0","ce-id":%q,"ce-source":"/s","ce-type":"T","ce-subject":"openai",`+
		`"ce-time":"2026-03-04T05:06:07Z","ce-dataschema":"urn:postern:event:T:1","googclient_schemaencoding":"JSON"},"data":%q,"messageId":"1"}`,
		id, base64.StdEncoding.EncodeToString([]byte(`{"a":1}`)))
}

func TestEvents(t *testing.T) {
	t.Parallel()
	var indented bytes.Buffer
	indented.WriteString("\n[\n  " + line("1") + ",\n  " + strings.ReplaceAll(line("2"), ",", ",\n    ") + ",\n  7,\n  " + line("3") + "\n]\n")
	for _, test := range []struct {
		name, text string
		want       []string // the lines and ids of the events
		faults     string
		others     int
	}{
		{"lines", line("1") + "\n" + line("2") + "\n", []string{"1 1", "2 2"}, "[]", 0},
		{"no end of the last line, and empty ones", "\n" + line("1") + "\r\n\n  \n" + line("2"), []string{"2 1", "5 2"}, "[]", 0},
		{"nothing", "", nil, "[]", 0},
		{"nothing but space", " \n\t\n", nil, "[]", 0},
		{"envelopes of EventBridge", `{"version":"0","id":"x","detail-type":"T","source":"ai.postern.gateway","detail":` + line("1") + "}\n" + line("2"), []string{"1 1", "2 2"}, "[]", 0},
		{"another event of EventBridge", `{"detail-type":"Scheduled Event","detail":{"a":1}}`, nil, "[]", 1},
		{"a message of Pub/Sub", published("1"), []string{"1 1"}, "[]", 0},
		{"a message that Pub/Sub pushed", `{"message":` + published("1") + `,"subscription":"s"}`, []string{"1 1"}, "[]", 0},
		{"another message of Pub/Sub", `{"message":{"attributes":{"a":"b"},"data":"e30="}}` + "\n" + `{"attributes":{"a":"b"}}`, nil, "[]", 2},
		{"a message whose data is no JSON", strings.Replace(published("1"), `"data":"`, `"data":"AAAA`, 1), nil, "[line 1: unreadable: the data of its message is not JSON]", 0},
		{"lines of a log between them", `{"level":"INFO","message":"x"}` + "\n" + line("1") + "\n" + `{"message":{"a":1}}`, []string{"2 1"}, "[]", 2},
		{"a line that was cut off", line("1")[:40] + "\n" + line("2"), []string{"2 2"}, "[line 1: unreadable: it is not a JSON object]", 0},
		{"two events on one line", line("1") + line("2") + "\n" + line("3"), []string{"2 3"}, "[line 1: unreadable: it is not a JSON object]", 0},
		{"an event that is none", strings.Replace(line("1"), `"id":"1",`, "", 1), nil, `[line 1: unreadable: audit event "T": id is missing]`, 0},
		{"a line that is too long", strings.Repeat("x", 1<<20) + "\n" + line("2"), []string{"2 2"}, "[line 1: unreadable: it is longer than 262144 bytes]", 0},
		{"an array on one line", "[" + line("1") + "," + line("2") + "]", []string{"1 1", "1 2"}, "[]", 0},
		{"an array on many lines", indented.String(), []string{"3 1", "4 2", "13 3"}, "[line 12: unreadable: it is not a JSON object]", 0},
		{"an array that was cut off", "[" + line("1") + ",\n" + line("2")[:40], []string{"1 1"}, "[line 1: unreadable: what comes after it is not JSON, and is not read]", 0},
		{"an empty array", "[]", nil, "[]", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for name, from := range map[string]io.Reader{"at once": strings.NewReader(test.text), "byte by byte": iotest.OneByteReader(strings.NewReader(test.text))} {
				var r trail.Reader
				var got []string
				for recorded := range r.Events(from) {
					got = append(got, fmt.Sprint(recorded.Line, " ", recorded.Event.ID))
					if e := recorded.Event; e.Subject != "openai" || e.Schema != "urn:postern:event:T:1" || string(e.Data) != `{"a":1}` {
						t.Errorf("%s: got %+v", name, e)
					}
				}
				if d := cmp.Diff(test.want, got); d != "" {
					t.Errorf("%s (-want +got):\n%s", name, d)
				}
				if fmt.Sprint(r.Faults) != test.faults || r.Others != test.others || r.Err != nil {
					t.Errorf("%s: faults %v, others %d, error %v", name, r.Faults, r.Others, r.Err)
				}
			}
		})
	}
}

func TestReadingThatFailsIsAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("input/output error")
	var r trail.Reader
	events := slices.Collect(r.Events(io.MultiReader(strings.NewReader(line("1")+"\n"), iotest.ErrReader(broken))))
	if len(events) != 1 || !errors.Is(r.Err, broken) {
		t.Errorf("got %d events, error %v", len(events), r.Err)
	}
}

func TestReadingEndsWhenTheReaderHasEnough(t *testing.T) {
	t.Parallel()
	for _, text := range []string{line("1") + "\n" + line("2"), "[" + line("1") + "," + line("2") + "]"} {
		var r trail.Reader
		for recorded := range r.Events(strings.NewReader(text)) {
			if recorded.Event.ID != "1" {
				t.Errorf("went on to %s", recorded.Event.ID)
			}
			break
		}
	}
}

// FuzzEvents: what is read is valid, and reading it again from lines of its own
// is the same.
func FuzzEvents(f *testing.F) {
	f.Add(line("1"))
	f.Add("[" + line("1") + "]")
	f.Add(`{"detail-type":"T","detail":` + line("1") + "}")
	f.Add(published("1"))
	f.Fuzz(func(t *testing.T, text string) {
		var r trail.Reader
		var lines []string
		for recorded := range r.Events(strings.NewReader(text)) {
			if recorded.Line < 1 || recorded.Line > strings.Count(text, "\n")+1 {
				t.Errorf("an event at line %d of\n%s", recorded.Line, text)
			}
			encoded, err := recorded.Event.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(encoded))
		}
		var again trail.Reader
		n := 0
		for recorded := range again.Events(strings.NewReader(strings.Join(lines, "\n"))) {
			hash, err := audit.Hash(recorded.Event)
			var first audit.Event
			if err == nil {
				err = first.UnmarshalJSON([]byte(lines[n]))
			}
			if want, _ := audit.Hash(first); err != nil || hash != want {
				t.Errorf("event %d was read as %+v, error %v", n, recorded.Event, err)
			}
			n++
		}
		if n != len(lines) || len(again.Faults) != 0 {
			t.Errorf("%d of %d events are read again, with %v", n, len(lines), again.Faults)
		}
	})
}
