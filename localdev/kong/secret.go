package kong

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/postern-ai/postern/shared/secrets"
)

// vault is a vault of the file that references may name by its prefix.
type vault struct {
	kind     string // aws, gcp, azure, env, or one that there is no reader for
	variable string // what stands before a variable's name in an environment vault
}

func (im *importer) vault(o *object) {
	prefix, _ := o.get("prefix").text()
	kind, _ := o.get("name").text()
	variable, _ := o.get("config").object().get("prefix").text()
	if prefix != "" {
		im.vaults[prefix] = vault{kind, variable}
	}
}

var (
	// decK puts a variable into the file before Kong sees it: https://developer.konghq.com/deck/gateway/environment-variables.
	deckVariable  = regexp.MustCompile(`^\$\{\{\s*env\s+["']([A-Za-z_][A-Za-z0-9_]*)["']\s*\}\}$`)
	shellVariable = regexp.MustCompile(`^\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?$`)
)

// special reports whether a value is not what it seems: Kong, decK or the caller's request puts something else in its place.
func special(s string) bool {
	return strings.Contains(s, "{vault:") || strings.Contains(s, "${") || strings.Contains(s, "$(") || strings.Contains(s, "{{")
}

// wanted is a secret that the document refers to.
type wanted struct {
	// variable is the environment variable that is named when the file does not say where the secret is.
	variable string
	// holds says in a phrase what the secret is.
	holds string
	// whole says that Kong keeps the whole header there, with its scheme.
	whole bool
}

// secret returns the place of the secret that a field of the plugin holds or refers to, and notes what is to be done about
// it. The secret itself is never copied.
func (im *importer) secret(v value, w wanted) string {
	text, _ := v.text()
	scheme := ""
	if s, rest, ok := strings.Cut(text, " "); ok && w.whole && !strings.HasPrefix(text, "{") && !strings.HasPrefix(s, "$") {
		scheme, text = s, strings.TrimSpace(rest)
	}
	alone := ""
	if w.whole && scheme == "" {
		alone = "; Kong wants the whole value of the header there, the gateway only the key, without a scheme such as Bearer"
	}
	if reference, ok := im.reference(text); ok {
		im.do(v.path, "the credential is now read from "+reference+", which must hold "+w.holds+alone)
		return reference
	}
	for _, pattern := range []*regexp.Regexp{deckVariable, shellVariable} {
		if m := pattern.FindStringSubmatch(text); m != nil {
			reference := "env://" + m[1]
			im.do(v.path, "the file was filled in from a variable when it was deployed; now the function reads "+reference+" itself, which must hold "+w.holds+alone)
			return reference
		}
	}
	reference := "env://" + w.variable
	switch {
	case strings.HasPrefix(text, "{vault://"):
		im.do(v.path, "there is no reader for this vault; put "+w.holds+" where "+reference+" says, or into a secret store and name it instead")
	case special(text):
		im.do(v.path, "the value is put together elsewhere; put "+w.holds+" where "+reference+" says, or into a secret store and name it instead")
	default:
		im.do(v.path, "a secret stands in the file and was not copied; put "+w.holds+" where "+reference+" says, or better into a secret store and name it instead; then revoke the one in the file")
	}
	return reference
}

// absent returns the place for a secret that the file does not have at all.
func (im *importer) absent(path, why string, w wanted) string {
	reference := "env://" + w.variable
	im.do(path, why+"; put "+w.holds+" where "+reference+" says, or into a secret store and name it instead")
	return reference
}

// reference turns a reference to a vault into one of ours.
func (im *importer) reference(text string) (string, bool) {
	ref, ok := im.parse(text)
	if !ok {
		return "", false
	}
	return ref.String(), true
}

func (im *importer) parse(text string) (secrets.Ref, bool) {
	rest, ok := strings.CutPrefix(text, "{vault://")
	if !ok {
		return secrets.Ref{}, false
	}
	prefix, rest, _ := strings.Cut(rest, "/")
	if v, ok := im.vaults[prefix]; ok {
		prefix = v.kind
		rest = v.variable + rest
	}
	ref, err := secrets.ParseRef("{vault://" + prefix + "/" + rest)
	return ref, err == nil
}

// keyPair finds the one secret that holds both halves of an AWS key under the names that the gateway reads.
func (im *importer) keyPair(id, key value) (string, bool) {
	a, _ := id.text()
	b, _ := key.text()
	first, ok := im.parse(a)
	second, also := im.parse(b)
	if !ok || !also || first.Field != "aws_access_key_id" || second.Field != "aws_secret_access_key" {
		return "", false
	}
	first.Field, second.Field = "", ""
	return first.String(), first == second
}

// plain returns the text of a field that holds no secret, and says so when the value is not in the file.
func (im *importer) plain(v value) string {
	s, ok := v.text()
	switch {
	case !ok && !v.empty():
		im.lost(v.path, "this is not a text")
	case strings.Contains(s, "$("):
		im.lost(v.path, "it is filled in from each request, and a caller's words choose nothing but the model's name here")
		return ""
	case special(s):
		im.do(v.path, "the value comes from elsewhere; write it into the document, where it is no secret")
		return ""
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		im.lost(v.path, "the text has control characters")
		return ""
	}
	return s
}

// address returns a URL without what follows its host and path, and without the paths in which the provider's own operations
// begin: Kong takes the address of one operation, the gateway the address that all of them have in common.
func (im *importer) address(v value, operations ...string) string {
	raw := im.plain(v)
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		im.lost(v.path, "this is not a URL")
		return ""
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		im.lost(v.path, "the URL's user, query and fragment: an address has none, and a key in it belongs to credential_ref")
		u.User, u.RawQuery, u.Fragment = nil, "", ""
	}
	for _, operation := range operations {
		if before, _, ok := strings.Cut(u.Path, operation); ok {
			u.Path, u.RawPath = before, ""
		}
	}
	return strings.TrimRight(u.String(), "/")
}
