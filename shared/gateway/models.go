package gateway

import (
	"net/url"
	"strings"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
)

// modelObject is an entry of GET /v1/models. Created is always 0: a function
// does not know when a model was made, and clients only show the member.
type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

type modelList struct {
	Object string        `json:"object"`
	Data   []modelObject `json:"data"`
}

// listModels serves GET /v1/models: what the document lists and the caller may
// use.
func (x *exchange) listModels() *chat.Error {
	if err := x.authenticate(); err != nil {
		return err
	}
	list := modelList{Object: "list", Data: []modelObject{}}
	for _, name := range x.g.router.Models() {
		if m, ok := x.model(name); ok {
			list.Data = append(list.Data, m)
		}
	}
	return x.reply(list)
}

// oneModel serves GET /v1/models/{model}. The name may hold slashes, escaped
// or not.
func (x *exchange) oneModel() *chat.Error {
	if err := x.authenticate(); err != nil {
		return err
	}
	name, err := url.PathUnescape(strings.TrimPrefix(x.r.URL.EscapedPath(), pathModels+"/"))
	if err != nil {
		return noModel("")
	}
	m, ok := x.model(name)
	if !ok {
		return noModel(name)
	}
	return x.reply(m)
}

// model describes a model that the caller may use. One that it may not use
// looks like one that is not there.
func (x *exchange) model(name string) (modelObject, bool) {
	route, ok := x.g.router.Route(name)
	if !ok || !x.g.policy.Decide(x.principal, target(config.EndpointModels, route)).Allowed {
		return modelObject{}, false
	}
	return modelObject{ID: name, Object: "model", OwnedBy: route.Upstream.Name}, true
}
