package config

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
