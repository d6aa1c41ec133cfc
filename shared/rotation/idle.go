package rotation

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// early is how much before its time a cycle begins, so that a schedule whose ticks come a little early does not lose a whole one.
	early = time.Minute
	// mostName is the longest name of a key, in bytes: that of a label in most systems.
	mostName = 63
	// mostAttempts is how many keys one cycle orders.
	mostAttempts = 5
)

// idle begins a cycle if one is due, and tidies up if not.
func (p *pass) idle(ctx context.Context) (bool, error) {
	inventory, err := p.inspect(ctx, audit.StepReconcile)
	if err != nil {
		return false, err
	}
	if moved, err := p.settle(ctx, inventory); err != nil || moved {
		return moved, err
	}
	if err := p.reap(ctx); err != nil {
		return false, err
	}
	// A function that was frozen may have staged long after another had ordered anew.
	if inventory.Staged.ID != "" && p.r.staged(inventory.Staged.Cycle) {
		if err := p.unstage(ctx, inventory.Staged); err != nil {
			return false, err
		}
		inventory.Staged = secrets.Version{}
	}
	// Nor may one be left where readers fall back to.
	if inventory.Previous.ID != "" && p.r.staged(inventory.Previous.Cycle) {
		// If no other run had begun anything when the inventory had been taken, it is not the one before another run's.
		if err := p.unchanged(ctx); err != nil {
			return false, err
		}
		if err := p.job.Store.Drop(ctx, p.ref(), inventory.Previous.ID); err != nil {
			return false, because(audit.StepReconcile, err)
		}
	}
	reason, at := p.due(inventory)
	if reason == "" {
		p.next = at
		if p.r.Failures.Count == 0 {
			return false, nil
		}
		p.r.Failures = failures{}
		return false, p.save(ctx)
	}
	if inventory.Staged.ID != "" && p.c.Issuer.Traits().Recovery != Assisted && inventory.Staged.Cycle != p.asked.cycle {
		if err := p.unstage(ctx, inventory.Staged); err != nil {
			return false, err
		}
	}
	return true, p.begin(ctx, reason)
}

// unstage clears away a staged version that an earlier attempt of ours has left. A stranger's is left alone.
func (p *pass) unstage(ctx context.Context, staged secrets.Version) error {
	if !p.r.staged(staged.Cycle) {
		return because(audit.StepStage, fmt.Errorf("a version that somebody else has staged is in the way: promote it or remove it: %w", secrets.ErrOccupied))
	}
	if err := p.job.Store.Drop(ctx, p.ref(), staged.ID); err != nil {
		return because(audit.StepStage, err)
	}
	return nil
}

// begin writes down that a cycle has begun and what it is about to order.
func (p *pass) begin(ctx context.Context, reason audit.Reason) error {
	r := p.r
	r.Cycle = cycle{
		Number: r.Cycle.Number + 1, ID: cmp.Or(p.asked.cycle, uuid()), Reason: reason, Actor: r.Forced.Actor, Started: wall(),
		Asked: r.Forced.Reason != "", Emergency: r.Forced.emergency(), DisableFirst: r.Forced.DisableFirst,
	}
	if p.asked.cycle != "" {
		r.Cycle.Fixed = true
	}
	r.Forced, r.Pending, r.Reminded = forced{}, held{}, time.Time{}
	if p.c.Issuer.Traits().Recovery == Assisted {
		return p.enter(ctx, Waiting)
	}
	p.order()
	// This very pass sends it.
	p.r.Cycle.Unsent, p.fresh = false, true
	return p.enter(ctx, Creating)
}

// order fills in the next attempt. It has a name and a place of its own, so that whatever comes of an earlier one is told apart from it.
func (p *pass) order() {
	c := &p.r.Cycle
	c.Attempt++
	c.Name = p.name()
	c.Ordered, c.Verifying, c.Verified = wall(), time.Time{}, time.Time{}
	c.Stage, c.Unsent = p.r.stage(c.Attempt), true
}

// remembered is how many cycles back a staged version is known to be ours.
const remembered = 16

// stage is the store's cycle for an attempt.
func (r *record) stage(attempt int) string {
	if r.Cycle.Fixed {
		return r.Cycle.ID
	}
	return r.stageOf(r.Cycle.Number, attempt)
}

func (r *record) stageOf(number int64, attempt int) string {
	return audit.ID("stage", r.Owner, strconv.FormatInt(number, 10), strconv.Itoa(attempt))
}

// staged reports whether a store's cycle is that of an attempt of ours: of this cycle, or of one before it, as a function that was frozen may stage
// long after another one has gone on.
func (r *record) staged(stage string) bool {
	if stage == "" {
		return false
	}
	if r.Cycle.Fixed && r.Cycle.ID == stage {
		return true
	}
	for back := range int64(remembered) {
		for attempt := range max(r.Cycle.Attempt, mostAttempts) {
			if r.stageOf(r.Cycle.Number-back, attempt+1) == stage {
				return true
			}
		}
	}
	return false
}

// prefix is how the names of all keys begin that this deployment has made for the credential.
func (p *pass) prefix() string { return "postern-" + p.r.Owner + "-" }

func (p *pass) name() string {
	name := p.prefix() + plain(p.job.Deployment, 14) + plain(p.c.Name, 14) + strconv.FormatInt(p.r.Cycle.Number, 10) + "-" + strings.ToLower(rand.Text()[:5])
	return name[:min(len(name), mostName)]
}

// plain is a text in the characters that every issuer takes, with a hyphen behind it.
func plain(text string, most int) string {
	mapped := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		}
		return '-'
	}, text)
	mapped = strings.Trim(mapped[:min(len(mapped), most)], "-")
	if mapped == "" {
		return ""
	}
	return mapped + "-"
}

// due returns why a cycle begins now, or when the next one will.
func (p *pass) due(inventory secrets.Inventory) (audit.Reason, time.Time) {
	r := p.r
	now := wall()
	switch {
	case r.Forced.Reason != "":
		return r.Forced.Reason, now
	case p.asked.cycle != "", inventory.Current.ID == "":
		return audit.ReasonScheduled, now
	}
	from := r.Promoted
	if from.IsZero() {
		from = r.Current.Created
	}
	if from.IsZero() {
		from = r.Begun
	}
	at, reason := from.Add(p.c.Every-p.jitter()), audit.ReasonScheduled
	if end := r.Current.Expires; !end.IsZero() {
		// There has to be time for failures and for the grace.
		if before := end.Add(-max(p.c.Grace, end.Sub(from)/4)); before.Before(at) {
			at, reason = before, audit.ReasonPreExpiry
		}
	}
	if now.Add(early).Before(at) {
		return "", at
	}
	return reason, at
}

// jitter is how much earlier than the interval this credential is renewed, so that those which began together do not stay together. It is
// always the same, so that what is due stays due.
func (p *pass) jitter() time.Duration {
	sum := sha256.Sum256([]byte(p.r.Owner + p.c.Name))
	tenth := uint64(p.c.Every / 10)
	if tenth == 0 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % tenth).Truncate(time.Second)
}
