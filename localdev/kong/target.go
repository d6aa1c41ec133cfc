package kong

import (
	"slices"
	"strconv"
	"strings"
)

// target is one model of a plugin: what becomes one upstream.
type target struct {
	*importer
	from    string // what it is made of, for a comment
	label   string // what its upstream may be called
	path    string
	auth    *object
	model   *object
	options *object
	beside  *object // options that stand beside model instead of in it
	patches map[string]string
	only    whose
}

// proxy imports a plugin.
func (im *importer) proxy(p plugin) {
	if p.config == nil {
		im.lost(p.path, "the plugin has no configuration")
		return
	}
	targets := p.config.get("targets").list()
	im.shareable(p.config)
	if p.config.path == p.path { // a snippet without its config
		for _, name := range []string{"name", "plugin", "instance_name", "enabled"} {
			p.config.get(name)
		}
	}
	switch {
	case len(targets) > 0 && p.name == proxy:
		im.meant(join(p.config.path, "targets"), "ai-proxy has no targets, ai-proxy-advanced has; they are read as meant")
	case len(targets) == 0 && p.name == advanced:
		im.meant(p.config.path, "ai-proxy-advanced takes config.targets, a list; the one target that is written flat is read as meant")
	}
	if len(targets) == 0 {
		t := &target{importer: im, from: comment(p.name + " at " + p.path), label: p.label, path: p.config.path, patches: p.patches, only: p.only}
		t.read(p.config)
		im.unread(p.config)
		return
	}
	for i, item := range targets {
		o := item.object()
		if o == nil {
			im.lost(item.path, "this is not a target")
			continue
		}
		t := &target{importer: im, from: comment(p.name + " at " + item.path), label: p.label, path: item.path, only: p.only,
			patches: under(p.patches, "targets/"+strconv.Itoa(i)+"/")}
		t.read(o)
		im.unread(o)
	}
	im.unread(p.config)
}

// under returns the patches beneath a path, with the rest of theirs.
func under(patches map[string]string, prefix string) map[string]string {
	beneath := map[string]string{}
	for at, what := range patches {
		if rest, ok := strings.CutPrefix(at, prefix); ok {
			beneath[rest] = what
		}
	}
	return beneath
}

// comment keeps a text on its line.
func comment(s string) string { return strings.TrimSuffix(strings.ReplaceAll(s, "\n", " "), " at ") }

// shareable reads what a plugin says for all of its targets, and what the document says once for all upstreams.
func (im *importer) shareable(config *object) {
	im.logs(config.get("logging").object())
	v := config.get("max_request_body_size")
	text, _ := v.text()
	switch n, err := strconv.ParseInt(text, 10, 64); {
	case v.empty(), err == nil && n == 8<<10, err == nil && n == 1<<20: // Kong's defaults, which nobody chose
	case err != nil || n == 0 || n > mostBody:
		im.lost(v.path, "a request body always has a limit, of 6 MiB unless limits.max_body_bytes says otherwise, and of 32 MiB at most")
	default:
		im.maxBody = max(im.maxBody, n)
	}
}

// logs reads what a plugin or a target says about logs.
func (im *importer) logs(o *object) {
	if on, ok := o.get("log_statistics").said(); ok {
		im.statistics = append(im.statistics, on)
	}
	if on, ok := o.get("log_payloads").said(); ok {
		im.payloads = append(im.payloads, on)
	}
	im.unread(o)
}

// read imports the target from the mapping that describes it.
func (t *target) read(o *object) {
	t.logs(o.get("logging").object())
	t.auth, t.model = o.get("auth").object(), o.get("model").object()
	t.options, t.beside = t.model.get("options").object(), o.get("options").object()
	if t.beside != nil {
		t.meant(t.beside.path, "options belongs into model; it is read as if it were there")
	}
	if route, ok := o.get("route_type").text(); ok && route != "llm/v1/chat" && route != "preserve" {
		t.lost(join(t.path, "route_type"), "chat completions are what the gateway serves, not "+quote(route)+"; the target is left out")
		t.ask(o)
		return
	}
	provider := t.provider()
	u := &upstream{from: t.from, only: t.only}
	wish := t.label
	if wish == "" {
		wish = map[string]string{"azure": "azure-openai", "gemini": "vertex"}[provider]
	}
	if wish == "" {
		wish = provider
	}
	u.name = t.name(wish)
	if !t.describe(u, provider) {
		t.ask(o)
		return
	}
	t.templates()
	if len(u.models) == 0 {
		t.meant(join(t.path, "model", "name"), "no model is named, so callers name it: as "+u.name+"/MODEL, and where there is no other upstream as MODEL too")
	}
	t.upstreams = append(t.upstreams, *u)
	t.unread(t.auth)
	t.unread(t.model)
	t.unread(t.options)
	t.unread(t.beside)
}

// ask makes everything of a target known that is left out as a whole.
func (t *target) ask(o *object) {
	for _, f := range o.fields {
		o.get(f.name)
	}
}

