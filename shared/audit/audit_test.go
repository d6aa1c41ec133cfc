package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/audittest"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

var at = time.Date(2026, 3, 4, 6, 6, 7, 89_123_456, time.FixedZone("", 3600))

func rotated(t *testing.T) audit.TokenRotated {
	t.Helper()
	fingerprints, err := audit.NewFingerprints([]byte("deployment"))
	if err != nil {
		t.Fatal(err)
	}
	return audit.TokenRotated{
		Function: audit.Origin{Cloud: "aws", Account: "123456789012", Region: "eu-central-1", Name: "postern-gateway", Version: "v1.4.0"},
		Upstream: "chat", Provider: "azure-openai", AuthType: "azure_ad", CredentialRef: "aws-sm://entra-client",
		Principal: audit.Principal{Name: "11111111-2222-3333-4444-555555555555", Source: "client secret"},
		Reason:    audit.ReasonPreExpiry,
		Old:       audit.Token{Fingerprint: fingerprints.Of("old token"), Expires: at.Add(time.Minute)},
		New:       audit.Token{Fingerprint: fingerprints.Of("new token"), Expires: at.Add(time.Hour)},
	}
}

func TestATokenRotatedIsThisEvent(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/token_rotated.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		event func() audit.TokenRotated
	}{
		{"everything.json", func() audit.TokenRotated { return rotated(t) }},
		{"the_least.json", func() audit.TokenRotated {
			least := rotated(t)
			least.Function = audit.Origin{Cloud: "gcp", Name: "gate way"}
			least.AuthType, least.CredentialRef, least.Principal.Source = "", "", ""
			least.Old.Expires, least.New.Expires = time.Time{}, time.Time{}
			return least
		}},
	} {
		e, err := test.event().Event(at)
		if err != nil {
			t.Fatal(err)
		}
		line, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, line, "", "  "); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == test.name })
		if i < 0 {
			t.Fatalf("no golden file %s", test.name)
		}
		pretty.WriteByte('\n')
		if *update {
			archive.Files[i].Data = pretty.Bytes()
			continue
		}
		if diff := cmp.Diff(string(archive.Files[i].Data), pretty.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/token_rotated.txtar", txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInstancesThatReportOneReplacementReportOneEvent(t *testing.T) {
	t.Parallel()
	id := func(change func(*audit.TokenRotated)) string {
		r := rotated(t)
		change(&r)
		e, err := r.Event(at)
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	first := id(func(*audit.TokenRotated) {})
	if later := id(func(r *audit.TokenRotated) { r.Reason = audit.ReasonExpired }); later != first {
		t.Errorf("the same tokens are %s and %s", first, later)
	}
	for name, change := range map[string]func(*audit.TokenRotated){
		"another upstream":  func(r *audit.TokenRotated) { r.Upstream = "other" },
		"another function":  func(r *audit.TokenRotated) { r.Function.Region = "us-east-1" },
		"another old token": func(r *audit.TokenRotated) { r.Old.Fingerprint = "1" },
		"another new token": func(r *audit.TokenRotated) { r.New.Fingerprint = "1" },
		"the other way":     func(r *audit.TokenRotated) { r.Old, r.New = r.New, r.Old },
	} {
		if id(change) == first {
			t.Errorf("%s: the same id", name)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, parts := range [][]string{nil, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"ab", ""}, {"", "ab"}} {
		id := audit.ID(parts...)
		if len(id) != 36 || id[14] != '8' || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Errorf("%q is no UUID of version 8", id)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %s have the same id", parts, other)
		}
		seen[id] = fmt.Sprintf("%q", parts)
	}
}

func TestFingerprintsTellCredentialsApartAndNothingElse(t *testing.T) {
	t.Parallel()
	make := func(key string) audit.Fingerprints {
		f, err := audit.NewFingerprints([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := make("key")
	if got := f.Of("a"); len(got) != 16 || got != make("key").Of("a") || got == f.Of("b") || got == make("other").Of("a") {
		t.Errorf("got %s", got)
	}
	if got := f.Of(""); got != "" {
		t.Errorf("no credential has the fingerprint %s", got)
	}
}

func TestWhatIsNoCloudEventIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*audit.Event)
		want   string
	}{
		"no id":                     {func(e *audit.Event) { e.ID = "" }, "id is missing"},
		"no source":                 {func(e *audit.Event) { e.Source = "" }, "source is missing"},
		"a source that is no URI":   {func(e *audit.Event) { e.Source = "%zz" }, "source is not a URI reference"},
		"no type":                   {func(e *audit.Event) { e.Type = "" }, "type is missing"},
		"no time":                   {func(e *audit.Event) { e.Time = time.Time{} }, "time is missing"},
		"no data":                   {func(e *audit.Event) { e.Data = nil }, "data is not a JSON object"},
		"data that is a list":       {func(e *audit.Event) { e.Data = jsontext.Value("[]") }, "data is not a JSON object"},
		"data that is half":         {func(e *audit.Event) { e.Data = jsontext.Value(`{"a":`) }, "data is not a JSON object"},
		"data with a name twice":    {func(e *audit.Event) { e.Data = jsontext.Value(`{"a":1,"a":2}`) }, "data is not a JSON object"},
		"a line break in a subject": {func(e *audit.Event) { e.Subject = "a\nb" }, "subject has characters that no attribute may have"},
		"half a character":          {func(e *audit.Event) { e.ID = "\xff" }, "id has characters that no attribute may have"},
		"a noncharacter":            {func(e *audit.Event) { e.Type = "\ufffe" }, "type has characters that no attribute may have"},
		"too much": {func(e *audit.Event) { e.Data = jsontext.Value(`{"a":"` + strings.Repeat("x", audit.MaxEvent) + `"}`) },
			"no bus has to take more than 65536"},
	} {
		e, err := rotated(t).Event(at)
		if err != nil {
			t.Fatal(err)
		}
		test.change(&e)
		if err := e.Validate(); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWhatIsNotReadAsAnEvent(t *testing.T) {
	t.Parallel()
	good := `{"specversion":"1.0","id":"1","source":"/s","type":"T","time":"2026-03-04T05:06:07Z","data":{}}`
	var e audit.Event
	if err := json.Unmarshal([]byte(good), &e); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"another version":        strings.Replace(good, `"1.0"`, `"0.3"`, 1),
		"an attribute of others": strings.Replace(good, `"id"`, `"extension":"x","id"`, 1),
		"a name twice":           strings.Replace(good, `"id"`, `"id":"2","id"`, 1),
		"another kind of data":   strings.Replace(good, `"data"`, `"datacontenttype":"text/plain","data"`, 1),
		"a time that is none":    strings.Replace(good, "2026", "year", 1),
		"no data":                strings.Replace(good, `,"data":{}`, "", 1),
		"something else":         "[]",
	} {
		e := audit.Event{ID: "untouched"}
		if err := e.UnmarshalJSON([]byte(text)); err == nil || e.ID != "untouched" {
			t.Errorf("%s: got %+v and error %v", name, e, err)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(`{"specversion":"1.0","id":"1","source":"/s","type":"T","time":"2026-03-04T05:06:07Z","data":{}}`)
	f.Add(`{"specversion":"1.0","id":"1","source":"/s","type":"T","subject":"s","time":"2026-03-04T05:06:07.1+01:00","datacontenttype":"application/json","data":{"a": [1, "\u2028\n"]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var e audit.Event
		if e.UnmarshalJSON([]byte(text)) != nil {
			return
		}
		first, err := e.MarshalJSON()
		if err != nil || bytes.ContainsAny(first, "\r\n") {
			t.Fatalf("read and not written: %s, error %v", first, err)
		}
		var again audit.Event
		if err := again.UnmarshalJSON(first); err != nil {
			t.Fatal(err)
		}
		second, err := again.MarshalJSON()
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("written as\n%s\nand then as\n%s\nerror %v", first, second, err)
		}
	})
}

// sink is a writer that can fail.
type sink struct {
	mu      sync.Mutex
	text    bytes.Buffer
	refuse  bool
	partial int // of a refused write, so much is taken
}

var errSink = errors.New("no space left on device")

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse {
		n, _ := s.text.Write(p[:min(s.partial, len(p))])
		return n, errSink
	}
	return s.text.Write(p)
}

// events are the lines that are whole.
func (s *sink) events() []audit.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []audit.Event
	for line := range strings.Lines(s.text.String()) {
		var e audit.Event
		if e.UnmarshalJSON([]byte(line)) == nil {
			events = append(events, e)
		}
	}
	return events
}

func TestLinesConform(t *testing.T) {
	t.Parallel()
	audittest.Run(t, func(*testing.T) audittest.Bus {
		s := &sink{}
		return audittest.Bus{Publisher: audit.NewLines(s), Accepted: s.events, Refuse: func(refuse bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refuse, s.partial = refuse, 10
		}}
	})
}

func TestALineThatWasCutOffDoesNotSpoilTheNext(t *testing.T) {
	t.Parallel()
	e, err := rotated(t).Event(at)
	if err != nil {
		t.Fatal(err)
	}
	line, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for partial := range len(line) + 2 {
		s := &sink{refuse: true, partial: partial}
		lines := audit.NewLines(s)
		for range 2 {
			if err := lines.Publish(t.Context(), e); !errors.Is(err, errSink) {
				t.Fatalf("got %v", err)
			}
		}
		s.refuse = false
		if err := lines.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got := s.events(); len(got) == 0 || strings.Contains(s.text.String(), "\n\n") && partial > 1 {
			t.Errorf("cut off after %d bytes: %d events in\n%s", partial, len(got), s.text.String())
		}
	}
}

type publisher func(ctx context.Context, events ...audit.Event) error

func (p publisher) Publish(ctx context.Context, events ...audit.Event) error {
	return p(ctx, events...)
}

func TestWhatIsPublishedInlineNeitherHoldsUpNorFailsARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var failures []audit.Failure
		hanging := audit.Inline{
			Publisher: publisher(func(ctx context.Context, _ ...audit.Event) error {
				<-ctx.Done()
				return ctx.Err()
			}),
			OnFailure: func(_ context.Context, f audit.Failure) { failures = append(failures, f) },
		}
		start := time.Now()
		hanging.Publish(t.Context(), audit.Event{ID: "1"})
		if took := time.Since(start); took != 500*time.Millisecond || len(failures) != 1 || failures[0].Events[0].ID != "1" ||
			!errors.Is(failures[0].Err, context.DeadlineExceeded) {
			t.Errorf("it took %v, and the failures are %+v", took, failures)
		}
	})
}

func TestWhatIsPublishedInlineOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e, err := rotated(t).Event(at)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	audit.Inline{Publisher: audit.NewLines(io.Writer(&text))}.Publish(ctx, e)
	if text.Len() == 0 {
		t.Error("nothing was written")
	}
}
