package rotatekit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/ledger"
)

// hashOf is the hash of the document, by which events say what they followed.
func hashOf(d *config.Document) (string, error) {
	text, err := config.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("hash the document: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// followed is the record of which document is in use, and of the chain of the
// events that say so. An event that the bus has not accepted yet is in it.
type followed struct {
	Document audit.Document `json:"document"`
	Chain    audit.Head     `json:"chain,omitzero"`
	Outbox   []audit.Event  `json:"outbox,omitzero"`
}

const followedKey = "document"

// follow tells when another document is in use than before. The functions of a
// deployment get theirs together.
func (r *Rotator) follow(ctx context.Context) error {
	record, err := r.kit.Ledger.Load(ctx, followedKey)
	var was followed
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return err
	case json.Unmarshal(record.Data, &was) != nil:
		return fmt.Errorf("ledger record %q: it was written by another version of this function; delete it", followedKey)
	}
	if was.Document.Hash != r.job.PolicyHash {
		now := audit.Document{Hash: r.job.PolicyHash, Since: time.Now().UTC().Truncate(time.Second)}
		event, err := audit.PolicyChanged{Function: r.access.Origin(), Old: was.Document, New: now}.Event(now.Since)
		if err != nil {
			return err
		}
		linked, head, err := audit.Link(event, was.Chain)
		if err != nil {
			return err
		}
		was = followed{Document: now, Chain: head, Outbox: append(was.Outbox, linked)}
		if record, err = r.note(ctx, was, record); err != nil {
			return err
		}
	}
	return r.tell(ctx, was, record)
}

// tell has the bus accept what it has not accepted yet.
func (r *Rotator) tell(ctx context.Context, f followed, record ledger.Record) error {
	if len(f.Outbox) == 0 {
		return nil
	}
	signed, changed, err := audit.SignAll(ctx, f.Outbox, r.kit.Sign)
	if err != nil {
		return fmt.Errorf("it cannot be signed that the document has changed, which is kept: %w", err)
	}
	// What is signed is kept before it is published: no two signatures are the
	// same, and an event that is published again has to be.
	if f.Outbox = signed; changed {
		if record, err = r.note(ctx, f, record); err != nil {
			return err
		}
	}
	if err := r.kit.Audit.Publish(ctx, f.Outbox...); err != nil {
		return fmt.Errorf("the bus has not accepted that the document has changed, which is kept: %w", err)
	}
	f.Outbox = nil
	_, err = r.note(ctx, f, record)
	return err
}

// note writes the record down. That another run has done so meanwhile is no
// error: it tells what there is to tell.
func (r *Rotator) note(ctx context.Context, f followed, old ledger.Record) (ledger.Record, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return ledger.Record{}, err
	}
	return r.kit.Ledger.Save(ctx, followedKey, ledger.Record{Data: data, Revision: old.Revision})
}
