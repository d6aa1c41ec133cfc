package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

func (l *loader) upstreams(o object, limits Limits) []Upstream {
	section, ok := o.field("upstreams")
	if !ok {
		o.missing("upstreams", "there is no upstream", "describe at least one model service")
		return nil
	}
	items := section.list()
	if section.kind == kindList && len(items) == 0 {
		section.wrong("there is no upstream", "describe at least one model service")
	}
	var upstreams []Upstream
	for _, item := range items {
		o, ok := item.object()
		if !ok {
			continue
		}
		upstreams = append(upstreams, l.upstream(o, limits))
	}
	return upstreams
}

func (l *loader) upstream(o object, limits Limits) Upstream {
	var u Upstream
	p, ok := o.field("provider")
	if !ok {
		o.missing("provider", "the provider is missing", "give one of "+list(Providers(), "or"))
	} else if s, ok := p.string(); ok {
		u.Provider = l.provider(p, s)
	}
	u.Name = string(u.Provider)
	if p, ok := o.field("name"); ok {
		if s, ok := p.string(); ok {
			if !isName(s) {
				p.wrong("this cannot be a name", "use lower-case letters, digits and dashes")
			}
			u.Name = s
		}
	}
	u.Timeout = o.within("timeout", limits.RequestTimeout)
	l.credential(o, &u)
	l.endpoint(o, &u)
	l.models(o, &u)
	l.promises(o, &u)
	l.ahead(o, &u)
	o.finish(upstreamHint)
	return u
}

func (l *loader) provider(p place, s string) Provider {
	if slices.Contains(Providers(), Provider(s)) {
		return Provider(s)
	}
	remedy := "use one of " + list(Providers(), "or")
	known := map[string]Provider{"azure": AzureOpenAI, "custom": CustomOpenAI, "gemini": Vertex, "google": Vertex, "aws": Bedrock}
	if near, ok := known[s]; ok {
		remedy = fmt.Sprintf("did you mean %s?", near)
	} else if near, ok := nearest(s, texts(Providers())); ok {
		remedy = fmt.Sprintf("did you mean %s?", near)
	}
	p.wrong("there is no such provider", remedy)
	return ""
}

func texts[T ~string](names []T) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = string(name)
	}
	return all
}

// promises are the fields about what happens around a credential.
func (l *loader) promises(o object, u *Upstream) {
	if p, ok := o.field("mfa_required"); ok {
		u.MFARequired, _ = p.flag()
	}
	if p, ok := o.field("attribution"); ok {
		if s, ok := p.string(); ok && oneOf(texts(attributions()), "an upstream cannot be told so who calls")(p, s) {
			u.Attribution = Attribution(s)
		}
		if u.Attribution == ByName && u.Provider != Bedrock && u.Provider != Vertex {
			p.wrong("the service has no place for the names of callers", "use attribution: hash")
		}
		if last := len(u.AWSRoles) - 1; u.Attribution == ByNothing && last >= 0 && u.AWSRoles[last].PerCaller {
			p.wrong("the last of aws_roles has per_caller, which tells AWS who calls", "keep one of the two")
		}
	}
	if p, ok := o.field("audit_on_rotate"); ok {
		u.AuditOnRotate, _ = p.flag()
	}
}

// endpoint reads where the service is.
func (l *loader) endpoint(o object, u *Upstream) {
	l.address(o, u)
	switch u.Provider {
	case Vertex:
		if u.LocationID == "" {
			u.LocationID = "global"
		}
		l.vertexLocation(o, u)
	case AzureOpenAI:
		if !o.has("azure_instance") && !o.has("base_url") {
			o.missing("azure_instance", "the Azure OpenAI resource is missing", "give azure_instance (NAME of NAME.openai.azure.com) or base_url")
		}
	case CustomOpenAI:
		if !o.has("base_url") {
			o.missing("base_url", "the server's address is missing", "give base_url, such as https://llm.example.com/v1")
		}
	}
}

// address reads the address that replaces the service's own, under either of its names.
func (l *loader) address(o object, u *Upstream) {
	base, hasBase := o.field("base_url")
	api, hasAPI := o.field("api_endpoint")
	if hasAPI && u.Provider != Vertex && u.Provider != "" {
		l.elsewhere(api, u.Provider, option{where: []span{of(Vertex)}})
		hasAPI = false
	}
	if hasAPI && hasBase {
		api.wrong("api_endpoint and base_url say the same thing", "keep one of the two")
		return
	}
	if hasAPI {
		// It may be a bare host, as other gateways spell it.
		if api.kind == kindText && api.text != "" && !strings.Contains(api.text, "://") {
			api.text = "https://" + api.text
		}
		base, hasBase = api, true
	}
	if !hasBase {
		return
	}
	if p, ok := o.field("azure_instance"); ok && u.Provider == AzureOpenAI {
		p.wrong("azure_instance and base_url contradict each other", "keep one of the two")
	}
	parsed, ok := base.url()
	if !ok {
		return
	}
	u.BaseURL = strings.TrimRight(base.text, "/")
	added := map[Provider][]string{
		AzureOpenAI:  {"/openai", "/openai/v1"},
		OpenAI:       {"/chat/completions"},
		CustomOpenAI: {"/chat/completions"},
		Anthropic:    {"/v1", "/v1/messages"},
	}
	for _, path := range added[u.Provider] {
		if strings.HasSuffix(u.BaseURL, path) {
			base.wrong("the address ends in the path of the API, which is added to it", "leave off "+path)
		}
	}
	if u.Provider == OpenAI && strings.Trim(parsed.Path, "/") == "" && strings.HasSuffix(parsed.Hostname(), ".openai.com") {
		base.wrong("the address lacks the version of the API", "give "+u.BaseURL+"/v1")
	}
}

