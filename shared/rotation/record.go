package rotation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
)

// Phase is where the rotation of a credential stands.
type Phase string

// The phases, in the order in which a cycle goes through them.
const (
	// Idle means that no cycle is under way.
	Idle Phase = "idle"
	// Creating means that a key is about to be made, or that it is not known whether one was.
	Creating Phase = "creating"
	// Waiting means that an operator has to make a key and stage it.
	Waiting Phase = "waiting_for_operator"
	// Verifying means that a key is staged and has to prove itself.
	Verifying Phase = "verifying"
	// Promoting means that a key has proven itself and is about to become current.
	Promoting Phase = "promoting"
	// Grace means that the new key is current and the old one still valid.
	Grace Phase = "grace"
	// Soaking means that the old key has been disabled and is about to be revoked.
	Soaking Phase = "soaking"
	// RollingBack means that the old key is about to become current again.
	RollingBack Phase = "rolling_back"
)

// record is what the ledger holds of a credential: everything but the secret. Times are in whole seconds.
type record struct {
	Format int `json:"format"`
	// Owner is drawn at random for each record, and part of the names of its keys: no other deployment takes them for its own.
	Owner string `json:"owner"`
	// Deployment is whose record it is. Another one in the same ledger would take this one's keys for keys that somebody has replaced.
	Deployment string `json:"deployment,omitzero"`

	Begun time.Time `json:"begun"`
	Phase Phase     `json:"phase"`
	Cycle cycle     `json:"cycle"`

	Current  held `json:"current,omitzero"`
	Previous held `json:"previous,omitzero"`
	Pending  held `json:"pending,omitzero"`
	// From is the version that the pending one takes the place of.
	From string `json:"from,omitzero"`
	// Displaced is a version that somebody else had made current while the pending one was made. It ends with the previous one.
	Displaced string `json:"displaced,omitzero"`
	// Promoted is when the current key became current, and RevokeAfter when the previous one may be ended.
	Promoted    time.Time `json:"promoted,omitzero"`
	RevokeAfter time.Time `json:"revoke_after,omitzero"`
	// Suspects are the times in which keys without a name may have been made that nobody knows.
	Suspects []window `json:"suspects,omitzero"`

	Failures failures `json:"failures,omitzero"`
	Paused   bool     `json:"paused,omitzero"`
	Orphaned bool     `json:"orphaned,omitzero"`
	Forced   forced   `json:"forced,omitzero"`
	// Reminded is when an operator was last told what to do.
	Reminded time.Time `json:"reminded,omitzero"`

	Chain audit.Head `json:"chain,omitzero"`
	// Outbox are the events that the bus has not accepted yet. They are written together with what they tell, and once more
	// when they have been signed.
	Outbox []audit.Event `json:"outbox,omitzero"`
}

// cycle is one rotation.
type cycle struct {
	Number int64        `json:"number,omitzero"`
	ID     string       `json:"id,omitzero"`
	Reason audit.Reason `json:"reason,omitzero"`
	Actor  string       `json:"actor,omitzero"`
	// Asked says that somebody has asked for it. It is not forgotten when it comes to nothing.
	Asked   bool      `json:"asked,omitzero"`
	Started time.Time `json:"started,omitzero"`
	// Attempt counts the keys that the cycle has ordered, under Name and with the store's cycle Stage. Ordered is when.
	Attempt int       `json:"attempt,omitzero"`
	Name    string    `json:"name,omitzero"`
	Stage   string    `json:"stage,omitzero"`
	Ordered time.Time `json:"ordered,omitzero"`
	// Unsent says that no order is out: the last one was certainly not carried out.
	Unsent bool `json:"unsent,omitzero"`
	// Fixed says that Stage is somebody else's and stays what it is.
	Fixed bool `json:"fixed,omitzero"`
	// Verifying is when the pending key was first tried, Tries how often it has been, and Verified when it had proven itself.
	Verifying time.Time `json:"verifying,omitzero"`
	Tries     int       `json:"tries,omitzero"`
	Took      int64     `json:"took_ms,omitzero"`
	Verified  time.Time `json:"verified,omitzero"`
	// Failed counts the failures in the cycle, and after it until the next one.
	Failed int `json:"failed,omitzero"`
	// Aborted says that it has come to nothing.
	Aborted bool `json:"aborted,omitzero"`
	// Emergency says that the old key ends at once, and DisableFirst that it is stopped before there is a new one.
	Emergency    bool `json:"emergency,omitzero"`
	DisableFirst bool `json:"disable_first,omitzero"`
}

