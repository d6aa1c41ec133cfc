package secretsmanager

import (
	"crypto/rand"
	"time"
)

// Secret is a secret as an operator enters it.
type Secret struct{ Name, Text string }

// Seed stores a text as the current version of a secret, which is made if it is not there, and returns the id of the version. It stands
// for an operator at the console, and needs no credentials.
func (s *Server) Seed(in Secret) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.secrets[in.Name]
	if !ok {
		found = s.newSecret(in.Name)
		s.secrets[in.Name] = found
	}
	v := &version{id: rand.Text() + rand.Text(), text: &in.Text, created: time.Now(), labels: map[string]bool{}}
	found.versions[v.id] = v
	found.attach(labelCurrent, v)
	return v.id
}

func (s *Server) newSecret(name string) *secret {
	now := time.Now()
	return &secret{
		name: name, created: now, changed: now, versions: map[string]*version{},
		// A secret that is made again under the same name has another ARN, so that rights to the old one do not count for it.
		arn: "arn:aws:secretsmanager:" + s.options.Region + ":" + s.options.Account + ":secret:" + name + "-" + rand.Text()[:6],
	}
}
