// Package webhook has a service of the user's own make and revoke keys, for providers that Postern has no issuer for. The service answers one URL.
// What it has to do is this contract.
//
// # Requests
//
// Every request is a POST of one JSON object. It is signed as Standard Webhooks 1.0 has it (https://www.standardwebhooks.com): the service
// computes HMAC-SHA256 over
//
//	<webhook-id>.<webhook-timestamp>.<the body as it arrived>
//
// with the shared secret, compares its base64 in constant time with what follows "v1," in webhook-signature, and refuses (401) timestamps that
// are more than five minutes off. The secret is stored as whsec_ and the base64 of 24 to 64 random bytes. A library for Standard Webhooks does all of
// this, and so do the thirty lines of Go in this package's example.
//
//	POST /keys HTTP/1.1
//	Content-Type: application/json
//	webhook-id: create-postern-a1b2c3-prod-llm-7-x4f2p
//	webhook-timestamp: 1767225600
//	webhook-signature: v1,<base64>
//
//	{"version": 1, "action": "create", "sent_at": "2026-01-01T00:00:00Z", "credential": "llm",
//	 "cycle": "5bd4a7a5-6ed7-4ee0-a5d9-c29d0b0a2a3c", "number": 7, "name": "postern-a1b2c3-prod-llm-7-x4f2p",
//	 "expires_at": "2026-02-15T00:00:00Z", "current": "key_6"}
//
// Members may be added to requests, so a service ignores those that it does not know. The actions:
//
//   - create makes a key of the given name. The same cycle and name again are the same key, and the same reply. expires_at is left out where keys
//     have no end, and current, the id of the key in use, where it is not known. That key must survive, unless overlap is in_place. A service whose
//     recovery is chosen gets the secret as "value" and makes that one. The reply is {"key": {...}, "value": "the secret"}.
//   - find has a "prefix" and returns the keys whose names begin with it, or all of the credential's if keys have no names:
//     {"keys": [{...}], "next": "cursor"}. With a next, the request is repeated with that "cursor". Nothing is made by a service that does not
//     answer find: what cannot be found again cannot be revoked.
//   - revoke, disable and enable have a "key_id" (and the "name", if known) and are answered by {"done": true}, also when nothing was left to do.
//     A key that is not there is 404 with a JSON object, which is as good. disable and enable are sent to services that declare them.
//   - recover has a "key_id" and "name" and returns the secret again: {"value": "the secret"}. It is sent to services whose recovery is readable.
//   - verify has a stored secret as "value" and tries it as the gateway would: {"accepted": true}, or false if the provider does not accept it (yet).
//
// A key is {"id": "key_7", "name": "...", "created_at": "...", "last_used_at": "...", "expires_at": "...", "disabled": false}. All but the id may be
// left out; a service that declares named gives the name, one that declares last_used the time.
//
// # Replies
//
// Success is 200 with JSON. 400 to 499 mean that it was not done and will not be: 401 for a signature, 403 for a missing right, 404 for a key that is not
// there, 409 for a limit. 429 means that it was not done and may be later, with Retry-After. 501 is for an action that the service does not know. Any
// other status, and no reply, mean that nobody knows; after a create the service is asked by find. No text of a reply is shown anywhere.
//
// The package must not know where keys are stored, nor when they are rotated.
package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// Options says where the service is and what it can do.
type Options struct {
	// URL takes the requests.
	URL string
	// Secret reads the shared secret. It is called for each request, so it keeps what is costly to fetch.
	Secret func(ctx context.Context) (secrets.Value, error)
	// OnRejected, when set, is told of a secret that the service did not accept, for the reader of the store to read it again.
	OnRejected func(secret secrets.Value)
	// Traits are what the service declares of its keys.
	Traits rotation.Traits
	// Disables says that the service knows the actions disable and enable.
	Disables bool
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 10 s.
	Timeout time.Duration
}

// issuer asks the service. It is safe for concurrent use.
type issuer struct {
	options Options
	url     string
	remote  rotation.Remote
}

// New returns an issuer that is also a Verifier, and, as the traits say, a Recoverer, a Chooser and a Disabler. It makes no network call.
func New(options Options) (rotation.Issuer, error) {
	address, err := rotation.Address(options.URL)
	if err != nil {
		return nil, errors.New("webhook_url: " + err.Error())
	}
	if err := check(options); err != nil {
		return nil, err
	}
	i := &issuer{options: options, url: address.String(), remote: rotation.Remote{
		Service: "the webhook", HTTP: secrets.Bounded(options.Transport), Timeout: options.Timeout, Admin: signer{options.Secret, options.OnRejected},
	}}
	return i.as(), nil
}

