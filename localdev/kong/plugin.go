package kong

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// plugin is one configured plugin of the file.
type plugin struct {
	path   string
	name   string  // such as ai-proxy
	label  string  // what its author called it, if anything
	config *object // nil when there is none
	only   whose   // whom it is for, if not for everybody
	// patches are what Kubernetes fills in from its secrets, by the path within config.
	patches map[string]string
}

// whose limits a plugin to some callers.
type whose struct{ match, name string }

// limited is who a consumer or a group of consumers is among callers: a subject or a group of the same name. A name that would
// be a pattern, or that is not in the file, becomes one that nobody has.
func limited(match string, names ...value) whose {
	for _, v := range names {
		if s, ok := v.text(); ok && s != "" && len(s) < 256 && !strings.Contains(s, "*") && !special(s) &&
			!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return whose{match, s}
		}
	}
	return whose{match, "not-named-in-the-file"}
}

// The plugins that are imported.
const (
	proxy    = "ai-proxy"
	advanced = "ai-proxy-advanced"
	oidc     = "openid-connect"
)

// find looks for plugins in one document of the file.
func (im *importer) find(document value) {
	for _, item := range document.list() {
		im.find(item)
	}
	root := document.object()
	switch {
	case root == nil:
	case root.has("kind", "apiVersion"):
		im.resource(root)
	case root.has("config") || root.has("auth", "model", "options") && !root.has("plugins", "services", "routes"):
		im.snippet(root)
	default:
		im.declarative(root)
	}
}

// resource reads a Kubernetes resource.
func (im *importer) resource(root *object) {
	kind, _ := root.get("kind").text()
	switch {
	case strings.HasSuffix(kind, "List"):
		for _, item := range root.get("items").list() {
			im.find(item)
		}
		return
	case kind != "KongPlugin" && kind != "KongClusterPlugin":
		im.lost(join(root.path, "kind"), "only KongPlugin and KongClusterPlugin resources are read")
		return
	}
	p := plugin{patches: map[string]string{}}
	p.name, _ = root.get("plugin").text()
	p.label, _ = root.get("metadata").object().get("name").text()
	// A file with several resources is no list, so each is known by what Kubernetes calls it.
	root = value{path: join(root.path, kind+"/"+p.label), data: root.data}.object()
	p.path = root.path
	p.config = root.get("config").object()
	if root.has("configFrom") {
		im.do(join(root.path, "configFrom"), "the plugin's configuration is in a Kubernetes secret, which is not in this file; import what the secret holds")
		im.read++
		return
	}
	for _, patch := range root.get("configPatches").list() {
		o := patch.object()
		at, _ := o.get("path").text()
		reference := o.get("valueFrom").object().get("secretKeyRef").object()
		name, _ := reference.get("name").text()
		key, _ := reference.get("key").text()
		p.patches[strings.Trim(at, "/")] = fmt.Sprintf("the key %.80q of the Kubernetes secret %.80q", key, name)
	}
	im.plugin(p, root.get("disabled").flag())
}

// snippet reads a plugin by itself, as Kong's documentation shows it, with or without its name.
func (im *importer) snippet(root *object) {
	p := plugin{path: root.path}
	p.name, _ = root.get("name").text()
	p.label, _ = root.get("instance_name").text()
	vendor, _ := root.get("plugin").text()
	vendor = path.Base(vendor)
	switch {
	case p.name == "" && vendor != ".":
		p.name = vendor
	case p.name == "":
		p.name = proxy
		im.meant(root.path, "the plugin has no name; it is read as ai-proxy")
	case vendor != "." && vendor != p.name && (vendor == proxy || vendor == advanced):
		im.meant(join(root.path, "name"), "it says "+quote(p.name)+" where plugin says "+quote(vendor)+"; it is read by what it holds")
	}
	if root.has("config") {
		p.config = root.get("config").object()
	} else {
		p.config = root
	}
	im.plugin(p, off(root))
}

// declarative reads a kong.yaml: plugins stand at its top and inside of whatever they are for.
func (im *importer) declarative(root *object) {
	for _, item := range root.get("vaults").list() {
		im.vault(item.object())
	}
	im.shared = root.get("_plugin_configs").object()
	im.plugins(root, whose{})
	for _, service := range root.get("services").list() {
		o := service.object()
		im.routed = true
		im.plugins(o, whose{})
		for _, route := range o.get("routes").list() {
			im.plugins(route.object(), whose{})
		}
	}
	for _, route := range root.get("routes").list() {
		im.routed = true
		im.plugins(route.object(), whose{})
	}
	for _, consumer := range root.get("consumers").list() {
		o := consumer.object()
		im.plugins(o, limited("subjects", o.get("username"), o.get("custom_id")))
	}
	for _, group := range root.get("consumer_groups").list() {
		o := group.object()
		im.plugins(o, limited("groups", o.get("name")))
	}
}

