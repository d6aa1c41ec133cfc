package gcpsecrets

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// annotationVersion and a number say which cycle a version was staged for. It is kept for the versions that count.
	annotationVersion = "postern-version-"
	// annotationIntent says which cycle is about to add a version, and after which number.
	annotationIntent = "postern-intent"
	// annotationSeen is the highest number that has been dealt with: what is enabled above it, somebody else has added since.
	annotationSeen = "postern-seen"
	// maxAnnotations is the size of all annotations together, in bytes
	// (https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets).
	maxAnnotations = 16 << 10

	// placeholder is the value of a version that holds the place of the first one: an alias needs a version to name, and without an alias
	// readers would get the first staged version.
	placeholder = "postern: nothing has been stored here yet\n"
	// beforeFirst is the cycle of the placeholder.
	beforeFirst = "placeholder"

	// maxSteps bounds the search for a version that the list does not show yet.
	maxSteps = 100

	enabled   = "ENABLED"
	destroyed = "DESTROYED"
)

// errStale says that the secret has changed since it was read, so that nothing was changed now.
var errStale = errors.New("the secret has changed since it was read")

// number is that of a version. Zero is none.
type number int64

func (n number) String() string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(int64(n), 10)
}

// MarshalText implements [encoding.TextMarshaler]: the API writes its 64-bit integers as strings.
func (n number) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *number) UnmarshalText(text []byte) error {
	read, ok := parseNumber(string(text))
	if !ok {
		return errors.New("not the number of a version")
	}
	*n = read
	return nil
}

// parseNumber reads a number as the service writes it.
func parseNumber(text string) (number, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return number(n), err == nil && n > 0 && number(n).String() == text
}

// version is one that can be read.
type version struct {
	number  number
	created time.Time
}

// intent is the announcement that a cycle adds a version.
type intent struct {
	cycle string
	after number
}

func (i intent) String() string { return i.cycle + " " + strconv.FormatInt(int64(i.after), 10) }

// history is what the service tells of a secret, without values.
type history struct {
	Etag        string            `json:"etag"`
	Aliases     map[string]number `json:"versionAliases"`
	Annotations map[string]string `json:"annotations"`

	// enabled has the newest version first.
	enabled []version
}

// history reads what there is. The list comes first: a version that is added after it, and noted before the secret is read, is asked for by
// its number, as is all that a list lags behind with (https://cloud.google.com/secret-manager/docs/reference/consistency). The other way round
// it would look like somebody else's.
func (s *session) history(ctx context.Context) (*history, error) {
	listed, err := s.listEnabled(ctx)
	if err != nil {
		return nil, err
	}
	h := &history{enabled: listed}
	if err := s.call(ctx, call{permission: permissionGet, into: h}); err != nil {
		return nil, err
	}
	for _, n := range h.named() {
		if n == 0 || h.find(n).number == n {
			continue
		}
		found, err := s.look(ctx, n)
		if err != nil {
			return nil, err
		}
		if found.State == enabled {
			h.enabled = append(h.enabled, version{n, found.Created})
		}
	}
	slices.SortFunc(h.enabled, func(a, b version) int { return cmp.Compare(b.number, a.number) })
	return h, nil
}

// named returns the numbers that aliases and annotations speak of.
func (h *history) named() []number {
	named := []number{h.Aliases[aliasCurrent], h.Aliases[aliasPrevious]}
	for key := range h.Annotations {
		if n, ok := parseNumber(strings.TrimPrefix(key, annotationVersion)); ok && strings.HasPrefix(key, annotationVersion) {
			named = append(named, n)
		}
	}
	if announced, ok := h.intent(); ok {
		named = append(named, announced.after+1)
	}
	return named
}

func (h *history) intent() (intent, bool) {
	cycle, after, ok := strings.Cut(h.Annotations[annotationIntent], " ")
	n, err := strconv.ParseInt(after, 10, 64)
	return intent{cycle, number(n)}, ok && err == nil && n >= 0
}

func (h *history) seen() number {
	n, _ := parseNumber(h.Annotations[annotationSeen])
	return n
}

