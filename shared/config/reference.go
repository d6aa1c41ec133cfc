package config

import (
	"path"
	"strings"
)

// Reference says where a credential is stored. It holds no secret.
type Reference struct {
	// Scheme is the kind of store: "env" or "file".
	Scheme string
	// Name is the environment variable's name or the file's absolute path.
	Name string
	// Field, when set, is the field of the JSON object that is stored there.
	Field string
}

// IsZero reports whether the reference refers to nothing.
func (r Reference) IsZero() bool { return r == Reference{} }

// String returns the reference as documents spell it, such as env://OPENAI_API_KEY or file:///run/keys.json#openai.
func (r Reference) String() string {
	if r.IsZero() {
		return ""
	}
	s := r.Scheme + "://" + r.Name
	if r.Field != "" {
		s += "#" + r.Field
	}
	return s
}

// MarshalText returns the same as String.
func (r Reference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// referenceRemedy is what to write instead of a reference that cannot be used.
const referenceRemedy = "use env://NAME or file:///path, with #field for one field of a JSON object"

// reference reads the reference at this place. What is written there is shown in a problem only when it has the form of a
// reference, because the credential itself is what is most often put there by mistake.
func (p place) reference() (Reference, bool) {
	p.hidden = true
	s, ok := p.string()
	if !ok {
		return Reference{}, false
	}
	scheme, rest, isURI := strings.Cut(s, "://")
	switch {
	case strings.HasPrefix(s, "{vault://"), isURI && made(scheme, 2, 16, small+"-") && scheme != "env" && scheme != "file":
		p.wrong("this kind of credential reference is not available in this version", referenceRemedy)
		return Reference{}, false
	case !isURI:
		p.wrong("the name of a secret in the cloud's own store is not available in this version, and the credential itself "+
			"must never be in the document", referenceRemedy)
		return Reference{}, false
	}
	name, field, hasField := strings.Cut(rest, "#")
	if hasField && !made(field, 1, 128, letters+digits+"_.-") {
		p.wrong("what follows the # is not the name of a field", referenceRemedy)
		return Reference{}, false
	}
	switch {
	case scheme == "env" && made(name, 1, 128, letters+digits+"_") && !onlyOf(name[:1], digits):
	case scheme == "file" && len(name) <= 1024 && path.IsAbs(name) && path.Clean(name) == name && name != "/" && anyPath(name):
	case scheme == "env":
		p.wrong("what follows env:// is not the name of an environment variable", referenceRemedy)
		return Reference{}, false
	case scheme == "file":
		p.wrong("what follows file:// is not an absolute path in its shortest form", referenceRemedy)
		return Reference{}, false
	default:
		p.wrong("this is not a credential reference", referenceRemedy)
		return Reference{}, false
	}
	return Reference{Scheme: scheme, Name: name, Field: field}, true
}

// anyPath reports whether a path is printable ASCII; others cannot be told apart in a log.
func anyPath(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
