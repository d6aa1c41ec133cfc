package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/shared/audit"
)

// control is the page that says what runs where, gives out caller tokens, and has
// keys rotated.
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
	mux.HandleFunc("/rotate", s.rotate)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		text, err := EncodeEvents(s.Events())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	})
	return mux
}

// EncodeEvents returns events as a JSON array.
func EncodeEvents(events []audit.Event) ([]byte, error) {
	if events == nil {
		events = []audit.Event{}
	}
	text, err := jsonv2.Marshal(events)
	return append(text, '\n'), err
}

// Command is what an operator sends to a rotation function.
type Command struct {
	Verb         string `json:"postern"`
	Credential   string `json:"credential,omitzero"`
	Actor        string `json:"actor,omitzero"`
	DisableFirst bool   `json:"disable_first,omitzero"`
}

// Rotate runs the rotation function of a cloud once and returns its report. The
// zero Command does what the schedule does.
func (s *Stage) Rotate(ctx context.Context, cloud string, c Command) ([]byte, error) {
	r, err := s.Rotation(cloud)
	if err != nil {
		return nil, err
	}
	if c == (Command{}) {
		return r.Tick(ctx)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return r.Operate(ctx, text)
}

// rotate answers /rotate?cloud=&verb=&credential=&actor=&disable_first= with the
// report of the rotation function.
func (s *Stage) rotate(w http.ResponseWriter, r *http.Request) {
	cloud, c, err := readRotate(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	report, err := s.Rotate(r.Context(), cloud, c)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		http.Error(w, refused.Error(), http.StatusBadGateway)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(bytes.TrimSpace(report), '\n'))
}

// readRotate reads the query of /rotate.
func readRotate(q url.Values) (cloud string, c Command, err error) {
	for name := range q {
		if !slices.Contains([]string{"cloud", "verb", "credential", "actor", "disable_first"}, name) {
			return "", c, errors.New("there are the parameters cloud, verb, credential, actor and disable_first, and one of these is another")
		}
	}
	if cloud = q.Get("cloud"); !slices.Contains(Clouds(), cloud) {
		return "", c, fmt.Errorf("cloud takes one of %s", strings.Join(Clouds(), ", "))
	}
	c = Command{Verb: q.Get("verb"), Credential: q.Get("credential"), Actor: q.Get("actor")}
	if first := q.Get("disable_first"); first != "" {
		if c.DisableFirst, err = strconv.ParseBool(first); err != nil {
			return "", c, errors.New("disable_first takes true or false")
		}
	}
	if c != (Command{}) && c.Verb == "" {
		c.Verb = "rotate"
	}
	return cloud, c, nil
}

// token answers GET /token?sub=&groups=&mfa=&ttl= with a caller's JWT as text.
func (s *Stage) token(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"sub", "groups", "mfa", "ttl"}, name) {
			http.Error(w, "there are the parameters sub, groups, mfa and ttl, and one of these is another", http.StatusBadRequest)
			return
		}
	}
	t := oidc.Token{Subject: q.Get("sub")}
	if mfa := q.Get("mfa"); mfa != "" {
		var err error
		if t.MFA, err = strconv.ParseBool(mfa); err != nil {
			http.Error(w, "mfa takes true or false", http.StatusBadRequest)
			return
		}
	}
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
	fmt.Fprintf(&b, "Postern, on this machine. The functions hold no provider key; one is stored for the model %s, and rotated.\n\n", StoredModel)
	for _, cloud := range Clouds() {
		fmt.Fprintf(&b, "  %-6s %s/v1   model %s\n", cloud, s.Gateways[cloud], Model(cloud))
	}
	if s.o.CrossCloud {
		fmt.Fprintf(&b, "\nEach serves the models of the other two as well, and %s and %s, by its own platform's identity.\n", openAIModel, anthropicModel)
	}
	fmt.Fprintf(&b, "\nA token to call them with, for an hour:\n\n  TOKEN=$(curl -s '%s/token?sub=me')\n\n", s.Control)
	fmt.Fprintf(&b, `A streamed chat:

  curl -N %s/v1/chat/completions -H "Authorization: Bearer $TOKEN" \
    -H 'Content-Type: application/json' \
    -d '{"model":"%s","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

`, s.Gateways[AWS], Model(AWS))
	fmt.Fprintf(&b, "An OpenAI client takes the address as its base URL and the token as its API key.\n\n")
	fmt.Fprintf(&b, "  %s/calls   the model calls so far, and who signed them\n", s.Control)
	fmt.Fprintf(&b, "  %s/rotate?cloud=aws   the rotation function runs once, as by its schedule\n", s.Control)
	fmt.Fprintf(&b, "  %s/rotate?cloud=aws&verb=force&credential=%s   the stored key is rotated now\n", s.Control, StoredKey)
	fmt.Fprintf(&b, "  %s/events   the audit events so far\n\nThe stand-ins:\n\n", s.Control)
	for _, one := range s.services.list {
		fmt.Fprintf(&b, "  %-22s %s\n", one.name, one.url)
	}
	return b.String()
}