// provider returns Kong's name of the provider, or the one that the other fields are of: the shortest examples of Kong's own
// documentation do not name it.
func (t *target) provider() string {
	name := t.plain(t.model.get("provider"))
	if name != "" {
		return name
	}
	guess := ""
	has := func(prefix string, objects ...*object) bool {
		return slices.ContainsFunc(objects, func(o *object) bool {
			return o != nil && slices.ContainsFunc(o.fields, func(f field) bool { return strings.HasPrefix(f.name, prefix) })
		})
	}
	switch {
	case has("azure_", t.auth, t.options, t.beside):
		guess = "azure"
	case has("aws_", t.auth) || has("bedrock", t.options, t.beside):
		guess = "bedrock"
	case has("gcp_", t.auth) || has("use_gcp_", t.auth) || has("gemini", t.options, t.beside):
		guess = "gemini"
	default:
		return ""
	}
	t.meant(join(t.path, "model", "provider"), "no provider is named; the other fields are those of "+guess)
	return guess
}

// describe fills in the upstream and reports whether there is one to be had.
func (t *target) describe(u *upstream, provider string) bool {
	switch provider {
	case "azure":
		t.azure(u)
	case "bedrock":
		t.bedrock(u)
	case "gemini":
		t.gemini(u)
	case "anthropic":
		t.anthropic(u)
	case "openai":
		t.openai(u)
	case "":
		t.lost(join(t.path, "model", "provider"), "no provider is named; the target is left out")
		return false
	default:
		return t.compatible(u, provider)
	}
	return true
}

// option returns an option of the model, wherever it stands. Those of some providers have a mapping of their own.
func (t *target) option(names ...string) value {
	look := func(o *object) value {
		for _, name := range names[:len(names)-1] {
			o = t.child(o, name)
		}
		return o.get(names[len(names)-1])
	}
	own, other := look(t.options), look(t.beside)
	if own.empty() && !other.empty() {
		return other
	}
	if own.path == "" {
		own.path = join(join(t.path, "model", "options"), names...)
	}
	return own
}

// child returns a mapping within another, and always the same one, so that what was asked for stays known. It puts it in the
// place of the plain value.
func (t *target) child(o *object, name string) *object {
	if o == nil {
		return nil
	}
	v := o.get(name)
	if known, ok := v.data.(*object); ok {
		return known
	}
	inner := v.object()
	if inner == nil {
		return nil
	}
	for i := range o.fields {
		if o.fields[i].name == name {
			o.fields[i].value.data = inner
		}
	}
	return inner
}

// named adds the model under its public name. The id is what the provider calls it, if that is something else.
func (t *target) named(u *upstream, id string) {
	name := t.plain(t.model.get("name"))
	public := t.plain(t.model.get("model_alias"))
	if id == "" {
		id = name
	}
	if public == "" {
		public = name
	}
	if public == "" {
		public = id
	}
	if id == "" {
		return
	}
	if t.public[public] {
		other := u.name + "/" + public
		t.meant(join(t.path, "model", "name"), "another upstream has a model of the same name, and nothing is balanced here; this one is called "+quote(other)+", and can be a fallback of that one")
		public = other
	}
	t.public[public] = true
	u.models = append(u.models, model{public, id})
}

// templates says what Kubernetes would have filled in, where that is no credential.
func (t *target) templates() {
	for at, what := range t.patches {
		if !strings.HasPrefix(at, "auth/") {
			t.do(join(t.path, strings.Split(at, "/")...), "the value is "+what+"; write it into the document if it is no secret")
		}
	}
}

// unread lists what nothing was made of.
func (im *importer) unread(o *object) {
	for _, f := range o.rest() {
		if inner, ok := f.value.data.(*object); ok {
			im.unread(inner)
			continue
		}
		text, _ := f.value.text()
		if slices.Contains(defaults(f.name), text) && text != "" {
			continue
		}
		im.lost(f.value.path, why(f.name))
	}
	if o == nil {
		return
	}
	for _, f := range o.fields {
		if inner, ok := f.value.data.(*object); ok && o.asked[f.name] {
			im.unread(inner)
		}
	}
}

// defaults are values that a file which Kong wrote has in every plugin, and that nothing is lost with.
func defaults(field string) []string {
	switch field {
	case "response_streaming":
		return []string{"allow"}
	case "llm_format":
		return []string{"openai"}
	case "genai_category":
		return []string{"text/generation"}
	case "model_name_header":
		return []string{"true"}
	case "weight":
		return []string{"100"}
	}
	return nil
}

// why says why a field has no equivalent.
func why(field string) string {
	switch field {
	case "balancer", "weight":
		return "each model name leads to one upstream, and nothing is balanced; name under a model's fallbacks those that are asked when it fails"
	case "embeddings", "vectordb":
		return "the gateway does not compare requests by their meaning"
	case "acls":
		return "who may use which model stands under policy"
	case "max_tokens", "temperature", "top_p", "top_k":
		return "what a request says is what is sent; callers set it"
	case "input_cost", "output_cost", "cost":
		return "the log line has the tokens, not their price"
	case "anthropic_version":
		return "the gateway sends the version that it was written for"
	case "allow_override":
		return "a credential that a caller sends is never passed on"
	case "response_streaming":
		return "each request says by stream whether its answer is streamed"
	case "model_name_header":
		return "the log line names the model and the upstream; a header does only when a fallback answers"
	case "llm_format", "genai_category":
		return "callers speak OpenAI's format"
	case "upstream_path":
		return "the path is part of the provider's format"
	case "gcp_metadata_url", "gcp_oauth_token_url":
		return "tokens are fetched from Google's own addresses only"
	case "batch_role_arn", "batch_bucket_prefix":
		return "there are no batches"
	case "azure_use_managed_identity", "gcp_use_service_account", "use_gcp_service_account":
		return "the upstream has another credential, and there is exactly one"
	}
	return "there is no such setting"
}