// find returns a version that can be read. The zero value means that it cannot, or is not there.
func (h *history) find(n number) version {
	for _, v := range h.enabled {
		if v.number == n {
			return v
		}
	}
	return version{}
}

// unknown returns those versions above a number that nothing is noted of, the oldest first.
func (h *history) unknown(above number) []number {
	var numbers []number
	for _, v := range slices.Backward(h.enabled) {
		if _, noted := h.Annotations[annotationVersion+v.number.String()]; v.number > above && !noted {
			numbers = append(numbers, v.number)
		}
	}
	return numbers
}

// cycle returns what a version was staged for. Of a version that was added and not noted, the intent tells.
func (h *history) cycle(n number) string {
	if cycle, ok := h.Annotations[annotationVersion+n.String()]; ok {
		return cycle
	}
	if announced, ok := h.intent(); ok {
		if added := h.unknown(announced.after); len(added) > 0 && added[0] == n {
			return announced.cycle
		}
	}
	return ""
}

// noted returns the version of a cycle that is noted as such, and zero for none.
func (h *history) noted(cycle string) number {
	for _, v := range h.enabled {
		if h.Annotations[annotationVersion+v.number.String()] == cycle {
			return v.number
		}
	}
	return 0
}

// current returns the version that readers get, which need not be one that can be read, as [Reader.Current] finds it.
func (h *history) current() number {
	if n := h.Aliases[aliasCurrent]; n != 0 {
		return n
	}
	if len(h.enabled) == 0 {
		return 0
	}
	return h.enabled[0].number
}

// previous returns the one that readers fall back to, as [Reader.Previous] finds it.
func (h *history) previous() number {
	if n := h.Aliases[aliasPrevious]; n != 0 || h.Aliases[aliasCurrent] != 0 {
		return n
	}
	if len(h.enabled) < 2 {
		return 0
	}
	return h.enabled[1].number
}

// staged returns the version that waits: one that a rotation has staged, or else the newest that somebody else has added.
func (h *history) staged() number {
	if h.Aliases[aliasCurrent] == 0 {
		return 0
	}
	used := max(h.Aliases[aliasCurrent], h.Aliases[aliasPrevious])
	var foreign number
	for _, v := range h.enabled {
		switch {
		case v.number <= used:
			return foreign
		case h.cycle(v.number) != "":
			return v.number
		case foreign == 0 && v.number > h.seen():
			foreign = v.number
		}
	}
	return foreign
}

// version returns a version as callers know it. One that cannot be read is none, and so is the one before the first.
func (h *history) version(n number) secrets.Version {
	cycle, found := h.cycle(n), h.find(n)
	if found.number == 0 || cycle == beforeFirst {
		return secrets.Version{}
	}
	return secrets.Version{ID: n.String(), Cycle: cycle, Created: found.created}
}

func (h *history) inventory() secrets.Inventory {
	return secrets.Inventory{Current: h.version(h.current()), Previous: h.version(h.previous()), Staged: h.version(h.staged())}
}

// next returns a copy that can be changed.
func (h *history) next() *history {
	next := &history{Etag: h.Etag, Aliases: maps.Clone(h.Aliases), Annotations: maps.Clone(h.Annotations), enabled: h.enabled}
	if next.Aliases == nil {
		next.Aliases = map[string]number{}
	}
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	return next
}

// resolve notes the version that an intent tells of, if it has been added.
func (h *history) resolve() {
	if announced, ok := h.intent(); ok {
		if added := h.unknown(announced.after); len(added) > 0 {
			h.note(added[0], announced.cycle)
		}
	}
}

// note writes down what a version was added for, and that nothing is left to be added.
func (h *history) note(n number, cycle string) {
	delete(h.Annotations, annotationIntent)
	h.Annotations[annotationVersion+n.String()] = cycle
	h.see(n)
}

func (h *history) see(n number) { h.Annotations[annotationSeen] = max(h.seen(), n).String() }

