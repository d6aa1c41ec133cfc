package rotation

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

// ref is the whole secret, of which the credential may be one field.
func (p *pass) ref() secrets.Ref {
	ref := p.c.Ref
	ref.Field = ""
	return ref
}

// inspect asks the store which versions there are.
func (p *pass) inspect(ctx context.Context, step audit.Step) (secrets.Inventory, error) {
	inventory, err := p.job.Store.Inspect(ctx, p.ref())
	if err != nil {
		return secrets.Inventory{}, because(step, err)
	}
	return inventory, nil
}

// stored is what one version holds.
type stored struct {
	// whole is all of it, and key what of it is the credential. Both are empty if there is no such version.
	whole, key secrets.Value
}

// read returns what a version holds. No version holds nothing.
func (p *pass) read(ctx context.Context, version string) (stored, error) {
	if version == "" {
		return stored{}, nil
	}
	whole, err := p.job.Store.Value(ctx, p.ref(), version)
	if err != nil {
		return stored{}, err
	}
	key, err := p.c.Ref.Select(whole.Reveal())
	return stored{whole, key}, err
}

// with returns the whole content with another key in it.
func (p *pass) with(old stored, key secrets.Value) (secrets.Value, error) {
	if p.c.Ref.Field == "" {
		return key, nil
	}
	members := map[string]jsontext.Value{}
	if !old.whole.IsZero() {
		// The cause is left out: it may quote the content.
		if json.Unmarshal([]byte(old.whole.Reveal()), &members) != nil {
			return secrets.Value{}, errors.New("the secret is not one JSON object, of which the reference names a field")
		}
	}
	member, err := json.Marshal(key.Reveal())
	if err != nil {
		return secrets.Value{}, errors.New("the new key is not valid UTF-8")
	}
	members[p.c.Ref.Field] = member
	text, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return secrets.Value{}, errors.New("the secret with the new key in it cannot be written as JSON")
	}
	return secrets.NewValue(string(text)), nil
}

// mark is the fingerprint of a key.
func (p *pass) mark(key secrets.Value) string { return p.job.Fingerprints.Of(key.Reveal()) }
