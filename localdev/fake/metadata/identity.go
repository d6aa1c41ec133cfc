package metadata

import (
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is the iss claim of identity tokens.
const Issuer = "https://accounts.google.com"

// KeySet returns the keys that verify the identity tokens (RS256).
func (s *Server) KeySet() jose.JSONWebKeySet { return s.options.Signer.KeySet() }

// Subject returns the sub claim of identity tokens: the service account's unique id, which is not its address.
func (s *Server) Subject() string { return s.options.UniqueID }

func (s *Server) identity(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	audience := query.Get("audience")
	if audience == "" {
		http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
		return
	}
	now := time.Now()
	claims := map[string]any{
		"iss": Issuer, "aud": audience, "azp": s.options.UniqueID, "sub": s.options.UniqueID,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	switch query.Get("format") {
	case "", "standard":
	case "full":
		claims["email"], claims["email_verified"] = s.options.Email, true
	default:
		http.Error(w, "Invalid format parameter", http.StatusBadRequest)
		return
	}
	token, err := s.options.Signer.Sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte(token))
}