func check(options Options) error {
	traits := options.Traits
	switch {
	case options.Secret == nil:
		return errors.New("a webhook needs a shared secret; set admin_ref")
	case traits.Overlap != rotation.Parallel && traits.Overlap != rotation.TwoSlots && traits.Overlap != rotation.InPlace:
		return errors.New("overlap has to be parallel, two_slots or in_place")
	case traits.Recovery != rotation.Listed && traits.Recovery != rotation.Readable && traits.Recovery != rotation.Chosen:
		return errors.New("recovery has to be listed, readable or chosen")
	case traits.Overlap != rotation.Parallel && traits.Recovery == rotation.Listed:
		return errors.New("recovery has to be readable or chosen where overlap is not parallel: the old key may end before the new one is known")
	case traits.MaxLive < 0 || traits.Overlap == rotation.Parallel && traits.MaxLive == 1:
		return errors.New("max_live has to be two or more where overlap is parallel, or left out")
	}
	return nil
}

// The parts of an issuer that not every service has.
type (
	recovers struct{ *issuer }
	chooses  struct{ *issuer }
	switches struct{ *issuer }
)

// as returns the issuer as what the service can do, which its type tells.
func (i *issuer) as() rotation.Issuer {
	readable, chosen := i.options.Traits.Recovery == rotation.Readable, i.options.Traits.Recovery == rotation.Chosen
	switch {
	case readable && i.options.Disables:
		return struct {
			*issuer
			rotation.Recoverer
			rotation.Disabler
		}{i, recovers{i}, switches{i}}
	case readable:
		return struct {
			*issuer
			rotation.Recoverer
		}{i, recovers{i}}
	case chosen && i.options.Disables:
		return struct {
			*issuer
			rotation.Chooser
			rotation.Disabler
		}{i, chooses{i}, switches{i}}
	case chosen:
		return struct {
			*issuer
			rotation.Chooser
		}{i, chooses{i}}
	case i.options.Disables:
		return struct {
			*issuer
			rotation.Disabler
		}{i, switches{i}}
	}
	return i
}

// Traits returns what the service declares.
func (i *issuer) Traits() rotation.Traits { return i.options.Traits }

