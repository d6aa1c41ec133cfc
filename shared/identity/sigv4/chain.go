package sigv4

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/postern-ai/postern/shared/identity"
)

const roleSource = "assumed role"

// RolesOptions says how roles are assumed.
type RolesOptions struct {
	STSOptions
	// From is the identity that assumes the first role of each chain. Nil means the platform's own.
	From *Identity
	// Refresh says when sessions are renewed.
	Refresh identity.Refresh
	// OnReplace, when set, is told of each session at the end of a chain or within it that took the place of another one.
	OnReplace func(ctx context.Context, replacement identity.Replacement[identity.Principal])
}

// Roles assumes roles, and keeps each session for all who want the same one: chains that begin alike share what they have in common. It is
// safe for concurrent use.
type Roles struct {
	options RolesOptions
	sts     *tokenService

	mu       sync.Mutex
	sessions map[string]*Identity // by all roles up to and including this one
}

// NewRoles returns a Roles that has assumed none yet, or says which option is wrong.
func NewRoles(options RolesOptions) (*Roles, error) {
	sts, err := options.resolve()
	if err != nil {
		return nil, err
	}
	if options.From == nil {
		options.From = NewIdentity(IdentityOptions{Getenv: options.Getenv, HTTP: options.HTTP, Refresh: options.Refresh})
	}
	return &Roles{options: options, sts: sts, sessions: map[string]*Identity{}}, nil
}

// Assume returns the identity at the end of a chain of roles, each of which is assumed with the credentials of the one before it. The same
// chain gives the same identity. It asks nobody: that is for the first request. What STS would refuse about the chain itself is an error
// here.
func (r *Roles) Assume(chain ...Role) (*Identity, error) {
	if len(chain) == 0 {
		return nil, errors.New("the chain has no role")
	}
	roles := make([]Role, len(chain))
	for i, role := range chain {
		roles[i] = role.withDefaults()
	}
	if err := checkChain(roles); err != nil {
		return nil, err
	}
	if roles[0].Duration > chainedSession && r.options.From.isRole() {
		return nil, errors.New("role 1 of the chain: a session of a role that is assumed with another role's credentials, such as a function's own, lasts at most 1 hour, " +
			"not " + roles[0].Duration.String())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	who, key := r.options.From, ""
	for _, role := range roles {
		key += role.key() + "\n"
		next, ok := r.sessions[key]
		if !ok {
			next = NewIdentity(IdentityOptions{
				Credentials: &hop{sts: r.sts, from: who, role: role}, HTTP: r.options.HTTP, Getenv: r.options.Getenv,
				Refresh: r.options.Refresh, OnReplace: r.options.OnReplace,
			})
			r.sessions[key] = next
		}
		who = next
	}
	return who, nil
}

// isRole reports whether an identity is known to be a role's before any credentials have been fetched.
func (i *Identity) isRole() bool {
	switch provider := i.provider.(type) {
	case *hop, *WebIdentity:
		return true
	case *ambient:
		return provider.getenv("AWS_LAMBDA_FUNCTION_NAME") != "" || provider.getenv("AWS_SESSION_TOKEN") != ""
	}
	return false
}

// hop assumes one role with the credentials of another identity.
type hop struct {
	sts  *tokenService
	from *Identity
	role Role
}

// Retrieve assumes the role.
func (h *hop) Retrieve(ctx context.Context) (aws.Credentials, error) {
	held, err := h.retrieve(ctx)
	return held.Credentials, err
}

func (h *hop) retrieve(ctx context.Context) (keys, error) {
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	signer, err := h.signer(ctx)
	if err != nil {
		return keys{}, err
	}
	reply, err := h.sts.call(ctx, h.form(), &signer)
	if refusedCaller(err) {
		// The credentials have ended early, or were changed under us: fetch them anew, once.
		h.from.reject(signer.AccessKeyID, signer.SessionToken)
		if signer, err = h.signer(ctx); err != nil {
			return keys{}, err
		}
		reply, err = h.sts.call(ctx, h.form(), &signer)
	}
	if err != nil {
		return keys{}, explainSTS(err, fmt.Sprintf("assume role %s as %s", h.role.ARN, signer.principal().Name), h.remedies())
	}
	return parseIssued(reply, roleSource)
}

func (h *hop) signer(ctx context.Context) (keys, error) {
	signer, err := h.from.keys(ctx)
	switch {
	case err != nil:
		return keys{}, err
	case signer.SessionToken != "" && h.role.Duration > chainedSession:
		return keys{}, &identity.Error{Public: fmt.Sprintf("cannot assume role %s for %v: with temporary credentials a session lasts at most 1 hour; lower its duration", h.role.ARN, h.role.Duration)}
	}
	return signer, nil
}

func (h *hop) form() url.Values {
	form := url.Values{
		"Action": {"AssumeRole"}, "RoleArn": {h.role.ARN}, "RoleSessionName": {h.role.SessionName},
		"DurationSeconds": {strconv.Itoa(int(h.role.Duration / time.Second))},
	}
	if h.role.ExternalID != "" {
		form.Set("ExternalId", h.role.ExternalID)
	}
	if h.role.SourceIdentity != "" {
		form.Set("SourceIdentity", h.role.SourceIdentity)
	}
	addTags(form, h.role.Tags)
	for i, name := range h.role.TransitiveTags {
		form.Set(fmt.Sprintf("TransitiveTagKeys.member.%d", i+1), name)
	}
	return form
}

func addTags(form url.Values, tags map[string]string) {
	for i, name := range slices.Sorted(maps.Keys(tags)) {
		form.Set(fmt.Sprintf("Tags.member.%d.Key", i+1), name)
		form.Set(fmt.Sprintf("Tags.member.%d.Value", i+1), tags[name])
	}
}

func (h *hop) remedies() map[string]string {
	needs := "sts:AssumeRole"
	if len(h.role.Tags) > 0 {
		needs += ", sts:TagSession"
	}
	if h.role.SourceIdentity != "" {
		needs += ", sts:SetSourceIdentity"
	}
	also := "the role's trust policy and the caller's own policy must both allow " + needs
	if h.role.ExternalID != "" {
		also += ", and the trust policy must name this external id"
	}
	return map[string]string{
		"AccessDenied":            also,
		"ValidationError":         fmt.Sprintf("the role's maximum session duration must be at least %v", h.role.Duration),
		"RegionDisabledException": "STS is switched off in this region for the account; switch it on or set another region",
	}
}
