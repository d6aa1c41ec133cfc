package gcpsecrets

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// The permissions that a Store needs besides those of a Reader.
const (
	permissionGet        = "secretmanager.secrets.get"
	permissionUpdate     = "secretmanager.secrets.update"
	permissionGetVersion = "secretmanager.versions.get"
	permissionAdd        = "secretmanager.versions.add"
	permissionDestroy    = "secretmanager.versions.destroy"
)

// staging is one call of Stage.
type staging struct {
	*session
	candidate secrets.Candidate
	// added is the version that holds the candidate and is not noted yet. The zero value means none.
	added version
	// place is the placeholder that this call has added.
	place number
}

// round stages the candidate on what the secret is now.
func (s *staging) round(ctx context.Context, h *history) (secrets.Version, error) {
	if held := h.Aliases[aliasCurrent]; s.place != 0 && held != 0 && held != s.place {
		// Another call came first with its own.
		if err := s.destroy(ctx, s.place); err != nil {
			return secrets.Version{}, err
		}
		s.place = 0
	}
	if n := h.noted(s.candidate.Cycle); n != 0 {
		return s.again(ctx, h, n)
	}
	if s.added.number == 0 {
		if err := s.find(ctx, h); err != nil {
			return secrets.Version{}, err
		}
	}
	next := h.next()
	if s.added.number == 0 {
		if err := s.announce(ctx, next); err != nil {
			return secrets.Version{}, err
		}
		var err error
		if s.added, err = s.add(ctx, s.candidate.Value.Reveal()); err != nil {
			return secrets.Version{}, err
		}
	}
	next.note(s.added.number, s.candidate.Cycle)
	if err := s.change(ctx, next); err != nil {
		return secrets.Version{}, err
	}
	return secrets.Version{ID: s.added.number.String(), Cycle: s.candidate.Cycle, Created: s.added.created}, nil
}

// again is what becomes of a cycle that has staged a version.
func (s *staging) again(ctx context.Context, h *history, n number) (secrets.Version, error) {
	if s.added.number != 0 && s.added.number != n {
		// Another call for the same cycle came first.
		if err := s.destroy(ctx, s.added.number); err != nil {
			return secrets.Version{}, err
		}
	}
	same, err := s.holds(ctx, n)
	switch {
	case err != nil:
		return secrets.Version{}, err
	case !same:
		return secrets.Version{}, s.conflict("its cycle has staged another value")
	}
	return h.version(n), nil
}

// holds reports whether a version has the candidate's value.
func (s *staging) holds(ctx context.Context, n number) (bool, error) {
	value, err := s.value(ctx, n.String())
	return err == nil && value.Equal(s.candidate.Value), err
}

// find looks for a version that an earlier call of this cycle has added and not noted. Should it have been added twice, because a
// request was slow, one is enough. With nothing but other values there, one of them was the cycle's.
func (s *staging) find(ctx context.Context, h *history) error {
	announced, ok := h.intent()
	if !ok || announced.cycle != s.candidate.Cycle {
		return nil
	}
	others := h.unknown(announced.after)
	for _, n := range others {
		same, err := s.holds(ctx, n)
		switch {
		case err != nil:
			return err
		case same && s.added.number == 0:
			s.added = h.find(n)
		case same:
			if err := s.destroy(ctx, n); err != nil {
				return err
			}
		}
	}
	if len(others) > 0 && s.added.number == 0 {
		return s.conflict("its cycle has staged another value")
	}
	return nil
}

// announce says in the secret that a version is about to be added, and sees to it that no reader gets that version.
func (s *staging) announce(ctx context.Context, next *history) error {
	if other := next.version(next.staged()); other.ID != "" {
		return &secrets.Error{Ref: s.ref, Reason: "its version " + other.ID + " is staged, and has to be promoted or dropped first", Err: secrets.ErrOccupied}
	}
	newest, err := s.newest(ctx, next)
	if err != nil {
		return err
	}
	if newest == 0 {
		next.Annotations[annotationIntent] = intent{cycle: beforeFirst}.String()
		if err := s.change(ctx, next); err != nil {
			return err
		}
		made, err := s.add(ctx, placeholder)
		if err != nil {
			return err
		}
		s.place = made.number
		return errStale
	}
	next.fix(newest)
	next.Annotations[annotationIntent] = intent{s.candidate.Cycle, newest}.String()
	return s.change(ctx, next)
}

