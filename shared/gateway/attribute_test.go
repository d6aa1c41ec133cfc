package gateway

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
)

func TestUpstreamsAreToldWhoCalls(t *testing.T) {
	t.Parallel()
	alice := &caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: "alice", Name: "idp/Alice Ü <a@example.com>"}
	id := owner(alice)
	type told struct {
		User, Safety string
		Metadata     map[string]string
	}
	for _, c := range []struct {
		name     string
		provider config.Provider
		how      config.Attribution
		sent     told
		want     told
	}{
		{"Bedrock by its metadata", config.Bedrock, "", told{}, told{Metadata: map[string]string{"postern_caller_id": id}}},
		{"and by name", config.Bedrock, config.ByName, told{}, told{Metadata: map[string]string{"postern_caller_id": id, "postern_caller": "idp/Alice _ _a@example.com_"}}},
		{"Google by labels", config.Vertex, "", told{User: "u"}, told{User: "u", Metadata: map[string]string{"postern_caller_id": id}}},
		{"and by name", config.Vertex, config.ByName, told{}, told{Metadata: map[string]string{"postern_caller_id": id, "postern_caller": "idp_alice____a_example_com_"}}},
		{"OpenAI by the identifier that it has for that", config.OpenAI, "", told{User: "u"}, told{User: "u", Safety: id}},
		{"Azure OpenAI by the user", config.AzureOpenAI, "", told{}, told{User: id}},
		{"Anthropic by the user", config.Anthropic, "", told{}, told{User: id}},
		{"another server is not told", config.CustomOpenAI, "", told{User: "u"}, told{User: "u"}},
		{"unless it is to be", config.CustomOpenAI, config.ByHash, told{}, told{User: id}},
		{"nobody is told who is not to be", config.Bedrock, config.ByNothing, told{Metadata: map[string]string{"a": "b"}}, told{Metadata: map[string]string{"a": "b"}}},
		{
			"no caller passes for another", config.Bedrock, "", told{Metadata: map[string]string{"a": "b", "postern_caller": "bob", "postern_caller_id": "bob"}},
			told{Metadata: map[string]string{"a": "b", "postern_caller_id": id}},
		},
		{"its end users are its own", config.OpenAI, "", told{Safety: "bob"}, told{Safety: within(id, "bob")}},
		{"whichever way it says them", config.Anthropic, "", told{User: "bob"}, told{User: within(id, "bob")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req := chat.Request{User: c.sent.User, SafetyIdentifier: c.sent.Safety, Metadata: c.sent.Metadata}
			before := len(c.sent.Metadata)
			ctx := attribute(t.Context(), alice, &config.Upstream{Provider: c.provider, Attribution: c.how}, &req)
			if diff := cmp.Diff(c.want, told{req.User, req.SafetyIdentifier, req.Metadata}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := identity.CallerOf(ctx); got.ID != map[bool]string{true: "", false: id}[c.name == "nobody is told who is not to be" || c.name == "another server is not told"] || (got.Name != "") != (c.how == config.ByName) {
				t.Errorf("whoever signs is told %+v", got)
			}
			if len(c.sent.Metadata) != before {
				t.Error("the caller's own metadata were changed")
			}
		})
	}
	if user := within(id, strings.Repeat("x", 1000)); len(user) > 64 || !strings.HasPrefix(user, id+"-") || strings.Contains(user, "x") {
		t.Errorf("an end user is %q", user)
	}
	if name := label(strings.Repeat("Ü", 1000), config.Vertex); len(name) > 63 {
		t.Errorf("a label of %d bytes", len(name))
	}
}
