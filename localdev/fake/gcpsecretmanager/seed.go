package gcpsecretmanager

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Secret is a secret as an operator enters it.
type Secret struct{ Name, Text string }

// Seed adds a version to a secret, which is made if it is not there, and returns the version's number. Aliases stay where they are. It
// stands for an operator at the console, and needs no token.
func (s *Server) Seed(in Secret) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.secrets[in.Name]
	if !ok {
		found = &secret{created: time.Now(), etag: s.newEtag(), replication: jsontext.Value(`{"automatic":{}}`)}
		s.secrets[in.Name] = found
	}
	return strconv.Itoa(s.add(found, []byte(in.Text), false).number)
}
