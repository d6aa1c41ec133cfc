package metadata

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

const (
	issuer = "https://accounts.google.com"
	keyID  = "local-1"
)

// PublicKey returns the key that verifies the identity tokens (RS256).
func (s *Server) PublicKey() *rsa.PublicKey { return &s.key().PublicKey }

func (s *Server) identity(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	audience := query.Get("audience")
	if audience == "" {
		http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
		return
	}
	now := time.Now()
	claims := map[string]any{
		"iss": issuer, "aud": audience, "azp": "104000000000000000001", "sub": "104000000000000000001",
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
	token, err := s.sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte(token))
}

func (s *Server) sign(claims map[string]any) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": "RS256", "kid": keyID, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key(), crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
