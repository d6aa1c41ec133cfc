package config

import (
	"path"
	"slices"
	"strings"
)

// Reference says where a credential is stored, in the document's own spelling. It holds no secret. Loading has checked its
// form; what it means is for the package that reads secrets:
//
//	name                    the store of the cloud that the function runs in
//	aws-sm://name           AWS Secrets Manager, also by ARN
//	gcp-sm://name           Google Secret Manager, also projects/P/secrets/S
//	azure-kv://vault/name   Azure Key Vault
//	env://NAME              an environment variable
//	file:///path            a file, or with #key one file of a directory that Kubernetes mounted
//	{vault://aws/NAME}      the same stores in another gateway's spelling
//
// Each but the last may end in ?version= and in #field for one member of a JSON object.
type Reference string

// String returns the reference as the document spells it.
func (r Reference) String() string { return string(r) }

// referenceRemedy is what to write instead of a reference that cannot be used.
const referenceRemedy = "give the secret's name in this cloud's own store, or aws-sm://, gcp-sm://, azure-kv://, env://NAME or file:///path, " +
	"with #field for one field of a JSON object"

// reference reads the reference at this place. What is written there is never shown in a problem, because the credential
// itself is what is most often put there by mistake.
func (p place) reference() (Reference, bool) {
	p.hidden = true
	s, ok := p.string()
	if !ok {
		return "", false
	}
	if problem := referenceProblem(s); problem != "" {
		p.wrong(problem, referenceRemedy)
		return "", false
	}
	return Reference(s), true
}

// referenceProblem says what is wrong with the form of a reference, or "".
func referenceProblem(s string) string {
	if len(s) > 2048 || !isPublicModel(s) {
		return "this is not a credential reference: it is too long, or has spaces or other characters that no reference has"
	}
	if looksLikeSecret(s) {
		return "this looks like the credential itself, which must never be in the document"
	}
	if strings.HasPrefix(s, "{") {
		return vaultProblem(s)
	}
	scheme, rest, isURI := strings.Cut(s, "://")
	if !isURI {
		scheme, rest = "", s
	}
	rest, field, hasField := strings.Cut(rest, "#")
	name, query, hasQuery := strings.Cut(rest, "?")
	versioned := slices.Contains([]string{"", "aws-sm", "gcp-sm", "azure-kv"}, scheme)
	switch {
	case hasField && !made(field, 1, 128, letters+digits+"_.-"):
		return "what follows the # is not the name of a field"
	case hasQuery && (!versioned || !strings.HasPrefix(query, "version=") || query == "version=" || strings.ContainsAny(query, "&?")):
		return "what follows the ? is not the version of a secret"
	case scheme == "env":
		if !made(name, 1, 128, letters+digits+"_") || onlyOf(name[:1], digits) {
			return "what follows env:// is not the name of an environment variable"
		}
	case scheme == "file":
		short := name
		if len(name) > 1 {
			short = strings.TrimSuffix(name, "/") // a directory is often written with it
		}
		if len(name) > 1024 || !path.IsAbs(name) || path.Clean(name) != short || name == "/" {
			return "what follows file:// is not an absolute path in its shortest form"
		}
	case !versioned:
		return "this is not a kind of credential reference"
	case !made(name, 1, 1024, letters+digits+"/_+=.@:-") || strings.Contains(name, "://"):
		return "this is not the name of a secret"
	}
	return ""
}

// vaultProblem checks another gateway's spelling: {vault://aws/NAME}.
func vaultProblem(s string) string {
	inner, closed := strings.CutSuffix(s[1:], "}")
	rest, isVault := strings.CutPrefix(inner, "vault://")
	vault, name, _ := strings.Cut(rest, "/")
	switch {
	case !closed || !isVault || strings.ContainsAny(inner, "{}?"):
		return "a credential reference in braces has the form {vault://aws/NAME}"
	case !slices.Contains([]string{"aws", "gcp", "azure", "env"}, vault):
		return "this vault is not known here: {vault://aws/NAME}, {vault://gcp/NAME}, {vault://azure/NAME} and {vault://env/NAME} are"
	case name == "":
		return "the credential reference names no secret"
	}
	return ""
}

// looksLikeSecret recognises the providers' own keys, tokens and private keys.
func looksLikeSecret(s string) bool {
	return slices.ContainsFunc([]string{"sk-", "AIza", "AKIA", "ASIA", "eyJ", "ya29.", "-----BEGIN"}, func(prefix string) bool {
		return strings.HasPrefix(s, prefix)
	})
}
