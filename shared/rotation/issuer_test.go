package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// issuer is the issuer as a function reaches it.
type issuer struct{ *function }

func (i issuer) do(ctx context.Context, op string, effect func() error) error {
	err, certain := i.call(ctx, op, effect)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*rotation.Error](err); ok {
		return err
	}
	cause := rotation.ErrUnanswered
	if certain {
		cause = rotation.ErrThrottled
	}
	wrong := &rotation.Error{Op: op, Reason: err.Error(), Err: cause}
	if certain {
		wrong.RetryAfter = i.retryAfter
	}
	return wrong
}

func (i issuer) Traits() rotation.Traits { return i.kind.traits }

func refuse(op, reason string) error {
	return &rotation.Error{Op: op, Reason: reason, Err: rotation.ErrRefused}
}

func (i issuer) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	var issued rotation.Issued
	err := i.do(ctx, "create", func() error {
		i.writes++
		switch {
		case i.kind.traits.Overlap == rotation.TwoSlots:
			k := i.byID("key1")
			if order.Current == "key1" {
				k = i.byID("key2")
			}
			i.renew(k)
			issued = rotation.Issued{Key: rotation.Key{ID: k.id}, Value: secrets.NewValue(k.secret)}
		case i.kind.traits.Overlap == rotation.InPlace:
			k := i.keys[0]
			i.renew(k)
			issued = rotation.Issued{Key: rotation.Key{ID: order.Name}, Value: secrets.NewValue(k.secret)}
		case i.kind.traits.Recovery == rotation.Assisted:
			return refuse("create", "people make these keys")
		case i.kind.traits.MaxLive > 0 && i.live() >= i.kind.traits.MaxLive:
			return refuse("create", "the owner has as many keys as it may")
		default:
			name := order.Name
			if !i.kind.traits.Named {
				name = ""
			}
			k := i.newKey(name)
			k.expires = order.Expires
			issued.Key = rotation.Key{ID: k.id, Name: k.name, Created: k.created, Expires: k.expires}
			if i.kind.traits.Recovery == rotation.Chosen {
				k.secret = order.Chosen.Reveal()
			} else {
				issued.Value = secrets.NewValue(k.secret)
			}
		}
		return nil
	})
	return issued, err
}

// renew gives a key another secret.
func (i issuer) renew(k *made) {
	i.count++
	k.secret = fmt.Sprintf("secret-%d-%s", i.count, canary)
}

func (i issuer) live() int {
	n := 0
	for _, k := range i.keys {
		if !k.revoked {
			n++
		}
	}
	return n
}

func (i issuer) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	var found []rotation.Key
	err := i.do(ctx, "find", func() error {
		for _, k := range i.keys {
			if (!k.revoked || time.Since(k.end) < i.haunted) && strings.HasPrefix(k.name, prefix) {
				found = append(found, rotation.Key{ID: k.id, Name: k.name, Created: k.created, LastUsed: k.lastUsed, Disabled: k.disabled})
			}
		}
		return nil
	})
	return found, err
}

func (i issuer) Revoke(ctx context.Context, key rotation.Key) error {
	return i.do(ctx, "revoke", func() error {
		k := i.byID(key.ID)
		if k == nil || k.revoked {
			return nil
		}
		if i.kind.keeps {
			return refuse("revoke", "people end these keys")
		}
		i.writes++
		i.ended(k)
		if i.kind.traits.Overlap == rotation.TwoSlots {
			i.renew(k)
			return nil
		}
		k.revoked, k.end = true, time.Now()
		return nil
	})
}

// ended holds the end of a key to the grace.
func (w *world) ended(k *made) {
	if v := w.version(w.current); v != nil && w.bySecret(v.text) == k && !w.emergency {
		w.violate("the current key has been ended")
	}
	was := w.version(w.previous) != nil && w.bySecret(w.version(w.previous).text) == k
	if was && !w.emergency && time.Since(w.promoted) < grace-time.Second {
		w.violate("the old key has been ended %v after the new one became current", time.Since(w.promoted))
	}
}

func (i issuer) Verify(ctx context.Context, value secrets.Value) error {
	return i.do(ctx, "verify", func() error {
		for _, k := range i.keys {
			if k.secret == value.Reveal() && k.works() {
				return nil
			}
		}
		return &rotation.Error{Op: "verify", Reason: "the key is not accepted", Err: rotation.ErrRejected}
	})
}

// The optional parts of an issuer, put together by kind.
type (
	disabling   struct{ issuer }
	identifying struct{ issuer }
	recovering  struct{ issuer }
	choosing    struct{ issuer }
)

func (d disabling) Disable(ctx context.Context, key rotation.Key) error {
	return d.do(ctx, "disable", func() error {
		if d.kind.keeps {
			return refuse("disable", "people end these keys")
		}
		if k := d.byID(key.ID); k != nil && !k.disabled {
			d.writes++
			d.ended(k)
			k.disabled = true
		}
		return nil
	})
}

func (d disabling) Enable(ctx context.Context, key rotation.Key) error {
	return d.do(ctx, "enable", func() error {
		if k := d.byID(key.ID); k != nil {
			d.writes++
			k.disabled = false
		}
		return nil
	})
}

func (i identifying) Identify(ctx context.Context, value secrets.Value) (string, error) {
	id := ""
	err := i.do(ctx, "identify", func() error {
		for _, k := range i.keys {
			if k.secret == value.Reveal() && !k.revoked {
				id = k.id
			}
		}
		return nil
	})
	return id, err
}

func (r recovering) Recover(ctx context.Context, key rotation.Key, _ rotation.Order) (secrets.Value, error) {
	var value secrets.Value
	err := r.do(ctx, "recover", func() error {
		k := r.byID(key.ID)
		if r.kind.traits.Overlap == rotation.InPlace {
			k = r.keys[0]
		}
		if k == nil || k.revoked {
			return refuse("recover", "there is no such key")
		}
		value = secrets.NewValue(k.secret)
		return nil
	})
	return value, err
}

func (c choosing) Choose(rotation.Order) (secrets.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	return secrets.NewValue(fmt.Sprintf("secret-%d-%s", c.count, canary)), nil
}

// issuer returns what the kind's issuer can do and nothing else.
func (f *function) issuer() rotation.Issuer {
	i := issuer{f}
	switch traits := f.kind.traits; {
	case traits.Overlap == rotation.TwoSlots:
		return struct {
			issuer
			recovering_
			identifying_
		}{i, recovering_{recovering{i}}, identifying_{identifying{i}}}
	case traits.Recovery == rotation.Readable:
		return struct {
			issuer
			recovering_
		}{i, recovering_{recovering{i}}}
	case traits.Recovery == rotation.Chosen:
		return struct {
			issuer
			choosing_
			identifying_
		}{i, choosing_{choosing{i}}, identifying_{identifying{i}}}
	case !traits.Named, traits.Recovery == rotation.Assisted:
		return struct {
			issuer
			disabling_
			identifying_
		}{i, disabling_{disabling{i}}, identifying_{identifying{i}}}
	case f.kind.disables:
		return struct {
			issuer
			disabling_
		}{i, disabling_{disabling{i}}}
	}
	return i
}

// These show one method each, so that several can be put together.
type (
	recovering_  struct{ rotation.Recoverer }
	identifying_ struct{ rotation.Identifier }
	choosing_    struct{ rotation.Chooser }
	disabling_   struct{ rotation.Disabler }
)