// fix gives a secret without aliases those that leave readers with what they get now.
func (h *history) fix(newest number) {
	if h.Aliases[aliasCurrent] != 0 {
		return
	}
	h.resolve()
	current, previous := h.current(), h.previous()
	if first := h.noted(beforeFirst); first != 0 {
		current, previous = first, 0
	}
	h.Aliases[aliasCurrent] = cmp.Or(current, newest)
	if previous != 0 {
		h.Aliases[aliasPrevious] = previous
	}
}

// promote makes a version the current one. Notes are kept for the versions that count from now on.
func (h *history) promote(to number) {
	h.resolve()
	from, _ := parseNumber(h.version(h.current()).ID)
	kept := map[number]string{}
	for _, n := range []number{to, from, h.staged()} {
		kept[n] = h.Annotations[annotationVersion+n.String()]
	}
	maps.DeleteFunc(h.Annotations, func(key, _ string) bool { return strings.HasPrefix(key, annotationVersion) })
	for n, cycle := range kept {
		if cycle != "" {
			h.Annotations[annotationVersion+n.String()] = cycle
		}
	}
	h.Aliases[aliasCurrent] = to
	delete(h.Aliases, aliasPrevious)
	if from != 0 {
		h.Aliases[aliasPrevious] = from
	}
}

// forget takes away everything that speaks of a version.
func (h *history) forget(n number) {
	h.resolve()
	delete(h.Annotations, annotationVersion+n.String())
	if h.Aliases[aliasPrevious] == n {
		delete(h.Aliases, aliasPrevious)
	}
	if h.Aliases[aliasCurrent] != 0 && h.find(n).number != 0 {
		h.see(n)
	}
}

// size is that of the annotations as the service counts it.
func (h *history) size() int {
	size := 0
	for key, value := range h.Annotations {
		size += len(key) + len(value)
	}
	return size
}

// look asks for one version by its number. The zero state stands for a version that is not there.
func (s *session) look(ctx context.Context, n number) (listed, error) {
	var found listed
	err := s.call(ctx, call{path: "/versions/" + n.String(), permission: permissionGetVersion, into: &found})
	if statusIs(err, notFound) {
		return listed{}, nil
	}
	return found, err
}

// versions returns one page of a list of versions, and the token of the next one.
func (s *session) versions(ctx context.Context, query url.Values) ([]listed, string, error) {
	var page struct {
		Versions      []listed `json:"versions"`
		NextPageToken string   `json:"nextPageToken"`
	}
	err := s.call(ctx, call{path: "/versions?" + query.Encode(), permission: permissionList, into: &page})
	return page.Versions, page.NextPageToken, err
}

// listEnabled returns all versions that can be read.
func (s *session) listEnabled(ctx context.Context) ([]version, error) {
	var all []version
	query := url.Values{"filter": {"state:" + enabled}, "pageSize": {"100"}}
	for range maxPages {
		page, token, err := s.versions(ctx, query)
		if err != nil {
			return nil, err
		}
		for _, each := range page {
			found, err := each.version(s.ref)
			if err != nil {
				return nil, err
			}
			if each.State == enabled {
				all = append(all, found)
			}
		}
		if token == "" {
			return all, nil
		}
		query.Set("pageToken", token)
	}
	return nil, &secrets.Error{Ref: s.ref, Reason: "it has more than a thousand enabled versions; destroy those that nobody needs"}
}

// newest returns the highest number that any version has, and zero for a secret without versions.
func (s *session) newest(ctx context.Context, h *history) (number, error) {
	page, _, err := s.versions(ctx, url.Values{"pageSize": {"1"}})
	if err != nil {
		return 0, err
	}
	top := max(h.seen(), h.current(), h.previous())
	for _, each := range page {
		found, err := each.version(s.ref)
		if err != nil {
			return 0, err
		}
		top = max(top, found.number)
	}
	for range maxSteps {
		found, err := s.look(ctx, top+1)
		if err != nil || found.State == "" {
			return top, err
		}
		top++
	}
	return 0, &secrets.Error{Ref: s.ref, Reason: "its list of versions is far behind"}
}
