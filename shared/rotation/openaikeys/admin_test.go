package openaikeys_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	fake "github.com/postern-ai/postern/localdev/fake/openaiadmin"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/openaikeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestAdminConformance(t *testing.T) {
	t.Parallel()
	rotationtest.TestIssuer(t, func(t *testing.T, line *rotationtest.Line) rotationtest.World {
		admin := &rotationtest.Admin{Prefix: "Bearer "}
		server := fake.New(fake.Options{Admin: admin.Accepts})
		issuer, err := openaikeys.NewAdmin(openaikeys.API{Admin: admin, Transport: line.Transport(described.Traffic(t, server))})
		if err != nil {
			t.Fatal(err)
		}
		return rotationtest.World{
			Issuer: issuer, Keys: keys(&server.AdminKeys),
			Make:   func(name string) rotation.Issued { return issued(server.AddAdminKey(name)) },
			Wrong:  secrets.NewValue("sk-admin-" + strings.Repeat("0", 64)),
			Expire: admin.Expire, Lose: admin.Lose,
		}
	})
}

// stored is an admin key that is kept somewhere and cached here, as a reader of a secret store does.
type stored struct {
	mu           sync.Mutex
	kept, cached secrets.Value
}

func (s *stored) Authorize(request *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cached.IsZero() {
		s.cached = s.kept
	}
	request.Header.Set("Authorization", "Bearer "+s.cached.Reveal())
	return nil
}

func (s *stored) Rejected(*http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cached = secrets.Value{}
}

func (s *stored) promote(value secrets.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = value
}

func TestTheAdminKeyInUseIsNeverDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := fake.New(fake.Options{})
		old := issued(server.AddAdminKey("by hand"))
		own := &stored{kept: old.Value}
		line := &rotationtest.Line{}
		issuer, err := openaikeys.NewAdmin(openaikeys.API{Admin: own, Transport: line.Transport(described.Traffic(t, server))})
		if err != nil {
			t.Fatal(err)
		}
		next, err := issuer.Create(t.Context(), order("postern-admin-1"))
		if err != nil {
			t.Fatal(err)
		}
		err = issuer.Revoke(t.Context(), old.Key)
		if !errors.Is(err, rotation.ErrUnavailable) || len(server.AdminKeys.List()) != 2 {
			t.Fatalf("%d keys, error %v", len(server.AdminKeys.List()), err)
		}
		// Once the next one is stored, the old one goes, whatever was cached.
		if _, err := issuer.Find(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		own.promote(next.Value)
		if err := issuer.Revoke(t.Context(), old.Key); err != nil {
			t.Fatal(err)
		}
		if left := server.AdminKeys.List(); len(left) != 1 || left[0].ID != next.Key.ID {
			t.Errorf("%d keys are left", len(left))
		}
		if err := issuer.Revoke(t.Context(), next.Key); !errors.Is(err, rotation.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		id, err := issuer.Identify(t.Context(), next.Value)
		if err != nil || id != next.Key.ID {
			t.Errorf("identified as %q, error %v", id, err)
		}
	})
}

// canned answers every request with the same content, and counts those that would change something.
type canned struct {
	body    string
	changes int
}

func (c *canned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		c.changes++
	}
	_, _ = w.Write([]byte(c.body))
}

func TestAnAdminKeyThatMayBeInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing is shown of it":     `{"id":"key_a","redacted_value":""}`,
		"too little is shown of it":  `{"id":"key_a","redacted_value":"sk...x"}`,
		"the answer is of another":   `{"id":"key_b","redacted_value":"sk-admin...xyz"}`,
		"there is no id":             `{"redacted_value":"sk-admin...xyz"}`,
		"it looks like the one used": `{"id":"key_a","redacted_value":"sk-admin...cde"}`,
	} {
		service := &canned{body: body}
		line := &rotationtest.Line{}
		issuer, err := openaikeys.NewAdmin(openaikeys.API{Admin: rotationtest.Fixed("Authorization: Bearer sk-admin-abcde"), Transport: line.Transport(service)})
		if err != nil {
			t.Fatal(err)
		}
		if err := issuer.Revoke(t.Context(), rotation.Key{ID: "key_a"}); err == nil || service.changes != 0 {
			t.Errorf("%s: %d changes, error %v", name, service.changes, err)
		}
	}
}
