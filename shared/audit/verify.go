package audit

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// Recorded is an event as somebody kept it.
type Recorded struct {
	// Line is where it is, for the findings.
	Line  int
	Event Event
}

// Anchor is the end of a chain as it was at some time, kept where nobody changes it. Without one nobody sees that the last events are gone, or that the
// very last one was changed.
type Anchor struct {
	Head
	// Credential is whose chain it is, the subject of its events, and Source where they come from.
	Credential string `json:"credential"`
	Source     string `json:"source"`
	// Time is that of the last event.
	Time time.Time `json:"time"`
}

// Fault is what is wrong with a trail.
type Fault string

// The faults of a trail.
const (
	FaultGap        Fault = "gap"        // events in the middle are missing
	FaultTruncation Fault = "truncation" // the last events are missing, as an anchor shows
	FaultFork       Fault = "fork"       // two events claim one place
	FaultEdit       Fault = "edit"       // an event is not what it was
	FaultReorder    Fault = "reorder"    // an event comes before one that happened earlier
	FaultRestart    Fault = "restart"    // a second chain begins for the same credential
	FaultUnlinked   Fault = "unlinked"   // an event that belongs to a chain has no place in it
	FaultSignature  Fault = "signature"  // a signature is missing or wrong
)

// Finding is one fault of a trail.
type Finding struct {
	Fault Fault
	// Line is where it shows, or 0 when it is about what is not there.
	Line int
	// Event is the ID of the event at that line, and Credential its subject.
	Event, Credential string
	// Text says what is wrong.
	Text string
}

// String returns the finding as a sentence.
func (f Finding) String() string {
	where := fmt.Sprintf("credential %q", f.Credential)
	if f.Line > 0 {
		where = fmt.Sprintf("line %d: event %s of %s", f.Line, f.Event, where)
	}
	return fmt.Sprintf("%s: %s: %s", where, f.Fault, f.Text)
}

// Report is what a verification came to.
type Report struct {
	// Findings are what is wrong, in the order of their lines. A trail is intact when there are none.
	Findings []Finding
	// Heads are the ends of the chains, in the order of their credentials.
	Heads []Anchor
	// Linked counts the different events that are in chains, Repeated those that were delivered again, and Unlinked those that belong to no chain.
	Linked, Repeated, Unlinked int
}

// Verifier finds out whether a trail is what was once written.
type Verifier struct {
	// Anchors are ends of chains that were seen before. A chain may also begin right after one, when what came before is kept elsewhere.
	Anchors []Anchor
	// Keys, when set, are the keys that have to have signed. A signature vouches for all events before it.
	Keys Keys
	// AnyOrder takes the events in whatever order they come, as from a bus that keeps none.
	AnyOrder bool
}

// link is what the verification keeps of an event.
type link struct {
	line        int
	id, subject string
	hash        string
	place       Place
	source      string
	time        time.Time
	signed      bool
}

// thread is one chain.
type thread struct {
	links   map[int64][]*link // by their number; several are a fork
	longest int64             // the highest number so far
}

// verification is one run of a Verifier.
type verification struct {
	Verifier
	report  Report
	threads map[string]*thread
}

// Verify reads the events to their end. The same event twice is what at-least-once delivery does, and no fault.
func (v Verifier) Verify(events iter.Seq[Recorded]) Report {
	run := &verification{Verifier: v, threads: map[string]*thread{}}
	for recorded := range events {
		run.read(recorded)
	}
	run.begun()
	for _, name := range slices.Sorted(maps.Keys(run.threads)) {
		run.walk(name, run.threads[name])
	}
	run.anchored()
	slices.SortStableFunc(run.report.Findings, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	slices.SortStableFunc(run.report.Heads, func(a, b Anchor) int {
		return cmp.Or(cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Source, b.Source), a.Time.Compare(b.Time))
	})
	return run.report
}

// found notes what is wrong with an event.
func (v *verification) found(l *link, fault Fault, format string, args ...any) {
	v.report.Findings = append(v.report.Findings, Finding{fault, l.line, l.id, l.subject, fmt.Sprintf(format, args...)})
}

// missing notes that something is not there.
func (v *verification) missing(credential string, fault Fault, format string, args ...any) {
	v.report.Findings = append(v.report.Findings, Finding{Fault: fault, Credential: credential, Text: fmt.Sprintf(format, args...)})
}

func (v *verification) read(recorded Recorded) {
	event := recorded.Event
	l := &link{line: recorded.Line, id: event.ID, subject: event.Subject, source: event.Source, time: event.Time}
	place, linked, err := placeOf(event)
	if err != nil {
		v.found(l, FaultEdit, "%v", err)
		return
	}
	if !linked {
		v.report.Unlinked++
		if kindOf(event) == KindKey {
			v.found(l, FaultUnlinked, "it has no place in the chain of its credential")
		}
		return
	}
	digest, err := digestOf(event)
	if err != nil {
		v.found(l, FaultEdit, "%v", err)
		return
	}
	l.place, l.hash = place, hex.EncodeToString(digest)
	t := v.threads[place.Chain]
	if t == nil {
		t = &thread{links: map[int64][]*link{}}
		v.threads[place.Chain] = t
	}
	first := t.add(l)
	if v.Keys != nil && place.Signature != (Signature{}) {
		if first.signed = v.Keys.verify(digest, place.Signature) || first.signed; !first.signed {
			v.found(l, FaultSignature, "none of the keys has made its signature, which names the key %q", place.Signature.KeyID)
		}
	}
	if first != l {
		v.report.Repeated++
		return
	}
	v.report.Linked++
	v.placed(t, l)
}