// vertexLocation reports an address in one region with a location that is not that region: Vertex AI answers such requests
// with a bare 404.
func (l *loader) vertexLocation(o object, u *Upstream) {
	parsed, err := url.Parse(u.BaseURL)
	if err != nil {
		return
	}
	region, ok := strings.CutSuffix(parsed.Hostname(), "-aiplatform.googleapis.com")
	if !ok || region == u.LocationID {
		return
	}
	p, _ := o.field("api_endpoint")
	if base, ok := o.field("base_url"); ok {
		p = base
	}
	p.wrong(fmt.Sprintf("the address is the one of %s, but location_id is %s", region, u.LocationID), "set location_id: "+region)
}

// url returns the https address at this place.
func (p place) url() (*url.URL, bool) {
	s, ok := p.string()
	if !ok {
		return nil, false
	}
	u, problem := parseEndpoint(s)
	if problem != "" {
		p.hidden = strings.ContainsAny(s, "@?")
		p.wrong(problem, "give an https URL of host and path only (http is allowed for this machine itself)")
		return nil, false
	}
	return u, true
}

// models reads the public names and what they are called at the upstream.
func (l *loader) models(o object, u *Upstream) {
	section, ok := o.field("models")
	if !ok {
		if u.AzureDeploymentID != "" {
			u.Models = []Model{{Name: u.AzureDeploymentID, Model: u.AzureDeploymentID}}
		}
		return
	}
	items := section.list()
	if section.kind == kindList && len(items) == 0 {
		section.wrong("the list is empty", "name the models, or remove the field to serve every model of the upstream")
	}
	for _, item := range items {
		if m, ok := l.model(item, u); ok {
			u.Models = append(u.Models, m)
		}
	}
}

func (l *loader) model(item place, u *Upstream) (Model, bool) {
	var m Model
	at := item
	if item.kind == kindMapping {
		o, _ := item.object()
		name, ok := o.field("name")
		if !ok {
			o.missing("name", "the model's public name is missing", "give the name that callers ask for")
			return m, false
		}
		if m.Name, ok = name.string(); !ok {
			return m, false
		}
		at = name
		if model, ok := o.field("model"); ok {
			if m.Model, ok = model.string(); !ok {
				return m, false
			}
			at = model
		}
		o.fallbacks(&m)
		o.finish(func(name string) (string, bool) {
			return "use fallbacks, which is a list of public names", name == "fallback" || name == "fallback_models"
		})
	} else {
		var ok bool
		if m.Name, ok = item.string(); !ok {
			return m, false
		}
	}
	switch {
	case m.Model == "" && u.AzureDeploymentID != "":
		m.Model = u.AzureDeploymentID
	case m.Model == "":
		m.Model = m.Name
	case u.AzureDeploymentID != "" && m.Model != u.AzureDeploymentID:
		at.wrong("the model's deployment contradicts azure_deployment_id", "keep one of the two")
		return m, false
	}
	if !isPublicModel(m.Name) {
		at.wrong("a model's name is printable ASCII without spaces", "correct the name")
		return m, false
	}
	if u.Provider != "" && !ValidModel(u.Provider, m.Model) {
		at.wrong(fmt.Sprintf("this cannot be the id of a model at %s", u.Provider), "give {name, model}, where model is the id at the provider")
		return m, false
	}
	return m, true
}

// upstreamHint knows the names that other gateways, and later versions, have for things.
func upstreamHint(name string) (string, bool) {
	switch name {
	case "api_key", "key", "token", "header_value", "param_value", "credential", "password":
		return "a document never holds a secret; use credential_ref", true
	case "azure_use_managed_identity", "gcp_use_service_account", "use_gcp_service_account":
		return "use auth_type: native", true
	case "aws_access_key_id", "aws_secret_access_key", "aws_session_token":
		return "a document never holds a secret; use auth_type: aws_sigv4 and credential_ref, where JSON holds these names", true
	case "azure_client_secret":
		return "a document never holds a secret; use auth_type: azure_ad and credential_ref", true
	case "gcp_service_account_json":
		return "a document never holds a secret; use credential_ref", true
	case "aws_assume_role_arn", "aws_role_session_name", "role_arn", "external_id":
		return "describe the role in aws_roles, as {role_arn, external_id, session_name}", true
	case "aws_sts_endpoint_url":
		return "use aws_sts_endpoint", true
	case "param_name", "param_location":
		return "use query_name, and credential_ref for the value", true
	case "upstream_url", "url", "endpoint", "api_base":
		return "use base_url", true
	case "region":
		return "use aws_region", true
	case "project":
		return "use project_id", true
	case "location":
		return "use location_id", true
	case "model":
		return "use models", true
	case "audiences":
		return "use audience for the token that is asked for; the audiences of callers stand under callers", true
	}
	return "", false
}
