package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// option is a field of an upstream that has an effect only for one provider.
type option struct {
	name     string
	provider Provider
	valid    func(string) bool
	wants    string
	target   func(*Upstream) *string
}

// options are the providers' own fields. The names are those that users of other gateways know.
func options() []option {
	return []option{
		{"aws_region", Bedrock, isRegion, "a region such as eu-central-1", func(u *Upstream) *string { return &u.AWSRegion }},
		{"project_id", Vertex, isProject, "a project id such as my-project-123", func(u *Upstream) *string { return &u.ProjectID }},
		{"location_id", Vertex, isLocation, "a location such as global or europe-west4", func(u *Upstream) *string { return &u.LocationID }},
		{"azure_instance", AzureOpenAI, isAzureInstance, "the resource's name, the first part of NAME.openai.azure.com", func(u *Upstream) *string { return &u.AzureInstance }},
		{"azure_deployment_id", AzureOpenAI, func(s string) bool { return ValidModel(AzureOpenAI, s) }, "the name of a deployment", func(u *Upstream) *string { return &u.AzureDeploymentID }},
		{"azure_api_version", AzureOpenAI, isAzureAPIVersion, "a version such as 2024-10-21, or leave it out to use /openai/v1/", func(u *Upstream) *string { return &u.AzureAPIVersion }},
		{"azure_client_id", AzureOpenAI, isClientID, "the client id (a GUID) of a user-assigned managed identity", func(u *Upstream) *string { return &u.AzureClientID }},
	}
}

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
	l.promises(o)
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

// promises are the fields whose default can be kept today and whose other value would have to be ignored.
func (l *loader) promises(o object) {
	for _, name := range []string{"mfa_required", "audit_on_rotate"} {
		if p, ok := o.field(name); ok {
			if on, ok := p.flag(); ok && on {
				p.wrong("this is not available in this version", "remove it or set it to false")
			}
		}
	}
}

// endpoint reads where the service is.
func (l *loader) endpoint(o object, u *Upstream) {
	for _, option := range options() {
		p, ok := o.field(option.name)
		switch {
		case !ok:
		case u.Provider != option.provider:
			l.elsewhere(p, u.Provider, option.provider)
		default:
			if s, ok := p.string(); ok {
				if !option.valid(s) {
					p.wrong("the value does not have the right form", "give "+option.wants)
				}
				*option.target(u) = s
			}
		}
	}
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

// elsewhere reports a field that would have no effect for this provider.
func (l *loader) elsewhere(p place, has, belongs Provider) {
	if has == "" {
		return // the provider itself is wrong and has been reported
	}
	p.wrong(fmt.Sprintf("the field has no effect for provider %s", has), fmt.Sprintf("it belongs to %s; remove it", belongs))
}

// address reads the address that replaces the service's own, under either of its names.
func (l *loader) address(o object, u *Upstream) {
	base, hasBase := o.field("base_url")
	api, hasAPI := o.field("api_endpoint")
	if hasAPI && u.Provider != Vertex {
		l.elsewhere(api, u.Provider, Vertex)
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
	if u.Provider == AzureOpenAI && (strings.HasSuffix(u.BaseURL, "/openai") || strings.HasSuffix(u.BaseURL, "/openai/v1")) {
		base.wrong("base_url is the resource's address, without the path of the API", "leave off "+parsed.Path)
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
		o.finish(nil)
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
	case "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_assume_role_arn", "aws_role_session_name",
		"aws_sts_endpoint_url", "azure_client_secret", "azure_tenant_id", "gcp_service_account_json", "header_name",
		"param_name", "param_location":
		return "not available in this version; remove it", true
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
	case "audience", "audiences":
		return "an upstream has no audience here; those of callers stand under callers", true
	}
	return "", false
}
