package keyvault

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// desk is what one call of a Store works at: the secret, and the one beside it that holds what is staged.
type desk struct {
	ref             secrets.Ref
	secret, pending *session

	// The rest is what look has found.

	// current and previous are nil when there is none.
	current, previous *version
	// beside has all versions of the pending secret, and staged those that wait: what a rotation has staged comes before what others have,
	// and then the newest first.
	beside, staged []version
}

// place returns which of the two secrets an id is about, and the version there.
func (d *desk) place(id string) (place *session, version string, ok bool) {
	version, staged := strings.CutPrefix(id, pendingID)
	if staged {
		return d.pending, version, isVersion(version)
	}
	return d.secret, version, isVersion(version)
}

// look finds out which versions there are.
func (d *desk) look(ctx context.Context) error {
	// Should somebody promote a version in between, it is known as promoted and not as lost.
	var err error
	if d.beside, err = d.pending.list(ctx); err != nil {
		return err
	}
	versions, err := d.secret.list(ctx)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		return &secrets.Error{Ref: d.ref, Reason: "Azure Key Vault has no such secret", Err: secrets.ErrNotFound}
	}
	if d.current, err = d.secret.newest(ctx, versions); err != nil {
		return err
	}
	if d.current != nil {
		d.previous = previousOf(versions, *d.current)
	}
	d.staged = nil
	for _, v := range d.beside {
		promoted := func(other version) bool { return other.tags[tagFrom] == pendingID+v.id }
		if v.refused(time.Now()) == "" && !slices.ContainsFunc(versions, promoted) {
			d.staged = append(d.staged, v)
		}
	}
	slices.SortFunc(d.staged, func(a, b version) int {
		return cmp.Or(foreign(a)-foreign(b), b.created.Compare(a.created), cmp.Compare(a.id, b.id))
	})
	return nil
}

// foreign is 1 for a version that no rotation has made, and 0 for others.
func foreign(v version) int {
	if v.tags[tagCycle] == "" {
		return 1
	}
	return 0
}

// newest returns the version that readers get, as [Reader.Current] finds it, and nil when there is none. The list has whole seconds: which one
// of two is the newer one is for the service to say.
func (s *session) newest(ctx context.Context, versions []version) (*version, error) {
	found := newestUsable(versions, version{})
	if found == nil || !slices.ContainsFunc(versions, func(v version) bool { return v.id != found.id && v.created.Equal(found.created) }) {
		return found, nil
	}
	told, err := s.get(ctx, "")
	if unusable(err) {
		return found, nil
	}
	return told, err
}

// known returns a version as callers know it.
func known(prefix string, v *version) secrets.Version {
	if v == nil {
		return secrets.Version{}
	}
	return secrets.Version{ID: prefix + v.id, Cycle: v.tags[tagCycle], Created: v.created}
}

func (d *desk) inventory() secrets.Inventory {
	inventory := secrets.Inventory{Current: known("", d.current), Previous: known("", d.previous)}
	if len(d.staged) > 0 {
		inventory.Staged = known(pendingID, &d.staged[0])
	}
	return inventory
}

// isCurrent reports whether an id is that of the current version, or of the one that it is a copy of.
func (d *desk) isCurrent(id string) bool {
	return id != "" && d.current != nil && (d.current.id == id || d.current.tags[tagFrom] == id)
}

// isStaged reports whether an id is that of the staged version, or of one that a slow request has made for the same cycle.
func (d *desk) isStaged(id string) bool {
	return slices.ContainsFunc(d.staged, func(v version) bool {
		return pendingID+v.id == id && (v.id == d.staged[0].id || foreign(v) == 0 && v.tags[tagCycle] == d.staged[0].tags[tagCycle])
	})
}

func (d *desk) conflict(reason string) error {
	return &secrets.Error{Ref: d.ref, Reason: reason, Err: secrets.ErrConflict}
}

// stage keeps a candidate beside the secret.
func (d *desk) stage(ctx context.Context, candidate secrets.Candidate) (secrets.Version, error) {
	if err := d.look(ctx); err != nil {
		return secrets.Version{}, err
	}
	now := d.inventory()
	for _, v := range []secrets.Version{now.Staged, now.Current, now.Previous} {
		if v.Cycle == candidate.Cycle {
			return d.again(ctx, v, candidate)
		}
	}
	if id := now.Staged.ID; id != "" {
		return secrets.Version{}, &secrets.Error{Ref: d.ref, Reason: "its version " + id + " is staged, and has to be promoted or dropped first", Err: secrets.ErrOccupied}
	}
	made, err := d.pending.set(ctx, setting{Value: candidate.Value.Reveal(), Tags: map[string]string{tagCycle: candidate.Cycle}})
	if err != nil {
		return secrets.Version{}, err
	}
	return known(pendingID, made), nil
}

