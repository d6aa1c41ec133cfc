package oauth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// RegistrationPath is where a client's registration is, below an issuer's own and before the client's id.
const RegistrationPath = "/register/"

// Registration is what a client may read and update of itself (RFC 7592). A client without one has been registered by hand.
type Registration struct {
	// Token is the registration access token.
	Token string
	// Metadata are the client's metadata beside its id and secret (RFC 7591 section 2).
	Metadata map[string]any
	// KeepsSecret says that an update does not make a new secret.
	KeepsSecret bool
	// RotatesToken says that an update makes a new registration access token, and RotatesOnRead that reading does too.
	RotatesToken, RotatesOnRead bool
	// SecretLife is how long a secret is said to be valid. Zero means for ever.
	SecretLife time.Duration

	expires int64
}

// reserved are what a server sets, and what a client must not send.
var reserved = []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}

// registration is the client configuration endpoint (RFC 7592 section 2).
func (s *Server) registration(w http.ResponseWriter, r *http.Request, id string) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.options.Clients, func(c Client) bool { return c.ID == id })
	if !ok || at < 0 || s.options.Clients[at].Registration == nil || subtle.ConstantTimeCompare([]byte(token), []byte(s.options.Clients[at].Registration.Token)) != 1 {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
		return
	}
	s.options.Clients = slices.Clone(s.options.Clients)
	client := &s.options.Clients[at]
	registration := *client.Registration
	client.Registration = &registration
	switch r.Method {
	case http.MethodGet:
		if registration.RotatesOnRead {
			client.Registration.Token = rand.Text()
		}
	case http.MethodPut:
		if problem := client.update(r); problem != nil {
			problem.write(w, r)
			return
		}
	default:
		w.Header().Set("Allow", "GET, PUT")
		http.Error(w, "only GET and PUT are allowed", http.StatusMethodNotAllowed)
		return
	}
	reply(w, http.StatusOK, s.described(*client))
}

// update replaces a client's metadata. What is left out is gone.
func (c *Client) update(r *http.Request) *failure {
	var in map[string]any
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &in) != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return refuse("invalid_client_metadata", "the body is not a JSON object")
	}
	for _, name := range reserved {
		if _, sent := in[name]; sent {
			return refuse("invalid_client_metadata", name+" must not be sent")
		}
	}
	if in["client_id"] != c.ID {
		return refuse("invalid_client_metadata", "client_id is missing or another one")
	}
	if secret, sent := in["client_secret"]; sent && secret != c.Secret {
		return refuse("invalid_client_metadata", "client_secret is not the current one")
	}
	delete(in, "client_id")
	delete(in, "client_secret")
	c.Registration.Metadata = in
	if !c.Registration.KeepsSecret {
		c.Secret = rand.Text() + ":/+ %" // a secret of every kind of character
		c.Registration.expires = 0
		if life := c.Registration.SecretLife; life > 0 {
			c.Registration.expires = time.Now().Add(life).Unix()
		}
	}
	if c.Registration.RotatesToken {
		c.Registration.Token = rand.Text()
	}
	return nil
}

// described is the client information response (RFC 7592 section 3).
func (s *Server) described(c Client) map[string]any {
	document := maps.Clone(c.Registration.Metadata)
	if document == nil {
		document = map[string]any{}
	}
	document["client_id"], document["client_secret"] = c.ID, c.Secret
	document["client_secret_expires_at"] = c.Registration.expires
	document["registration_access_token"] = c.Registration.Token
	document["registration_client_uri"] = s.options.URL + RegistrationPath + url.PathEscape(c.ID)
	return document
}

// Client returns a client as it is registered now.
func (s *Server) Client(id string) (Client, bool) { return s.client(id) }
