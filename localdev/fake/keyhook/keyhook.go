// Package keyhook is a service that makes keys for whoever signs its requests, as people would write one for a provider of their own. It is written
// from the contract in package shared/rotation/webhook and from Standard Webhooks 1.0, and refuses what those tell it to refuse.
//
// The package must not know how the gateway rotates keys.
package keyhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

const (
	// tolerance is how far off the time of a request may be.
	tolerance = 5 * time.Minute
	// perPage is how many keys a list has at most.
	perPage = 50
	// secretForm begins the values of keys.
	secretForm = "key-"
)

// Options says what the service does.
type Options struct {
	// Secrets are the shared secrets, any of which may have signed a request.
	Secrets func() []string
	// Slots is how many keys there are for ever, each of which is given another value. Zero means that keys are made and go.
	Slots int
	// Chosen says that whoever orders a key chooses its value.
	Chosen bool
	// Lacks are the actions that the service does not know.
	Lacks []string
}

// Server has the keys of one owner. It is safe for concurrent use.
type Server struct {
	// Keys are the keys.
	Keys keyring.Ring

	options Options
	mu      sync.Mutex
	orders  map[order]string // ids of keys
}

type order struct{ cycle, name string }

// New returns a Server, with as many keys as it has slots.
func New(options Options) *Server {
	s := &Server{options: options, orders: map[order]string{}}
	for range options.Slots {
		s.Add("slot")
	}
	return s
}

// Add makes a key as people do.
func (s *Server) Add(name string) keyring.Key {
	return s.Keys.Add(keyring.Key{ID: "k_", Name: name, Secret: secretForm})
}

// in is a request. A service would read those members only that it needs; this one knows all that there are.
type in struct {
	Version    int       `json:"version"`
	Action     string    `json:"action"`
	SentAt     time.Time `json:"sent_at"`
	Credential string    `json:"credential"`
	Cycle      string    `json:"cycle"`
	Number     int64     `json:"number"`
	Name       string    `json:"name"`
	ExpiresAt  time.Time `json:"expires_at"`
	Current    string    `json:"current"`
	KeyID      string    `json:"key_id"`
	Prefix     *string   `json:"prefix"`
	Cursor     string    `json:"cursor"`
	Value      string    `json:"value"`
}