// again is what becomes of a cycle that has staged a version.
func (d *desk) again(ctx context.Context, v secrets.Version, candidate secrets.Candidate) (secrets.Version, error) {
	place, id, _ := d.place(v.ID)
	found, err := place.get(ctx, id)
	switch {
	case err != nil:
		return secrets.Version{}, err
	case !secrets.NewValue(found.value).Equal(candidate.Value):
		return secrets.Version{}, d.conflict("its cycle has staged another value")
	}
	return v, nil
}

// promote copies a version to where readers find it.
func (d *desk) promote(ctx context.Context, promotion secrets.Promotion) (secrets.Version, error) {
	if err := d.look(ctx); err != nil {
		return secrets.Version{}, err
	}
	now := d.inventory()
	switch {
	case d.isCurrent(promotion.To):
		return now.Current, d.retire(ctx, promotion.To, now.Current.Cycle)
	case now.Current.ID != promotion.From:
		return secrets.Version{}, d.conflict("another version is current")
	case promotion.To == "" || !d.isStaged(promotion.To) && promotion.To != now.Previous.ID:
		return secrets.Version{}, d.conflict("the version to promote is neither staged nor the previous one")
	}
	place, id, _ := d.place(promotion.To)
	source, err := place.get(ctx, id)
	if err != nil {
		return secrets.Version{}, err
	}
	next, err := d.copy(source, promotion)
	if err != nil {
		return secrets.Version{}, err
	}
	made, err := d.secret.set(ctx, next)
	if err != nil {
		return secrets.Version{}, err
	}
	return known("", made), d.retire(ctx, promotion.To, source.tags[tagCycle])
}

// copy returns what makes a version the current one. It has the dates of its source, and the tags of those that it takes over from.
func (d *desk) copy(source *version, promotion secrets.Promotion) (setting, error) {
	next := setting{
		Value: source.value, ContentType: source.contentType, Tags: map[string]string{},
		Attributes: settable{NotBefore: seconds(source.notBefore), Expires: seconds(source.expires)},
	}
	if d.current != nil {
		next.ContentType = cmp.Or(next.ContentType, d.current.contentType)
		maps.Copy(next.Tags, d.current.tags)
	}
	maps.Copy(next.Tags, source.tags)
	maps.DeleteFunc(next.Tags, func(name, _ string) bool { return strings.HasPrefix(name, tagPrefix) })
	own := len(next.Tags)
	for name, value := range map[string]string{tagCycle: source.tags[tagCycle], tagFrom: promotion.To, tagPrevious: promotion.From} {
		if value != "" {
			next.Tags[name] = value
		}
	}
	if len(next.Tags) > maxTags {
		return setting{}, &secrets.Error{Ref: d.ref, Reason: "it has " + strconv.Itoa(own) + " tags, and a rotation needs " + strconv.Itoa(len(next.Tags)-own) +
			" of the " + strconv.Itoa(maxTags) + " that there can be; remove some"}
	}
	return next, nil
}

// retire disables a staged version, and what a slow request has left behind for the same cycle.
func (d *desk) retire(ctx context.Context, id, cycle string) error {
	for _, v := range d.beside {
		if v.enabled && (pendingID+v.id == id || cycle != "" && v.tags[tagCycle] == cycle) {
			if err := d.pending.disable(ctx, v.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop makes a version unusable. One that is gone is no error.
func (d *desk) drop(ctx context.Context, id string) error {
	place, version, ok := d.place(id)
	if !ok {
		return nil // no version was ever called that
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	if d.isCurrent(id) {
		return d.conflict("the current version is not dropped")
	}
	if place == d.secret {
		return place.disable(ctx, version)
	}
	for _, v := range d.staged {
		if pendingID+v.id == id {
			return d.retire(ctx, id, v.tags[tagCycle])
		}
	}
	return place.disable(ctx, version)
}

// setting is what a version is made of.
type setting struct {
	Value       string            `json:"value"`
	ContentType string            `json:"contentType,omitzero"`
	Tags        map[string]string `json:"tags,omitzero"`
	Attributes  settable          `json:"attributes,omitzero"`
}

// settable is what can be said about a version.
type settable struct {
	Enabled   *bool  `json:"enabled,omitzero"`
	NotBefore *int64 `json:"nbf,omitzero"`
	Expires   *int64 `json:"exp,omitzero"`
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.Unix())
}

// set makes a version, which is the newest one then.
func (s *session) set(ctx context.Context, next setting) (*version, error) {
	var out bundle
	if err := s.call(ctx, call{method: http.MethodPut, address: s.address(""), action: actionSet, body: next, into: &out}); err != nil {
		return nil, err
	}
	made, ok := out.version()
	if !ok {
		return nil, &secrets.Error{Ref: s.ref, Reason: "the store's reply names no version"}
	}
	return &made, nil
}

// disable makes one version unreadable. One that is not there is no error.
func (s *session) disable(ctx context.Context, id string) error {
	change := struct {
		Attributes settable `json:"attributes"`
	}{settable{Enabled: new(false)}}
	err := s.call(ctx, call{method: http.MethodPatch, address: s.address(id), action: actionUpdate, body: change, into: &bundle{}})
	if errors.Is(err, secrets.ErrNotFound) {
		return nil
	}
	return err
}
