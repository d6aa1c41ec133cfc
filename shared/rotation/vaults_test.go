package rotation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// TestTheVaultOfTheScenariosIsLikeTheRealStores has the secret store of these tests pass what the stores of the clouds have to pass: what the
// rotation survives there, it survives in the clouds. A request over HTTP stands for each of its calls.
func TestTheVaultOfTheScenariosIsLikeTheRealStores(t *testing.T) {
	for name, copies := range map[string]bool{"which moves labels": false, "which copies": true} {
		t.Run(name, func(t *testing.T) {
			secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
				vaults := &vaults{copies: copies, worlds: map[string]*world{}}
				server := httptest.NewServer(vaults)
				t.Cleanup(server.Close)
				client := func(transport http.RoundTripper) remote {
					return remote{address: server.URL, client: &http.Client{
						Transport: transport, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
					}}
				}
				other := client(nil)
				return secretstest.World{
					Store: client(line), Another: other, Reader: reading{other},
					Ref: func(name string) secrets.Ref { return secrets.Ref{Name: name} },
					Put: func(put secretstest.Put) string {
						vaults.mu.Lock()
						defer vaults.mu.Unlock()
						return vaults.of(put.Name, true).people(put.Text).id
					},
					Pend: func(put secretstest.Put) {
						vaults.mu.Lock()
						defer vaults.mu.Unlock()
						vaults.of(put.Name, true).pend(put.Text)
					},
					Make: func(name string) {
						vaults.mu.Lock()
						defer vaults.mu.Unlock()
						vaults.of(name, true)
					},
					Delete: func(name string) {
						vaults.mu.Lock()
						defer vaults.mu.Unlock()
						delete(vaults.worlds, name)
					},
					StagesOnce: true, Swaps: true, Throttled: secretstest.Reply{Status: http.StatusTooManyRequests},
				}
			})
		})
	}
}

// vaults are the secrets of one store.
type vaults struct {
	copies bool
	mu     sync.Mutex
	worlds map[string]*world
}

// of returns the world of a secret. The caller holds the lock.
func (v *vaults) of(name string, make bool) *world {
	w := v.worlds[name]
	if w == nil && make {
		w = &world{kind: kind{copies: v.copies}, rush: true, strict: true, suffix: "0"}
		v.worlds[name] = w
	}
	return w
}

// ask is a call of a store as a request, and reply what comes of it. Kind says of an error what it wraps.
type ask struct {
	Op, Name, ID, Cycle, Text string
	Promotion                 secrets.Promotion
}

type reply struct {
	Inventory secrets.Inventory
	Version   secrets.Version
	Text      string
	Reason    string
	Kind      int
}

// errorKinds are what the errors of a store wrap.
func errorKinds() []error {
	return []error{nil, secrets.ErrNotFound, secrets.ErrConflict, secrets.ErrOccupied}
}

