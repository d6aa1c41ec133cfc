package sigv4

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/postern-ai/postern/shared/identity"
)

const (
	// mostCallers bounds the sessions of callers that an instance keeps. The one that was used longest ago goes first, and is assumed anew
	// when its caller comes back.
	mostCallers = 256
	// nobody is the origin of sessions for requests that no caller has made, such as those of an operator who asks what is configured.
	nobody = "postern"

	// CallerTag and CallerNameTag are the session tags that say who called.
	CallerTag     = "postern_caller_id"
	CallerNameTag = "postern_caller"
)

// PerCallerOptions says how sessions for callers are made.
type PerCallerOptions struct {
	// Options says what signatures are for. Its Identity is not used.
	Options
	// Roles says how Role is assumed.
	Roles RolesOptions
	// Role is assumed anew for each caller. It has no SourceIdentity: that, and its session name unless it has one, says who called.
	Role Role
}

// PerCaller signs requests with a session of its own for each caller, so that AWS's own records name the caller: as the source identity, which
// stays with the session whatever it does, and in session tags. It is safe for concurrent use.
type PerCaller struct {
	options PerCallerOptions

	mu       sync.Mutex
	sessions map[identity.Caller]*callerSession
	clock    uint64
}

type callerSession struct {
	signer *Authorizer
	used   uint64
}

var _ identity.Authorizer = (*PerCaller)(nil)

// NewPerCaller returns a PerCaller, or says which option is wrong. It asks nobody.
func NewPerCaller(options PerCallerOptions) (*PerCaller, error) {
	if options.Role.SourceIdentity != "" {
		return nil, errors.New("the source identity of a role that is assumed for each caller is the caller")
	}
	p := &PerCaller{options: options, sessions: map[identity.Caller]*callerSession{}}
	_, err := p.signer(identity.Caller{ID: "somebody", Name: "somebody"})
	return p, err
}

// Authorize signs the request for the caller of its context.
func (p *PerCaller) Authorize(request *http.Request) error {
	signer, err := p.session(identity.CallerOf(request.Context()))
	if err != nil {
		return err
	}
	return signer.Authorize(request)
}

// Rejected drops the session of the request's caller, if it is the one that signed the request.
func (p *PerCaller) Rejected(request *http.Request) {
	if signer, err := p.session(identity.CallerOf(request.Context())); err == nil {
		signer.Rejected(request)
	}
}

func (p *PerCaller) session(caller identity.Caller) (*Authorizer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock++
	if known, ok := p.sessions[caller]; ok {
		known.used = p.clock
		return known.signer, nil
	}
	signer, err := p.signer(caller)
	if err != nil {
		return nil, &identity.Error{Public: "the role cannot be assumed for this caller", Err: err}
	}
	if len(p.sessions) >= mostCallers {
		p.forget()
	}
	p.sessions[caller] = &callerSession{signer: signer, used: p.clock}
	return signer, nil
}

// forget drops the session that was used longest ago.
func (p *PerCaller) forget() {
	var oldest identity.Caller
	first := p.clock
	for caller, s := range p.sessions {
		if s.used < first {
			oldest, first = caller, s.used
		}
	}
	delete(p.sessions, oldest)
}

// signer makes what signs for a caller.
func (p *PerCaller) signer(caller identity.Caller) (*Authorizer, error) {
	role := p.options.Role
	role.Tags = maps.Clone(role.Tags)
	if role.Tags == nil {
		role.Tags = map[string]string{}
	}
	role.SourceIdentity = nobody
	if caller.ID != "" {
		role.SourceIdentity, role.Tags[CallerTag] = caller.ID, caller.ID
	}
	if caller.Name != "" {
		role.SourceIdentity, role.Tags[CallerNameTag] = word(caller.Name), tag(caller.Name)
	}
	if role.SessionName == "" {
		role.SessionName = role.SourceIdentity
	}
	roles, err := NewRoles(p.options.Roles)
	if err != nil {
		return nil, err
	}
	who, err := roles.Assume(role)
	if err != nil {
		return nil, err
	}
	options := p.options.Options
	options.Identity = who
	return New(options)
}

// word makes a name fit to be a source identity. Its end tells most.
func word(name string) string {
	text := fit(name, "_+=,.@-")
	if len(text) > 64 {
		text = text[len(text)-64:]
	}
	if len(text) < 2 {
		text += "__"
	}
	return text
}

// tag makes a name fit to be the value of a session tag.
func tag(name string) string {
	text := fit(name, " _.:/=+-@")
	return text[:min(len(text), 256)]
}

func fit(name, others string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune(others, c):
			return c
		}
		return '_'
	}, name)
}
