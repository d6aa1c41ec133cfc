package secretsmanager

import (
	"encoding/base64"
	"regexp"
	"slices"
	"time"
)

const (
	labelCurrent  = "AWSCURRENT"
	labelPrevious = "AWSPREVIOUS"
	maxSecret     = 65536
	maxLabels     = 20
	day           = 24 * time.Hour
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)

// secret is one secret with all its versions.
type secret struct {
	name     string
	arn      string
	created  time.Time
	changed  time.Time
	read     time.Time
	deletion time.Time // zero unless it is scheduled for deletion
	versions map[string]*version
	rotation rotation
}

// version is one version. It is written once.
type version struct {
	id      string
	text    *string
	binary  []byte
	created time.Time
	read    time.Time
	labels  map[string]bool
}

// payload is a secret value in a request.
type payload struct {
	SecretString *string `json:"SecretString"`
	SecretBinary *string `json:"SecretBinary"`
}

// decode returns the text or the bytes, of which there is exactly one.
func (p payload) decode() (*string, []byte, error) {
	switch {
	case p.SecretString != nil && p.SecretBinary != nil:
		return nil, nil, invalid("You can't specify both a binary secret value and a string secret value in the same secret.")
	case p.SecretString != nil:
		if len(*p.SecretString) < 1 || len(*p.SecretString) > maxSecret {
			return nil, nil, invalid("SecretString must have 1 to 65536 bytes.")
		}
		return p.SecretString, nil, nil
	case p.SecretBinary != nil:
		binary, err := base64.StdEncoding.DecodeString(*p.SecretBinary)
		if err != nil || len(binary) < 1 || len(binary) > maxSecret {
			return nil, nil, invalid("SecretBinary must have 1 to 65536 bytes in base64.")
		}
		return nil, binary, nil
	}
	return nil, nil, nil
}

func (v *version) holds(text *string, binary []byte) bool {
	if text == nil || v.text == nil {
		return text == nil && v.text == nil && slices.Equal(binary, v.binary)
	}
	return *text == *v.text
}

func (v *version) empty() bool { return v.text == nil && v.binary == nil }

// written reports whether there is a version with a value.
func (s *secret) written() bool {
	for _, v := range s.versions {
		if !v.empty() {
			return true
		}
	}
	return false
}

func (s *secret) labelled(label string) *version {
	for _, v := range s.versions {
		if v.labels[label] {
			return v
		}
	}
	return nil
}

// attach moves a label to a version. AWSPREVIOUS follows AWSCURRENT by itself.
func (s *secret) attach(label string, to *version) {
	from := s.labelled(label)
	if from == to {
		return
	}
	if from != nil {
		delete(from.labels, label)
	}
	to.labels[label] = true
	if label == labelCurrent && from != nil {
		s.attach(labelPrevious, from)
	}
}

// add writes a version once. The same token with the same value changes nothing, and with another value it fails.
func (s *secret) add(token string, in payload, now time.Time) (*version, bool, error) {
	if len(token) < 32 || len(token) > 64 {
		return nil, false, invalid("ClientRequestToken must have 32 to 64 characters.")
	}
	text, binary, err := in.decode()
	if err != nil {
		return nil, false, err
	}
	if text == nil && binary == nil {
		return nil, false, &problem{Code: "InvalidRequestException", Message: "You must provide either SecretString or SecretBinary."}
	}
	old, exists := s.versions[token]
	switch {
	case exists && old.empty():
		// A rotation begins with a version that has a label and no value yet.
		old.text, old.binary = text, binary
		s.changed = now
		return old, true, nil
	case exists && old.holds(text, binary):
		return old, false, nil
	case exists:
		return nil, false, &problem{Code: "ResourceExistsException", Message: "You can't modify an existing version, you can only create a new version."}
	}
	made := &version{id: token, text: text, binary: binary, created: now, labels: map[string]bool{}}
	s.versions[token] = made
	s.changed = now
	return made, true, nil
}
