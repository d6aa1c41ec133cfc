// Package kong turns the configuration of Kong's AI Proxy and AI Proxy Advanced plugins into a Postern document. It reads
// declarative files (kong.yaml, also as decK fills them in), Kubernetes KongPlugin resources, and the bare plugin snippets of
// Kong's documentation, with the slips that those are known for.
//
// Three things hold for whatever is read. No secret is ever copied: what stood in the file becomes the name of a place where
// the secret is to be put. Nothing is dropped in silence: what has no equivalent is listed with its place and the reason. And
// the document lets nobody in by itself: who may call is for its reader to say.
//
// The package must not know how anything that it writes is carried out; whether a document is right is for config to say.
package kong

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// Kind says what a Note asks of its reader.
type Kind int

// The kinds of notes, in the order in which they are shown.
const (
	// Do is something that has to be done before the document is of use.
	Do Kind = iota
	// Meant is something that was understood in another way than it was written, or is carried out in another way.
	Meant
	// Lost is something that has no equivalent.
	Lost
)

// kinds are the headings of the notes.
func kinds() []string {
	return []string{
		Do:    "To do before this is deployed:",
		Meant: "Taken as it was meant, or done in another way:",
		Lost:  "Without an equivalent, and left out:",
	}
}

// Note is something about the import that the document itself does not show.
type Note struct {
	Kind Kind
	// Path is the place in the Kong file, such as "plugins[0].config.auth". It may be empty.
	Path string
	// Text is a sentence without its full stop. It holds no secret and no value of a field that may hold one.
	Text string
}

// Result is an imported configuration.
type Result struct {
	// Document is a Postern document in YAML, with the notes as comments.
	Document []byte
	// Upstreams is how many upstreams it has.
	Upstreams int
	// Notes are in the order of the file, one kind after the other.
	Notes []Note
	// Problems is what loading the document reports, or nil.
	Problems error
}

// errNothing is for files that configure something else.
var errNothing = errors.New("there is no ai-proxy or ai-proxy-advanced plugin in this file")

// Import reads a Kong configuration. Its error says why there is none to be read; what can be read is always imported, even
// where the document then lacks something, which Problems says.
func Import(data []byte) (*Result, error) {
	documents, err := parse(data)
	if err != nil {
		return nil, err
	}
	im := &importer{names: map[string]bool{}, public: map[string]bool{}, vaults: map[string]vault{}}
	for _, document := range documents {
		im.find(document)
	}
	if im.read == 0 {
		return nil, errNothing
	}
	document := im.document()
	slices.SortStableFunc(im.notes, func(a, b Note) int { return int(a.Kind) - int(b.Kind) })
	r := &Result{Document: document, Upstreams: len(im.upstreams), Notes: im.notes}
	_, r.Problems = config.Load(r.Document)
	return r, nil
}

// Report returns what there is to say about the import, as text.
func (r *Result) Report() string {
	var b strings.Builder
	plural := "s"
	if r.Upstreams == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "%d upstream%s imported.\n", r.Upstreams, plural)
	for _, line := range lines(r.Notes) {
		b.WriteString(line + "\n")
	}
	if r.Problems != nil {
		fmt.Fprintf(&b, "\nThe document does not load yet:\n%v\n", r.Problems)
	}
	return b.String()
}

// lines are the notes as text, each kind under its heading.
func lines(notes []Note) []string {
	var lines []string
	for kind, heading := range kinds() {
		first := true
		for _, n := range notes {
			if n.Kind != Kind(kind) {
				continue
			}
			if first {
				lines = append(lines, "", heading)
				first = false
			}
			if n.Path == "" {
				lines = append(lines, "- "+n.Text)
				continue
			}
			lines = append(lines, "- "+n.Path+": "+n.Text)
		}
	}
	return lines
}

// importer is one import under way.
type importer struct {
	notes     []Note
	upstreams []upstream
	callers   []caller
	read      int // plugins that were ours to read

	names  map[string]bool  // upstreams that there are
	public map[string]bool  // public model names that there are
	vaults map[string]vault // by the prefix in references
	shared *object          // decK's _plugin_configs

	statistics, payloads []bool // what the plugins say about logs
	maxBody              int64  // the largest body that any plugin takes
	routed               bool   // there are routes or services
}

// note adds a note, once.
func (im *importer) note(n Note) {
	if !slices.Contains(im.notes, n) {
		im.notes = append(im.notes, n)
	}
}

func (im *importer) do(path, text string)    { im.note(Note{Do, path, text}) }
func (im *importer) meant(path, text string) { im.note(Note{Meant, path, text}) }
func (im *importer) lost(path, text string)  { im.note(Note{Lost, path, text}) }

// name returns a name that no upstream has yet, as the wish permits: lower-case letters, digits and dashes.
func (im *importer) name(wish string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(wish) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	base := b.String()
	base = strings.Trim(base[:min(len(base), 56)], "-")
	if base == "" {
		base = "upstream"
	}
	name := base
	for n := 2; im.names[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	im.names[name] = true
	return name
}