// promote moves the aliases.
func (s *session) promote(ctx context.Context, h *history, promotion secrets.Promotion) (secrets.Version, error) {
	now := h.inventory()
	switch {
	case promotion.To != "" && now.Current.ID == promotion.To:
		return now.Current, nil
	case now.Current.ID != promotion.From:
		return secrets.Version{}, s.conflict("another version is current")
	case promotion.To == "" || promotion.To != now.Staged.ID && promotion.To != now.Previous.ID:
		return secrets.Version{}, s.conflict("the version to promote is neither staged nor the previous one")
	}
	to, _ := parseNumber(promotion.To)
	next := h.next()
	next.promote(to)
	if err := s.change(ctx, next); err != nil {
		return secrets.Version{}, err
	}
	return next.version(to), nil
}

// forget makes a version one that nothing speaks of.
func (s *session) forget(ctx context.Context, h *history, n number) error {
	if n == h.current() {
		return s.conflict("the current version is not dropped")
	}
	next := h.next()
	next.forget(n)
	if maps.Equal(next.Aliases, h.Aliases) && maps.Equal(next.Annotations, h.Annotations) {
		return nil
	}
	return s.change(ctx, next)
}

// change writes aliases and annotations under the etag that they were read with, and takes the new etag over. It is errStale when another
// change came first.
func (s *session) change(ctx context.Context, next *history) error {
	if next.size() >= maxAnnotations {
		return &secrets.Error{Ref: s.ref, Reason: "its annotations have no room for those of a rotation; remove some"}
	}
	var out history
	err := s.call(ctx, call{method: http.MethodPatch, path: "?updateMask=versionAliases,annotations", permission: permissionUpdate, body: next, into: &out})
	switch {
	case statusIs(err, precondition), statusIs(err, aborted):
		return errStale
	case err != nil:
		return err
	}
	next.Etag = out.Etag
	return nil
}

// add adds a version.
func (s *session) add(ctx context.Context, text string) (version, error) {
	type payload struct {
		Data   []byte `json:"data"`
		CRC32C string `json:"dataCrc32c"`
	}
	body := struct {
		Payload payload `json:"payload"`
	}{payload{[]byte(text), checksum([]byte(text))}}
	var made listed
	if err := s.call(ctx, call{method: http.MethodPost, path: ":addVersion", permission: permissionAdd, body: body, into: &made}); err != nil {
		return version{}, err
	}
	return made.version(s.ref)
}

// value reads the whole text of one version.
func (s *session) value(ctx context.Context, id string) (secrets.Value, error) {
	var out accessed
	if err := s.call(ctx, call{path: "/versions/" + id + ":access", permission: permissionRead, into: &out}); err != nil {
		return secrets.Value{}, err
	}
	read, err := s.secret(out)
	return read.Value, err
}

// destroy makes one version unusable for good. One that is gone is no error.
func (s *session) destroy(ctx context.Context, n number) error {
	found, err := s.look(ctx, n)
	if err != nil || found.State == "" || found.State == destroyed || !found.Scheduled.IsZero() {
		return err
	}
	return s.call(ctx, call{
		method: http.MethodPost, path: "/versions/" + n.String() + ":destroy", permission: permissionDestroy, body: struct{}{}, into: &listed{},
	})
}

// call is one request about a secret.
type call struct {
	method, path string
	// permission is what the caller needs for it.
	permission string
	// body is what is sent as JSON. Nil means nothing.
	body any
	// into is what the reply is read into.
	into any
}

// call makes one request, and repeats it while the service throttles.
func (s *session) call(ctx context.Context, c call) error {
	request, err := secrets.Call{Method: c.method, URL: s.base + c.path, Body: c.body}.Request(ctx, s.ref)
	if err != nil {
		return err
	}
	reply, err := s.reader.remote.SendPatiently(request, s.ref, s.reader.options.Timeout)
	if err != nil {
		return err
	}
	if reply.Status != http.StatusOK {
		return s.explain(reply, c.permission)
	}
	return reply.Decode(c.into, s.ref)
}

// listed is a version on the wire.
type listed struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Created time.Time `json:"createTime"`
	// Scheduled is when the service will destroy it.
	Scheduled time.Time `json:"scheduledDestroyTime"`
}

// version returns the version that a reply tells of.
func (l listed) version(ref secrets.Ref) (version, error) {
	text, _ := numberOf(l.Name)
	n, ok := parseNumber(text)
	if !ok {
		return version{}, &secrets.Error{Ref: ref, Reason: "the store's reply names no version"}
	}
	return version{n, l.Created}, nil
}
