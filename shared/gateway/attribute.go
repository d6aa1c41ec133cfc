package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
)

// The labels by which an upstream's own records say who called. What a caller
// sends under these names is replaced: nobody can pass for somebody else.
const (
	labelCaller = "postern_caller_id"
	labelName   = "postern_caller"
)

// attribute tells the upstream who calls, each in the place that it has: labels
// that end up in the invocation log of Bedrock and the billing of Google, and
// the identifier by which OpenAI and Anthropic tell one end user from another.
// The context is for whoever signs: AWS is told with the credential, too.
func attribute(ctx context.Context, p *caller.Principal, u *config.Upstream, req *chat.Request) context.Context {
	how, id := u.Attributes(), owner(p)
	if how == config.ByNothing {
		return ctx
	}
	who := identity.Caller{ID: id}
	if how == config.ByName {
		who.Name = p.Name
	}
	switch u.Provider {
	case config.Bedrock, config.Vertex:
		labels := maps.Clone(req.Metadata)
		if labels == nil {
			labels = map[string]string{}
		}
		delete(labels, labelName)
		labels[labelCaller] = id
		if how == config.ByName {
			labels[labelName] = label(p.Name, u.Provider)
		}
		req.Metadata = labels
	case config.OpenAI:
		req.SafetyIdentifier = within(id, req.SafetyIdentifier)
	case config.Anthropic:
		req.User, req.SafetyIdentifier = within(id, req.User+req.SafetyIdentifier), ""
	default:
		req.User = within(id, req.User)
	}
	return identity.WithCaller(ctx, who)
}

// within is a caller's end user: another one for each caller, whatever the
// caller says, and never what the caller said.
func within(id, user string) string {
	if user == "" {
		return id
	}
	hash := sha256.Sum256([]byte(user))
	return id + "-" + hex.EncodeToString(hash[:8])
}

// The longest labels of Bedrock (the service's model) and of Google.
const (
	mostBedrockLabel = 256
	mostGoogleLabel  = 63
)

// label makes a name fit to be a label: other characters become underscores.
func label(name string, p config.Provider) string {
	most, others := mostBedrockLabel, " :_@$#=/+,-."
	if p == config.Vertex {
		most, others, name = mostGoogleLabel, "_-", strings.ToLower(name)
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r < 0x80 && strings.ContainsRune(others, r):
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), most)]
}