// add puts a link into the chain, and returns the one that is the same event and was there before, or else the link.
func (t *thread) add(l *link) *link {
	for _, other := range t.links[l.place.Seq] {
		if other.id == l.id && other.hash == l.hash {
			return other
		}
	}
	t.links[l.place.Seq] = append(t.links[l.place.Seq], l)
	return l
}

// placed notes when an event is not the only one in its place, or comes too late.
func (v *verification) placed(t *thread, l *link) {
	if !v.AnyOrder && l.place.Seq < t.longest {
		v.found(l, FaultReorder, "it is number %d of its chain and comes after number %d", l.place.Seq, t.longest)
	}
	t.longest = max(t.longest, l.place.Seq)
	first := t.links[l.place.Seq][0]
	switch {
	case first == l:
	case first.id == l.id:
		v.found(l, FaultEdit, "it is not the same as the event with its id and its number %d at line %d: one of them has been changed", l.place.Seq, first.line)
	default:
		v.found(l, FaultFork, "it claims to be number %d of its chain, as event %s at line %d does", l.place.Seq, first.id, first.line)
	}
}

// begun notes when more than one chain begins for a credential.
func (v *verification) begun() {
	type owner struct{ source, credential string }
	owners := map[owner]*link{}
	var starts []*link
	for _, t := range v.threads {
		starts = append(starts, t.links[slices.Min(slices.Collect(maps.Keys(t.links)))]...)
	}
	slices.SortFunc(starts, func(a, b *link) int { return cmp.Compare(a.line, b.line) })
	for _, l := range starts {
		who := owner{l.source, l.subject}
		if other := owners[who]; other != nil && other.place.Chain != l.place.Chain {
			v.found(l, FaultRestart, "a second chain begins here; the first is that of event %s at line %d", other.id, other.line)
			continue
		}
		owners[who] = l
	}
}

// walk follows a chain from its first event to its last.
func (v *verification) walk(name string, t *thread) {
	numbers := slices.Sorted(maps.Keys(t.links))
	before := v.before(name, numbers[0])
	for _, number := range numbers {
		for _, l := range t.links[number] {
			v.follows(l, before)
		}
		before = t.links[number]
	}
	last := before[0]
	v.report.Heads = append(v.report.Heads, Anchor{
		Head:       Head{Chain: name, Seq: last.place.Seq, Hash: last.hash},
		Credential: last.subject, Source: last.source, Time: last.time,
	})
	if v.Keys != nil {
		v.signed(t, numbers)
	}
}

// before returns what an anchor says of the event before the first that is there.
func (v *verification) before(name string, first int64) []*link {
	for _, a := range v.Anchors {
		if a.Chain == name && a.Seq == first-1 {
			return []*link{{subject: a.Credential, hash: a.Hash, place: Place{Chain: name, Seq: a.Seq}}}
		}
	}
	return nil
}

// follows notes when an event does not follow from the one before it.
func (v *verification) follows(l *link, before []*link) {
	var last int64
	if len(before) > 0 {
		last = before[0].place.Seq
	}
	switch {
	case l.place.Seq == 1:
		if l.id != l.place.Chain {
			v.found(l, FaultEdit, "it is the first of its chain, which begins with event %s", l.place.Chain)
		}
	case last < l.place.Seq-1:
		v.found(l, FaultGap, "%s", absent(last+1, l.place.Seq-1))
	case !slices.ContainsFunc(before, func(b *link) bool { return b.hash == l.place.Prev }):
		if before[0].line == 0 {
			v.found(l, FaultEdit, "it does not follow from the anchor of number %d: it has been changed, or what was before it", last)
			return
		}
		v.found(l, FaultEdit, "it does not follow from event %s at line %d: one of the two has been changed", before[0].id, before[0].line)
	}
}

func absent(from, to int64) string {
	if from == to {
		return fmt.Sprintf("number %d of its chain is missing before it", from)
	}
	return fmt.Sprintf("numbers %d to %d of its chain are missing before it", from, to)
}

// signed notes when no signature vouches for the last events.
func (v *verification) signed(t *thread, numbers []int64) {
	for i, number := range slices.Backward(numbers) {
		if slices.ContainsFunc(t.links[number], func(l *link) bool { return l.signed }) {
			if i == len(numbers)-1 {
				return
			}
			v.found(t.links[numbers[i+1]][0], FaultSignature, "no signature vouches for it and what comes after it")
			return
		}
	}
	v.found(t.links[numbers[0]][0], FaultSignature, "no signature vouches for it and what comes after it")
}

// anchored holds the chains against the anchors.
func (v *verification) anchored() {
	for _, a := range v.Anchors {
		t := v.threads[a.Chain]
		if t == nil {
			v.missing(a.Credential, FaultTruncation, "there is no event of the chain %s, which had %d", a.Chain, a.Seq)
			continue
		}
		if a.Seq > t.longest {
			v.missing(a.Credential, FaultTruncation, "its chain %s ends with number %d, and had %d events", a.Chain, t.longest, a.Seq)
			continue
		}
		links := t.links[a.Seq]
		if len(links) > 0 && !slices.ContainsFunc(links, func(l *link) bool { return l.hash == a.Hash }) {
			v.found(links[0], FaultEdit, "it is not what the anchor of number %d has seen", a.Seq)
		}
	}
}

// kindOf returns the kind of credential that an event is about, if it says so.
func kindOf(event Event) Kind {
	var data struct {
		Kind Kind `json:"kind"`
	}
	if json.Unmarshal(event.Data, &data) != nil {
		return ""
	}
	return data.Kind
}
