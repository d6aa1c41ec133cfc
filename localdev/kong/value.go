package kong

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"
)

// The limits keep a wrong file from being taken for a configuration. A large decK file has some thousand lines.
const (
	maxBytes   = 4 << 20
	maxNesting = 64
)

// value is something in the file and the place where it stands.
type value struct {
	path string
	data any // what the YAML decoder makes of it; nil for null and for what is not there
}

// parse reads all documents of the file.
func parse(data []byte) ([]value, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("the file has %d bytes, the most that is read is %d", len(data), maxBytes)
	}
	if depth(data) > maxNesting {
		return nil, fmt.Errorf("values are nested more than %d deep", maxNesting)
	}
	var documents []value
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.UseOrderedMap())
	for {
		var data any
		err := decoder.Decode(&data)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, syntax(err)
		}
		documents = append(documents, value{data: data})
	}
}

// depth is how deep brackets and list markers are nested. The parser's costs grow with its square.
func depth(data []byte) int {
	deepest, now := 0, 0
	for line := range bytes.Lines(data) {
		text := bytes.TrimLeft(line, " -?")
		deepest = max(deepest, bytes.Count(line[:len(line)-len(text)], []byte("- ")), bytes.Count(line[:len(line)-len(text)], []byte("? ")))
		for _, c := range line {
			switch c {
			case '[', '{':
				now++
				deepest = max(deepest, now)
			case ']', '}':
				now = max(now-1, 0)
			}
		}
	}
	return deepest
}

// syntax reduces the parser's error to its place: its text quotes the file, and so perhaps a key.
func syntax(err error) error {
	var positioned interface{ GetToken() *token.Token }
	if errors.As(err, &positioned) {
		if t := positioned.GetToken(); t != nil && t.Position != nil {
			return fmt.Errorf("line %d: the file is neither YAML nor JSON", t.Position.Line)
		}
	}
	return errors.New("the file is neither YAML nor JSON")
}

// list returns the items of a list.
func (v value) list() []value {
	raw, ok := v.data.([]any)
	if !ok {
		return nil
	}
	items := make([]value, len(raw))
	for i, item := range raw {
		items[i] = value{fmt.Sprintf("%s[%d]", v.path, i), item}
	}
	return items
}

// text returns a scalar as it was written, or nearly so.
func (v value) text() (string, bool) {
	switch data := v.data.(type) {
	case string:
		return data, true
	case bool:
		return strconv.FormatBool(data), true
	case int64, uint64, int:
		return fmt.Sprint(data), true
	case float64:
		return strconv.FormatFloat(data, 'g', -1, 64), true
	}
	return "", false
}

func (v value) flag() bool {
	on, _ := v.said()
	return on
}

// said returns what a flag says, if it is one. Kong and decK read YAML 1.1, where there are more words for it
// (https://yaml.org/type/bool.html).
func (v value) said() (on, ok bool) {
	switch data := v.data.(type) {
	case bool:
		return data, true
	case string:
		switch strings.ToLower(data) {
		case "yes", "on", "y":
			return true, true
		case "no", "off", "n":
			return false, true
		}
	}
	return false, false
}

// empty reports whether there is nothing in the value that could be lost. Files that were written out by Kong itself hold
// every field that there is, most of them null.
func (v value) empty() bool {
	switch data := v.data.(type) {
	case nil:
		return true
	case bool:
		return !data
	case string:
		return data == ""
	case []any:
		return len(data) == 0
	case yaml.MapSlice:
		return !slices.ContainsFunc(data, func(item yaml.MapItem) bool { return !value{data: item.Value}.empty() })
	}
	return false
}

// object is a mapping whose fields are asked for by name. What was not asked for has not been imported.
type object struct {
	path   string
	data   any // what it was made of
	fields []field
	asked  map[string]bool
}

type field struct {
	name  string
	value value
}

// object returns the mapping here, or nil, of which everything may be asked as well.
func (v value) object() *object {
	raw, ok := v.data.(yaml.MapSlice)
	if !ok {
		return nil
	}
	o := &object{path: v.path, data: v.data, asked: map[string]bool{}}
	for _, item := range raw {
		if item.Value == nil {
			continue
		}
		name := fmt.Sprint(item.Key)
		o.fields = append(o.fields, field{name, value{join(v.path, name), item.Value}})
	}
	return o
}

// get returns the field of that name.
func (o *object) get(name string) value {
	if o == nil {
		return value{}
	}
	o.asked[name] = true
	for _, f := range o.fields {
		if f.name == name {
			return f.value
		}
	}
	return value{path: join(o.path, name)}
}

// has reports whether there is such a field with something in it. It does not count as asking.
func (o *object) has(names ...string) bool {
	return o != nil && slices.ContainsFunc(o.fields, func(f field) bool {
		return slices.Contains(names, f.name) && !f.value.empty()
	})
}

// rest returns the fields that were not asked for and have something in them.
func (o *object) rest() []field {
	if o == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(o.fields), func(f field) bool { return o.asked[f.name] || f.value.empty() })
}

// join appends the names of fields to a path. A name that no configuration has is cut and quoted, so that it cannot break out
// of a comment.
func join(path string, names ...string) string {
	for _, name := range names {
		if len(name) > 64 || name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r > '~' || r == '.' || r == '[' || r == '"'
		}) {
			name = fmt.Sprintf("%.40q", name)
		}
		if path != "" {
			path += "."
		}
		path += name
	}
	return path
}
