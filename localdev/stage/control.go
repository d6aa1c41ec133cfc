package stage

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/postern-ai/postern/localdev/fake/oidc"
)

// control is the page that says what runs where, and gives out caller tokens.
func (s *Stage) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, s.Help())
	})
	mux.HandleFunc("GET /token", s.token)
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Calls())
	})
	return mux
}

// token answers GET /token?sub=&groups=&mfa=&ttl= with a caller's JWT as text.
func (s *Stage) token(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	t := oidc.Token{Subject: q.Get("sub"), MFA: q.Get("mfa") == "true" || q.Get("mfa") == "1"}
	if groups := q.Get("groups"); groups != "" {
		t.Groups = strings.Split(groups, ",")
	}
	if ttl := q.Get("ttl"); ttl != "" {
		life, err := time.ParseDuration(ttl)
		if err != nil {
			http.Error(w, "ttl takes a duration such as 10m; a negative one makes an expired token", http.StatusBadRequest)
			return
		}
		t.Lifetime = life
	}
	token, err := s.Token(t)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, token)
}

// Help says what runs where and how to call it.
func (s *Stage) Help() string {
	var b strings.Builder
	b.WriteString("Postern, on this machine. No provider key is anywhere.\n\n")
	for _, cloud := range Clouds() {
		fmt.Fprintf(&b, "  %-6s %s/v1   model %s\n", cloud, s.Gateways[cloud], Model(cloud))
	}
	fmt.Fprintf(&b, "\nA token to call them with, for an hour:\n\n  TOKEN=$(curl -s '%s/token?sub=me')\n\n", s.Control)
	fmt.Fprintf(&b, `A streamed chat:

  curl -N %s/v1/chat/completions -H "Authorization: Bearer $TOKEN" \
    -H 'Content-Type: application/json' \
    -d '{"model":"%s","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

`, s.Gateways[AWS], Model(AWS))
	fmt.Fprintf(&b, "An OpenAI client takes the address as its base URL and the token as its API key.\n\n")
	fmt.Fprintf(&b, "  %s/calls   the model calls so far, and who signed them\n\nThe stand-ins:\n\n", s.Control)
	for _, one := range s.services.list {
		fmt.Fprintf(&b, "  %-22s %s\n", one.name, one.url)
	}
	return b.String()
}
