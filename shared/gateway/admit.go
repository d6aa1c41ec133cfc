package gateway

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
)

// admit finds the upstream of the model and asks the policy whether the caller
// may use it, and whether it may use it in this way. Nothing is sent or fetched
// before it has said yes. It returns the request for the upstream.
func (x *exchange) admit(req *chat.Request) (*chat.Request, *chat.Error) {
	route, ok := x.g.router.Route(x.requested)
	if !ok {
		return nil, noModel(x.requested)
	}
	upstream, d, err := x.permit(req, route)
	x.route, x.grant = route, d.Grant
	if d.StepUp != nil {
		x.askFor(d.StepUp, err.Code)
	}
	return upstream, err
}

// permit asks the policy about one upstream. It is asked anew for each one that
// a request is sent to. It changes nothing: whether somebody hears of a refusal
// is up to who asks.
func (x *exchange) permit(req *chat.Request, route config.Route) (*chat.Request, policy.Decision, *chat.Error) {
	d := x.g.policy.Decide(x.principal, target(config.EndpointChat, route))
	switch {
	case d.StepUp != nil:
		return nil, d, x.stepUp(d)
	case !d.Allowed:
		return nil, d, &chat.Error{
			Status: http.StatusForbidden, Type: chat.TypePermission, Code: "model_not_allowed", Param: "model",
			Message: "Your identity is not allowed to use this model. GET /v1/models lists those that it may use; ask the gateway's operator for more.",
			Err:     &reasonError{d.Reason},
		}
	}
	if err := restrict(d.Grant, req); err != nil {
		return nil, d, err
	}
	upstream := *req
	upstream.Model = route.Model
	if err := capTokens(d.Grant, &upstream); err != nil {
		return nil, d, err
	}
	// Servers that are only like OpenAI's may know the older name alone, and
	// would not keep the bound under the other.
	if d.Grant.MaxTokens > 0 && route.Upstream.Provider == config.CustomOpenAI {
		upstream.MaxTokens, upstream.MaxCompletionTokens = upstream.OutputLimit(), nil
	}
	return &upstream, d, nil
}

func target(route config.Endpoint, to config.Route) policy.Target {
	return policy.Target{Route: route, Model: to.Name, Upstream: to.Upstream.Name, UpstreamModel: to.Model}
}

// restrict refuses what the rule does not allow. A member that is not known
// might be another name for what is bounded, so with a bound there are none.
func restrict(g *policy.Grant, req *chat.Request) *chat.Error {
	if !g.Tools.Limited && g.MaxTokens == 0 {
		return nil
	}
	if strangers := req.Strangers(); len(strangers) > 0 {
		name := chat.Clip(strangers[0], 64)
		return &chat.Error{
			Status: http.StatusForbidden, Type: chat.TypePermission, Code: "parameter_not_allowed", Param: name,
			Message: "Your identity may use the parameters of the OpenAI API only. Leave out `" + name + "`.",
			Err:     &reasonError{fmt.Sprintf("the rule %q bounds requests, and the request has a parameter that is not known", g.Rule)},
		}
	}
	return checkTools(g, req)
}

// checkTools refuses tools that the rule does not allow. Those that were used
// earlier in the conversation are history and call nothing.
func checkTools(g *policy.Grant, req *chat.Request) *chat.Error {
	if !g.Tools.Limited {
		return nil
	}
	for i := range req.Tools {
		name, ok := toolName(&req.Tools[i])
		if !ok || !g.Tools.Allow(name) {
			return toolDenied(g, fmt.Sprintf("tools[%d]", i), name)
		}
	}
	// Its forerunner, which is passed on as it is.
	if len(req.Functions) > 0 && req.Functions.Kind() != jsontext.KindNull {
		var functions []struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(req.Functions, &functions); err != nil {
			return toolDenied(g, "functions", "")
		}
		for i, f := range functions {
			if !g.Tools.Allow(f.Name) {
				return toolDenied(g, fmt.Sprintf("functions[%d]", i), f.Name)
			}
		}
	}
	// The upstream's own tool. A name for the rules makes it like any other.
	if len(req.WebSearchOptions) > 0 && req.WebSearchOptions.Kind() != jsontext.KindNull && !g.Tools.Allow("web_search") {
		return toolDenied(g, "web_search_options", "web_search")
	}
	return nil
}

// toolName returns the name that rules have for a tool: that of the function or
// custom tool, and the type of one that is the upstream's own.
func toolName(t *chat.Tool) (string, bool) {
	switch {
	case t.Function != nil:
		return t.Function.Name, true
	case len(t.Custom) > 0:
		var custom struct {
			Name string `json:"name"`
		}
		err := json.Unmarshal(t.Custom, &custom)
		return custom.Name, err == nil && custom.Name != ""
	}
	return t.Type, t.Type != "" && t.Type != "function" && t.Type != "custom"
}

func toolDenied(g *policy.Grant, param, name string) *chat.Error {
	message := "Your identity is not allowed to use this tool here."
	if len(g.Tools.Names) == 0 {
		message = "Your identity is not allowed to use tools here."
	}
	if name != "" && len(g.Tools.Names) > 0 {
		message = "Your identity is not allowed to use the tool `" + chat.Clip(name, 64) + "` here."
	}
	return &chat.Error{
		Status: http.StatusForbidden, Type: chat.TypePermission, Code: "tool_not_allowed", Param: param,
		Message: message + " Leave it out, or ask the gateway's operator.", Err: &reasonError{fmt.Sprintf("the rule %q does not allow the request's tool", g.Rule)},
	}
}

// choicesOf is how many answers a request asks for, each with its own limit.
func choicesOf(req *chat.Request) int64 {
	if req.N == nil {
		return 1
	}
	return max(*req.N, 1)
}

// capTokens keeps an answer, with all of its choices, within the rule's bound. A
// request that asks for more is refused rather than changed; one that says
// nothing gets the bound.
func capTokens(g *policy.Grant, req *chat.Request) *chat.Error {
	if g.MaxTokens == 0 {
		return nil
	}
	bound, limit := g.MaxTokens/choicesOf(req), req.OutputLimit()
	if limit == nil && bound > 0 {
		req.MaxCompletionTokens = &bound
		return nil
	}
	if limit != nil && *limit <= bound {
		return nil
	}
	param := "max_completion_tokens"
	switch {
	case limit == nil:
		param = "n"
	case req.MaxTokens != nil:
		param = "max_tokens"
	}
	return &chat.Error{
		Status: http.StatusForbidden, Type: chat.TypePermission, Code: "max_tokens_not_allowed", Param: param,
		Message: fmt.Sprintf("Your identity may ask for at most %d tokens here, in all choices together.", g.MaxTokens),
		Err:     &reasonError{fmt.Sprintf("the rule %q allows answers of at most %d tokens", g.Rule, g.MaxTokens)},
	}
}