// request is what is asked. Secrets are in it, so it is made where it is sent.
type request struct {
	Version    int       `json:"version"`
	Action     string    `json:"action"`
	SentAt     time.Time `json:"sent_at"`
	Credential string    `json:"credential,omitzero"`
	Cycle      string    `json:"cycle,omitzero"`
	Number     int64     `json:"number,omitzero"`
	Name       string    `json:"name,omitzero"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	Current    string    `json:"current,omitzero"`
	KeyID      string    `json:"key_id,omitzero"`
	Prefix     *string   `json:"prefix,omitzero"`
	Cursor     string    `json:"cursor,omitzero"`
	Value      string    `json:"value,omitzero"`

	// op is what is not done if it fails, and id that of the message, which is drawn if it is empty.
	op, id string
}

// key is a key as the service shows it.
type key struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	Disabled   bool      `json:"disabled"`
}

func (k key) key() rotation.Key {
	return rotation.Key{ID: k.ID, Name: k.Name, Created: k.CreatedAt, LastUsed: k.LastUsedAt, Expires: k.ExpiresAt, Disabled: k.Disabled}
}

// ask sends a request.
func (i *issuer) ask(ctx context.Context, r request) (rotation.Reply, error) {
	r.Version, r.SentAt = 1, time.Now().UTC()
	if r.op == "" {
		r.op = r.Action
	}
	if r.id == "" {
		r.id = rand.Text()
	}
	reply, err := i.remote.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: r.op}, Method: http.MethodPost, URL: i.url, Header: http.Header{idHeader: {r.id}}, Body: r,
	})
	if err != nil {
		return rotation.Reply{}, err
	}
	switch reply.Status {
	case http.StatusNotImplemented:
		return rotation.Reply{}, reply.Refused("the webhook does not know the action " + r.Action + " (501)")
	case http.StatusUnauthorized:
		return rotation.Reply{}, reply.Refused("the webhook does not accept the signature (401); both sides have to have the same secret, and clocks that agree")
	}
	return reply, nil
}

// Create makes a key.
func (i *issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	// A service that finds nothing again would leave keys behind that nobody knows, so it makes none.
	if _, err := i.page(ctx, request{op: "create", Prefix: &order.Name}); err != nil {
		return rotation.Issued{}, err
	}
	reply, err := i.ask(ctx, request{
		Action: "create", id: "create-" + order.Name, Credential: order.Credential, Cycle: order.Cycle, Number: order.Number, Name: order.Name,
		ExpiresAt: order.Expires.UTC(), Current: order.Current, Value: order.Chosen.Reveal(),
	})
	if err != nil {
		return rotation.Issued{}, err
	}
	var out struct {
		Key   key    `json:"key"`
		Value string `json:"value"`
	}
	if err := reply.Decode(&out); err != nil {
		return rotation.Issued{}, err
	}
	if out.Key.ID == "" || i.options.Traits.Named && out.Key.Name != order.Name || (out.Value == "") == order.Chosen.IsZero() {
		return rotation.Issued{}, reply.Malformed()
	}
	return rotation.Issued{Key: out.Key.key(), Value: secrets.NewValue(out.Value)}, nil
}

// page is one page of a list.
type page struct {
	Keys []key  `json:"keys"`
	Next string `json:"next"`
}

func (i *issuer) page(ctx context.Context, r request) (page, error) {
	r.Action = "find"
	reply, err := i.ask(ctx, r)
	if err != nil {
		return page{}, err
	}
	var out page
	if err := reply.Decode(&out); err != nil {
		return page{}, err
	}
	if out.Keys == nil {
		return page{}, reply.Malformed()
	}
	return out, nil
}

// Find returns the keys whose names begin with the prefix, or all if the service's keys have no names.
func (i *issuer) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	var keys []rotation.Key
	err := rotation.Pages("find", func(cursor string) (string, error) {
		out, err := i.page(ctx, request{Prefix: &prefix, Cursor: cursor})
		for _, k := range out.Keys {
			// Others' keys are not found, whatever the service makes of the prefix.
			if k.ID != "" && (!i.options.Traits.Named || strings.HasPrefix(k.Name, prefix)) {
				keys = append(keys, k.key())
			}
		}
		return out.Next, err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// Revoke ends a key.
func (i *issuer) Revoke(ctx context.Context, key rotation.Key) error {
	return i.end(ctx, "revoke", key)
}

// end sends an action after which a key does not work.
func (i *issuer) end(ctx context.Context, action string, key rotation.Key) error {
	reply, err := i.ask(ctx, request{Action: action, KeyID: key.ID, Name: key.Name})
	if err != nil || reply.Gone() {
		return err
	}
	return done(reply)
}

func done(reply rotation.Reply) error {
	var out struct {
		Done bool `json:"done"`
	}
	if err := reply.Decode(&out); err != nil {
		return err
	}
	if !out.Done {
		return reply.Malformed()
	}
	return nil
}

// Verify has the service try a key.
func (i *issuer) Verify(ctx context.Context, value secrets.Value) error {
	reply, err := i.ask(ctx, request{Action: "verify", Value: value.Reveal()})
	if err != nil {
		return err
	}
	var out struct {
		Accepted *bool `json:"accepted"`
	}
	if err := reply.Decode(&out); err != nil {
		return err
	}
	switch {
	case out.Accepted == nil:
		return reply.Malformed()
	case !*out.Accepted:
		return &rotation.Error{Op: "verify", Reason: "the webhook says that the key is not accepted", Err: rotation.ErrRejected}
	}
	return nil
}

// Disable stops a key.
func (s switches) Disable(ctx context.Context, key rotation.Key) error {
	return s.end(ctx, "disable", key)
}

// Enable starts a key.
func (s switches) Enable(ctx context.Context, key rotation.Key) error {
	reply, err := s.ask(ctx, request{Action: "enable", KeyID: key.ID, Name: key.Name})
	if err != nil {
		return err
	}
	return done(reply)
}

// Recover asks for the secret of a key again.
func (r recovers) Recover(ctx context.Context, key rotation.Key, order rotation.Order) (secrets.Value, error) {
	reply, err := r.ask(ctx, request{
		Action: "recover", KeyID: key.ID, Name: order.Name, Credential: order.Credential, Cycle: order.Cycle, Number: order.Number, Current: order.Current,
	})
	if err != nil {
		return secrets.Value{}, err
	}
	var out struct {
		Value string `json:"value"`
	}
	if err := reply.Decode(&out); err != nil {
		return secrets.Value{}, err
	}
	if out.Value == "" {
		return secrets.Value{}, reply.Malformed()
	}
	return secrets.NewValue(out.Value), nil
}

// Choose draws a secret of letters and digits, of more than 256 bits.
func (chooses) Choose(rotation.Order) (secrets.Value, error) {
	return secrets.NewValue(rand.Text() + rand.Text()), nil
}