func refuse(w http.ResponseWriter, status int, message string) {
	strictjson.Write(w, status, map[string]string{"error": message})
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	switch {
	case r.Method != http.MethodPost:
		refuse(w, http.StatusMethodNotAllowed, "only POST is allowed")
		return
	case err != nil:
		refuse(w, http.StatusBadRequest, "the body cannot be read")
		return
	case !s.signed(r.Header, body):
		refuse(w, http.StatusUnauthorized, "the signature is missing or wrong")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var request in
	if err := strictjson.Read(r, &request); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if request.Version != 1 || time.Since(request.SentAt).Abs() > tolerance {
		refuse(w, http.StatusBadRequest, "version has to be 1, and sent_at now")
		return
	}
	serve, known := map[string]func(http.ResponseWriter, in){
		"create": s.create, "find": s.find, "revoke": s.revoke, "disable": s.disable, "enable": s.enable, "recover": s.recover, "verify": s.verify,
	}[request.Action]
	if !known || slices.Contains(s.options.Lacks, request.Action) {
		refuse(w, http.StatusNotImplemented, "the action is not known")
		return
	}
	serve(w, request)
}

// signed checks the headers of Standard Webhooks.
func (s *Server) signed(header http.Header, body []byte) bool {
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || strings.Contains(id, ".") || err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	for _, secret := range s.options.Secrets() {
		text, prefixed := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(text)
		if !prefixed || err != nil {
			continue
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		for signature := range strings.SplitSeq(header.Get("Webhook-Signature"), " ") {
			if hmac.Equal([]byte(signature), []byte(want)) {
				return true
			}
		}
	}
	return false
}

type shown struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	Disabled   bool      `json:"disabled"`
}

func show(k keyring.Key) shown {
	return shown{ID: k.ID, Name: k.Name, CreatedAt: k.Created, LastUsedAt: k.LastUsed, ExpiresAt: k.Expires, Disabled: k.Disabled}
}

func (s *Server) create(w http.ResponseWriter, request in) {
	if request.Name == "" || request.Cycle == "" || request.Credential == "" || (request.Value != "") != s.options.Chosen {
		refuse(w, http.StatusBadRequest, "credential, cycle and name are needed, and a value where it is chosen")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made := order{request.Cycle, request.Name}
	key, again := s.Keys.Get(s.orders[made])
	if !again {
		var ok bool
		if key, ok = s.make(request); !ok {
			refuse(w, http.StatusConflict, "every slot is in use")
			return
		}
		s.orders[made] = key.ID
	}
	reply := map[string]any{"key": show(key)}
	if !s.options.Chosen {
		reply["value"] = key.Secret
	}
	strictjson.Write(w, http.StatusOK, reply)
}

// make makes a key, or gives a slot that is not in use another value. A single slot is always in use.
func (s *Server) make(request in) (keyring.Key, bool) {
	if s.options.Slots == 0 {
		key := s.Keys.Add(keyring.Key{ID: "k_", Name: request.Name, Secret: secretForm, Expires: request.ExpiresAt})
		if s.options.Chosen {
			key, _ = s.Keys.Change(key.ID, func(k *keyring.Key) { k.Secret = request.Value })
		}
		return key, true
	}
	for _, key := range s.Keys.List() {
		if s.options.Slots == 1 || key.ID != request.Current {
			return s.renew(key.ID), true
		}
	}
	return keyring.Key{}, false
}

// renew gives a slot another value.
func (s *Server) renew(id string) keyring.Key {
	var other keyring.Ring
	drawn := other.Add(keyring.Key{Secret: secretForm})
	key, _ := s.Keys.Change(id, func(k *keyring.Key) { k.Secret, k.Created, k.Disabled = drawn.Secret, drawn.Created, false })
	return key
}

func (s *Server) find(w http.ResponseWriter, request in) {
	offset, err := 0, error(nil)
	if request.Cursor != "" {
		offset, err = strconv.Atoi(request.Cursor)
	}
	if request.Prefix == nil || err != nil || offset < 0 {
		refuse(w, http.StatusBadRequest, "a prefix is needed, and the cursor is what next was")
		return
	}
	all := []shown{}
	for _, key := range s.Keys.List() {
		if s.options.Slots > 0 || strings.HasPrefix(key.Name, *request.Prefix) {
			all = append(all, show(key))
		}
	}
	all = all[min(offset, len(all)):]
	reply := map[string]any{"keys": all[:min(perPage, len(all))]}
	if len(all) > perPage {
		reply["next"] = strconv.Itoa(offset + perPage)
	}
	strictjson.Write(w, http.StatusOK, reply)
}

func (s *Server) revoke(w http.ResponseWriter, request in) {
	switch {
	case s.options.Slots == 1: // the value has been replaced already
	case s.options.Slots > 1:
		s.renew(request.KeyID)
	case s.Keys.Remove(func(k keyring.Key) bool { return k.ID == request.KeyID }) == 0:
		refuse(w, http.StatusNotFound, "there is no such key")
		return
	}
	strictjson.Write(w, http.StatusOK, map[string]bool{"done": true})
}

func (s *Server) disable(w http.ResponseWriter, request in) { s.set(w, request.KeyID, true) }
func (s *Server) enable(w http.ResponseWriter, request in)  { s.set(w, request.KeyID, false) }

func (s *Server) set(w http.ResponseWriter, id string, disabled bool) {
	if _, ok := s.Keys.Change(id, func(k *keyring.Key) { k.Disabled = disabled }); !ok {
		refuse(w, http.StatusNotFound, "there is no such key")
		return
	}
	strictjson.Write(w, http.StatusOK, map[string]bool{"done": true})
}

func (s *Server) recover(w http.ResponseWriter, request in) {
	key, ok := s.Keys.Get(request.KeyID)
	if s.options.Slots == 1 {
		key, ok = s.Keys.List()[0], true
	}
	if !ok {
		refuse(w, http.StatusNotFound, "there is no such key")
		return
	}
	strictjson.Write(w, http.StatusOK, map[string]string{"value": key.Secret})
}

func (s *Server) verify(w http.ResponseWriter, request in) {
	_, ok := s.Keys.Use(request.Value)
	strictjson.Write(w, http.StatusOK, map[string]bool{"accepted": ok})
}