// plugins reads the plugins of one entity, which may be a caller.
func (im *importer) plugins(entity *object, only whose) {
	for _, item := range entity.get("plugins").list() {
		o := item.object()
		p := plugin{path: item.path}
		p.name, _ = o.get("name").text()
		p.label, _ = o.get("instance_name").text()
		p.config = o.get("config").object()
		if name, ok := o.get("_config").text(); ok {
			base := im.shared.get(name).object()
			p.config = merge(p.config, base, join(item.path, "config"))
		}
		if o.has("route", "service") {
			im.routed = true
		}
		consumer, group := o.get("consumer"), o.get("consumer_group")
		switch {
		case !consumer.empty():
			p.only = limited("subjects", consumer, consumer.object().get("username"), consumer.object().get("name"))
		case !group.empty():
			p.only = limited("groups", group, group.object().get("name"))
		default:
			p.only = only
		}
		if p.only.match != "" && (p.name == proxy || p.name == advanced) {
			im.do(item.path, "the plugin was for some callers only; see under policy that the "+p.only.match+" are those of the callers' tokens")
		}
		im.plugin(p, off(o))
	}
}

// merge lays a plugin's own fields over those of a shared configuration.
func merge(own, base *object, at string) *object {
	merged := &object{path: at, asked: map[string]bool{}}
	if own != nil {
		merged.fields = slices.Clone(own.fields)
	}
	if base != nil {
		for _, f := range base.fields {
			if !own.has(f.name) {
				merged.fields = append(merged.fields, f)
			}
		}
	}
	return merged
}

func off(o *object) bool {
	enabled, said := o.get("enabled").said()
	return said && !enabled
}

// plugin imports one plugin, or says why not.
func (im *importer) plugin(p plugin, disabled bool) {
	switch {
	case p.name == proxy || p.name == advanced:
		im.read++
		if disabled {
			im.lost(p.path, "the plugin is disabled")
			return
		}
		im.proxy(p)
	case disabled:
	case p.name == oidc:
		im.openID(p)
	default:
		im.lost(p.path, "plugin "+quote(p.name)+": "+whyPlugin(p.name))
	}
}

// whyPlugin says why a plugin is not imported.
func whyPlugin(name string) string {
	admission := []string{"key-auth", "key-auth-enc", "basic-auth", "jwt", "jwt-signer", "hmac-auth", "ldap-auth", "ldap-auth-advanced", "oauth2", "mtls-auth", "oauth2-introspection"}
	switch {
	case slices.Contains(admission, name):
		return "callers show a token of an issuer that is named under callers, or are admitted by the platform's IAM"
	case name == "acl":
		return "who may use which model stands under policy, by issuer, subject or group"
	case strings.Contains(name, "rate-limiting"):
		return "the gateway counts no requests; limit them in front of it or at the provider"
	case name == "ai-azure-content-safety" || name == "ai-aws-guardrails" || name == "ai-gcp-model-armor":
		return "the gateway does not judge content; attach the guardrail to the model at its provider"
	}
	return "the gateway has nothing of this kind"
}

// openID takes over the issuer whose tokens let callers in.
func (im *importer) openID(p plugin) {
	issuer := im.address(p.config.get("issuer"), "/.well-known/openid-configuration")
	if issuer == "" {
		im.do(join(p.path, "config", "issuer"), "write the issuer of the callers' tokens under callers")
		return
	}
	c := caller{issuer: issuer, from: p.path}
	for _, name := range []string{"audience_required", "audience"} {
		for _, item := range p.config.get(name).list() {
			if s, ok := item.text(); ok && !special(s) && !slices.Contains(c.audiences, s) {
				c.audiences = append(c.audiences, s)
			}
		}
	}
	if len(c.audiences) == 0 {
		im.do(join(p.path, "config", "audience_required"), "the plugin takes tokens for any audience, which the gateway never does; write under callers the one that stands in tokens for it, in place of "+placeholderAudience)
		c.audiences = []string{placeholderAudience}
	}
	im.meant(p.path, "the plugin's issuer stands under callers, for the whole gateway; compare it with the iss claim of a token to the letter")
	if len(p.config.rest()) > 0 {
		im.lost(p.path, "of openid-connect only the issuer and the audiences are imported: bearer tokens are what the gateway takes, and policy says by issuer, subject and group who may do what")
	}
	if !slices.ContainsFunc(im.callers, func(other caller) bool { return other.issuer == c.issuer }) {
		im.callers = append(im.callers, c)
	}
}

// quote shows a name from the file within a sentence.
func quote(name string) string { return fmt.Sprintf("%.60q", name) }
