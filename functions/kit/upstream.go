package kit

import (
	"fmt"
	"sync"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/provider/anthropic"
	"github.com/postern-ai/postern/shared/provider/azureopenai"
	"github.com/postern-ai/postern/shared/provider/bedrock"
	"github.com/postern-ai/postern/shared/provider/openai"
	"github.com/postern-ai/postern/shared/provider/vertex"
	"github.com/postern-ai/postern/shared/quota/redisquota"
	"github.com/postern-ai/postern/shared/redis"
)

// wiring is what upstreams share while they are put together. Some of that is
// done within the first request that needs it, so it is safe for concurrent
// use.
type wiring struct {
	Kit
	vault *vault
	// server, uses and redis are nil when instances share nothing.
	server *redis.Server
	uses   *redisquota.Store
	redis  *redistokens.Cache
	// ahead takes note of the shared sources that are made, for a function that
	// refreshes them. It is nil in a gateway.
	ahead *proactive

	mu         sync.Mutex
	identities map[string]*sigv4.Identity
	roles      map[string]*sigv4.Roles
	tokens     map[string]*identity.Cache
}

func newWiring(k Kit, d *config.Document) (*wiring, error) {
	w := &wiring{
		Kit: k, vault: newVault(k, d),
		identities: map[string]*sigv4.Identity{}, roles: map[string]*sigv4.Roles{}, tokens: map[string]*identity.Cache{},
	}
	w.vault.onFallback = w.onFallback(d)
	if d.Cache.Redis == nil {
		return w, nil
	}
	var err error
	if w.server, err = w.redisServer(d.Cache.Redis); err != nil {
		return nil, fmt.Errorf("cache.redis: %w", err)
	}
	w.uses = w.newUses()
	if w.redis, err = w.newRedis(d.Cache.Redis); err != nil {
		return nil, fmt.Errorf("cache.redis: %w", err)
	}
	return w, nil
}

// model puts a model and a credential behind an upstream. Loading the document
// has made sure that provider and auth type go together; which wire and which
// credential that means is the two switches below.
func (w *wiring) model(u *config.Upstream) (provider.Model, error) {
	auth, err := w.authorizer(u)
	if err != nil {
		return nil, err
	}
	sender := &provider.Sender{HTTP: w.HTTP, Auth: auth}
	switch u.Provider {
	case config.Bedrock:
		sender.Rejected = bedrock.Rejected
		return bedrock.New(u, sender)
	case config.Vertex:
		return vertex.NewWith(u, sender, vertex.Options{Project: w.metadata(nil).ProjectID})
	case config.AzureOpenAI:
		return azureopenai.New(u, sender)
	case config.Anthropic:
		return anthropic.New(u, sender)
	case config.OpenAI, config.CustomOpenAI:
		return openai.New(u, sender)
	}
	return nil, fmt.Errorf("provider %s is not linked into this function", u.Provider)
}

// authorizer returns what puts the upstream's credential on a request. It
// fetches nothing.
func (w *wiring) authorizer(u *config.Upstream) (identity.Authorizer, error) {
	switch u.AuthType {
	case config.APIKey:
		return w.key(u)
	case config.AWSSigV4:
		return w.sigv4(u)
	case config.AzureAD:
		return w.entra(u)
	case config.OAuth2, config.OIDC:
		if u.Provider == config.Vertex {
			return w.google(u)
		}
		return w.oauth(u)
	case config.Native:
		switch u.Provider {
		case config.Bedrock:
			return w.sigv4(u)
		case config.Vertex:
			return w.google(u)
		case config.AzureOpenAI:
			return w.entra(u)
		case config.OpenAI:
			return w.openAI(u)
		case config.Anthropic:
			return w.anthropic(u)
		}
	}
	return nil, fmt.Errorf("auth_type %s is not linked into this function", u.AuthType)
}