// held is a key and where it is stored.
type held struct {
	KeyID       string    `json:"key_id,omitzero"`
	Name        string    `json:"name,omitzero"`
	Version     string    `json:"version,omitzero"`
	Fingerprint string    `json:"fingerprint,omitzero"`
	Created     time.Time `json:"created,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`
	// Ours says that the key may be revoked: it was made here, or the operator has handed it over.
	Ours bool `json:"ours,omitzero"`
	// Disabled says that the key has been disabled, or may have been, and Ending that it has been revoked, or may be: both are written down before.
	Disabled bool `json:"disabled,omitzero"`
	Ending   bool `json:"ending,omitzero"`
}

func (h held) event() audit.Key {
	return audit.Key{ID: h.KeyID, Name: h.Name, Version: h.Version, Fingerprint: h.Fingerprint, Created: h.Created, Expires: h.Expires}
}

// key is the key as its issuer takes it.
func (h held) key() Key {
	return Key{ID: h.KeyID, Name: h.Name, Created: h.Created, Expires: h.Expires, Disabled: h.Disabled}
}

// window is a span of time.
type window struct{ From, To time.Time }

// failures are those since the last step that succeeded.
type failures struct {
	Count int                `json:"count,omitzero"`
	Since time.Time          `json:"since,omitzero"`
	Retry time.Time          `json:"retry,omitzero"`
	Step  audit.Step         `json:"step,omitzero"`
	Class audit.FailureClass `json:"class,omitzero"`
	// Rejected counts how often the key in use has been rejected since it worked. What keeps it from being tried says nothing about it.
	Rejected int `json:"rejected,omitzero"`
}

// forced is what an operator has asked for and no run has begun yet.
type forced struct {
	Reason       audit.Reason `json:"reason,omitzero"`
	Actor        string       `json:"actor,omitzero"`
	DisableFirst bool         `json:"disable_first,omitzero"`
}

func (f forced) emergency() bool { return f.Reason == audit.ReasonCompromise }

const recordFormat = 1

func recordKey(credential string) string { return "rotation/" + credential }

func leaseKey(credential string) string { return "rotation/" + credential + "/lease" }

// load reads the record of a credential, or makes one that is not saved yet.
func (j *Job) load(ctx context.Context, c *Credential) (*record, ledger.Record, error) {
	found, err := j.Ledger.Load(ctx, recordKey(c.Name))
	if errors.Is(err, ledger.ErrNotFound) {
		owner := strings.ToLower(rand.Text()[:8])
		return &record{Format: recordFormat, Owner: owner, Deployment: j.Deployment, Begun: wall(), Phase: Idle, Cycle: cycle{ID: uuid()}}, ledger.Record{}, nil
	}
	if err != nil {
		return nil, ledger.Record{}, err
	}
	var r record
	if err := json.Unmarshal(found.Data, &r, json.RejectUnknownMembers(true)); err != nil || !r.possible() {
		return nil, ledger.Record{}, fmt.Errorf("ledger record %q: it was written by another version of this function; deploy that one again", recordKey(c.Name))
	}
	if r.Deployment != "" && r.Deployment != j.Deployment {
		return nil, ledger.Record{}, fmt.Errorf("ledger record %q: it is of the deployment %q, and this one is %q: give each deployment a ledger of its own, "+
			"or this one its old name (POSTERN_DEPLOYMENT) if it is the same", recordKey(c.Name), r.Deployment, j.Deployment)
	}
	r.Deployment = j.Deployment
	return &r, found, nil
}

// mostOrders is more keys than any cycle orders, by whoever makes them.
const mostOrders = 10_000

// possible reports whether this version can have written the record. Without an owner the keys of all deployments would be its own.
func (r *record) possible() bool {
	return r.Format == recordFormat && r.Owner != "" && r.Cycle.Attempt >= 0 && r.Cycle.Attempt < mostOrders
}

// save writes the record if it is still what was loaded. An event that says what is new is saved with it.
func (j *Job) save(ctx context.Context, c *Credential, r *record, old ledger.Record) (ledger.Record, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return ledger.Record{}, fmt.Errorf("ledger record %q: %w", recordKey(c.Name), err)
	}
	return j.Ledger.Save(ctx, recordKey(c.Name), ledger.Record{Data: data, Revision: old.Revision})
}

// wall is the time of the wall clock, in the whole seconds that records hold: a time that is written and read again compares as before.
func wall() time.Time { return time.Now().Round(0).UTC().Truncate(time.Second) }

// uuid returns a random UUID (RFC 9562, version 4), in lower case.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