func (v *vaults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var in ask
	if json.UnmarshalRead(r.Body, &in) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	out := reply{Kind: 1, Reason: "there is no such secret"}
	if world := v.of(in.Name, false); world != nil {
		out = v.do(r.Context(), vault{&function{world: world}}, in)
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(append(text, '\n'))
}

func (v *vaults) do(ctx context.Context, vault vault, in ask) reply {
	var out reply
	var err error
	ref := secrets.Ref{Name: in.Name}
	switch in.Op {
	case "inspect":
		out.Inventory, err = vault.Inspect(ctx, ref)
	case "read":
		var value secrets.Value
		value, err = vault.Value(ctx, ref, in.ID)
		out.Text = value.Reveal()
	case "stage":
		out.Version, err = vault.Stage(ctx, ref, secrets.Candidate{Cycle: in.Cycle, Value: secrets.NewValue(in.Text)})
	case "promote":
		out.Version, err = vault.Promote(ctx, ref, in.Promotion)
	case "drop":
		err = vault.Drop(ctx, ref, in.ID)
	}
	if told, ok := errors.AsType[*secrets.Error](err); ok {
		out.Reason = told.Reason
		out.Kind = slices.IndexFunc(errorKinds(), func(kind error) bool { return kind != nil && errors.Is(told, kind) })
	}
	return out
}

// remote is the store at the other end.
type remote struct {
	address string
	client  *http.Client
}

func (s remote) call(ctx context.Context, ref secrets.Ref, in ask) (reply, error) {
	refuse := func(reason string, err error) (reply, error) {
		return reply{}, &secrets.Error{Ref: ref, Op: in.Op, Reason: reason, Err: err}
	}
	own, err := ref.Whole(secrets.StoreOwn)
	if err != nil {
		return reply{}, secrets.Failed(in.Op, err)
	}
	in.Name = own.Name
	body, err := json.Marshal(in)
	if err != nil {
		return refuse("it cannot be sent", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.address, bytes.NewReader(body))
	if err != nil {
		return refuse("it cannot be sent", err)
	}
	response, err := s.client.Do(request)
	switch {
	case ctx.Err() != nil:
		return refuse("the caller has gone", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return refuse("timed out", context.DeadlineExceeded)
	case err != nil:
		return refuse("no reply", io.ErrUnexpectedEOF)
	}
	defer func() { _ = response.Body.Close() }()
	var out reply
	switch {
	case response.StatusCode == http.StatusTooManyRequests:
		return refuse("throttled", secrets.ErrThrottled)
	case response.StatusCode != http.StatusOK:
		return refuse(fmt.Sprintf("status %d", response.StatusCode), nil)
	case json.UnmarshalRead(io.LimitReader(response.Body, 1<<20), &out, json.RejectUnknownMembers(true)) != nil:
		return refuse("the reply is not the store's", nil)
	case out.Reason != "":
		return refuse(out.Reason, errorKinds()[out.Kind])
	}
	return out, nil
}

func (s remote) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	out, err := s.call(ctx, ref, ask{Op: "inspect"})
	return out.Inventory, err
}

func (s remote) Value(ctx context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	out, err := s.call(ctx, ref, ask{Op: "read", ID: id})
	return secrets.NewValue(out.Text), err
}

func (s remote) Stage(ctx context.Context, ref secrets.Ref, candidate secrets.Candidate) (secrets.Version, error) {
	if err := candidate.Check(ref); err != nil {
		return secrets.Version{}, secrets.Failed("stage", err)
	}
	out, err := s.call(ctx, ref, ask{Op: "stage", Cycle: candidate.Cycle, Text: candidate.Value.Reveal()})
	return out.Version, err
}

func (s remote) Promote(ctx context.Context, ref secrets.Ref, promotion secrets.Promotion) (secrets.Version, error) {
	out, err := s.call(ctx, ref, ask{Op: "promote", Promotion: promotion})
	return out.Version, err
}

func (s remote) Drop(ctx context.Context, ref secrets.Ref, id string) error {
	_, err := s.call(ctx, ref, ask{Op: "drop", ID: id})
	return err
}

// reading reads what the store holds.
type reading struct{ store remote }

func (r reading) Read(ctx context.Context, ref secrets.Ref) (secrets.Value, error) {
	secret, err := r.Current(ctx, ref)
	return secret.Value, err
}

func (r reading) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return r.get(ctx, ref, func(i secrets.Inventory) secrets.Version { return i.Current })
}

func (r reading) Previous(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return r.get(ctx, ref, func(i secrets.Inventory) secrets.Version { return i.Previous })
}

func (r reading) get(ctx context.Context, ref secrets.Ref, which func(secrets.Inventory) secrets.Version) (secrets.Secret, error) {
	inventory, err := r.store.Inspect(ctx, ref)
	if err != nil {
		return secrets.Secret{}, err
	}
	version := which(inventory)
	value, err := r.store.Value(ctx, ref, version.ID)
	return secrets.Secret{Value: value, Version: version.ID, Created: version.Created}, err
}
