package contract

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// queryForm returns the parameters of a Query request, which travel as a form
// in the body or, for a GET, in the URL.
func queryForm(in Request) (url.Values, error) {
	if len(in.Body) == 0 {
		return in.Query, nil
	}
	form, err := url.ParseQuery(string(in.Body))
	if err != nil {
		return nil, errors.New("has a body that is not a form")
	}
	return form, nil
}

// queryRequest checks a Query request by unflattening its parameters into the
// value that they stand for.
func (c awsCall) queryRequest(at spot, in Request) {
	form, err := queryForm(in)
	if err != nil {
		at.report("%v", err)
		return
	}
	if len(in.Body) > 0 {
		c.contentType(at, in.Header, "application/x-www-form-urlencoded")
	}
	if version := form.Get("Version"); version != c.Metadata.APIVersion {
		at.member("Version").reportValue([]string{strconv.Quote(c.Metadata.APIVersion)}, version)
	}
	used := []string{"Action", "Version"}
	if shape, ok := c.Shapes[c.Input.Shape]; ok {
		tree := formTree{call: c, form: form, used: &used}
		c.structure(at, shape, tree.structure("", shape))
	}
	for _, name := range sortedKeys(form) {
		if !slices.Contains(used, name) {
			at.member(name).reportUnknown()
		}
	}
}

// A formTree rebuilds values from flattened parameters: Tags.member.1.Key.
type formTree struct {
	call awsCall
	form url.Values
	used *[]string
}

func (t formTree) structure(prefix string, shape *awsShape) map[string]any {
	object := map[string]any{}
	for _, name := range sortedKeys(shape.Members) {
		member := shape.Members[name]
		wire := member.wireName(name)
		if v, ok := t.value(prefix+wire, member); ok {
			object[wire] = v
		}
	}
	return object
}

func (t formTree) value(key string, ref awsRef) (any, bool) {
	shape := t.call.Shapes[ref.Shape]
	switch shape.Type {
	case "structure":
		if !t.has(key + ".") {
			return nil, false
		}
		return t.structure(key+".", shape), true
	case "list":
		if !ref.Flattened && !shape.Flattened {
			key += "." + shape.Member.wireName("member")
		}
		return t.list(key, shape.Member)
	case "map":
		if !ref.Flattened && !shape.Flattened {
			key += ".entry"
		}
		return t.entries(key, shape)
	default:
		values, ok := t.form[key]
		if !ok {
			return nil, false
		}
		*t.used = append(*t.used, key)
		return shape.fromText(values[0]), true
	}
}

func (t formTree) has(prefix string) bool {
	for name := range t.form {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// list reads key.1, key.2 and so on, for as long as they follow one another.
func (t formTree) list(key string, member awsRef) (any, bool) {
	var list []any
	for {
		v, ok := t.value(key+"."+strconv.Itoa(len(list)+1), member)
		if !ok {
			return list, list != nil
		}
		list = append(list, v)
	}
}

func (t formTree) entries(key string, shape *awsShape) (any, bool) {
	object := map[string]any{}
	for i := 1; ; i++ {
		at := key + "." + strconv.Itoa(i) + "."
		name, ok := t.value(at+shape.Key.wireName("key"), shape.Key)
		if !ok {
			return object, len(object) > 0
		}
		text, _ := name.(string)
		object[text], _ = t.value(at+shape.Value.wireName("value"), shape.Value)
	}
}
