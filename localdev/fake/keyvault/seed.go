package keyvault

import (
	"strings"
	"time"
)

// Secret is a secret as an operator enters it.
type Secret struct {
	Name, Text string
	// NotBefore and Expires are the version's dates, and zero for none.
	NotBefore, Expires time.Time
	// Created is when the version was made, and zero for now. The service tells it in whole seconds.
	Created time.Time
}

// Seed adds a version to a secret, which is made if it is not there, and returns the version's id. It stands for an operator in the
// portal, and needs no token.
func (s *Server) Seed(in Secret) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(in.Name)
	if s.secrets[key] == nil {
		s.secrets[key] = &secret{name: in.Name}
	}
	now := in.Created
	if now.IsZero() {
		now = time.Now()
	}
	v := &version{id: newID(), value: in.Text, enabled: true, created: now, updated: now, notBefore: unix(in.NotBefore), expires: unix(in.Expires)}
	s.secrets[key].versions = append(s.secrets[key].versions, v)
	return v.id
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	seconds := t.Unix()
	return &seconds
}
