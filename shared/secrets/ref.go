package secrets

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// The stores that a reference can name. The empty store stands for a plain name, which means the store of the cloud that the function runs in.
const (
	StoreOwn      = ""
	StoreEnv      = "env"
	StoreFile     = "file"
	StoreAWS      = "aws-sm"
	StoreGCP      = "gcp-sm"
	StoreKeyVault = "azure-kv"
)

// maxRef is the longest reference that is looked at, in bytes. An AWS secret ARN may have about 600.
const maxRef = 2048

// Ref says where a secret is kept: a store, the secret's name there, and optionally one version and one field of a JSON object.
// Refs are comparable and make good map keys. A Ref is not itself secret.
type Ref struct {
	// Store is one of the Store constants.
	Store string
	// Name is what the store calls the secret: an environment variable, an absolute path, a secret name or ARN, or vault/name for Key Vault.
	Name string
	// Version selects one version where the store has versions. Empty means the current one.
	Version string
	// Field selects one member of the JSON object that the secret holds. Empty means that the secret is the whole text.
	Field string
}

// ParseRef reads a reference in one of these spellings:
//
//	plain-name                        this cloud's own store
//	env://NAME                        an environment variable
//	file:///absolute/path             a file, for example a mounted secret
//	aws-sm://name                     AWS Secrets Manager
//	gcp-sm://name                     Google Secret Manager
//	azure-kv://vault/name             Azure Key Vault
//	{vault://aws/NAME}                the same three stores in the spelling of other gateways: aws, gcp, azure, env
//
// Each may end in #field; a store with versions takes ?version=.
// An error never repeats the text, because what was put there by mistake may be the secret itself.
func ParseRef(text string) (Ref, error) {
	if len(text) > maxRef {
		return Ref{}, fmt.Errorf("secret reference is longer than %d bytes", maxRef)
	}
	if looksLikeSecret(text) {
		return Ref{}, errors.New("this looks like a secret, not like a reference to one; store the secret and put its name here, for example env://NAME")
	}
	if strings.HasPrefix(text, "{") {
		return parseVault(text)
	}
	store, rest, isURI := strings.Cut(text, "://")
	if !isURI {
		store, rest = StoreOwn, text
	}
	ref := Ref{Store: store}
	rest, field, hasField := strings.Cut(rest, "#")
	if hasField && field == "" {
		return Ref{}, errors.New("secret reference ends in an empty #field")
	}
	ref.Field = field
	name, query, hasQuery := strings.Cut(rest, "?")
	ref.Name = name
	if hasQuery {
		version, err := parseVersion(query)
		if err != nil {
			return Ref{}, err
		}
		ref.Version = version
	}
	if err := ref.check(); err != nil {
		return Ref{}, err
	}
	return ref, nil
}

// parseVault reads {vault://aws/NAME} and {vault://aws/NAME/field}, the spelling that other gateways use for the same stores.
func parseVault(text string) (Ref, error) {
	const form = "{vault://aws/NAME}, {vault://gcp/NAME}, {vault://azure/NAME} or {vault://env/NAME}"
	inner, ok := strings.CutSuffix(strings.TrimPrefix(text, "{"), "}")
	if !ok {
		return Ref{}, fmt.Errorf("secret reference in braces must have the form %s", form)
	}
	rest, ok := strings.CutPrefix(inner, "vault://")
	if !ok {
		return Ref{}, fmt.Errorf("secret reference in braces must have the form %s", form)
	}
	cloud, name, _ := strings.Cut(rest, "/")
	name, field, hasField := strings.Cut(name, "#")
	if hasField && field == "" {
		return Ref{}, errors.New("secret reference ends in an empty #field")
	}
	stores := map[string]string{"aws": StoreAWS, "gcp": StoreGCP, "azure": StoreKeyVault, "env": StoreEnv}
	store, ok := stores[cloud]
	if !ok {
		return Ref{}, fmt.Errorf("secret reference in braces must have the form %s", form)
	}
	ref := Ref{Store: store, Name: name, Field: field}
	if err := ref.check(); err != nil {
		return Ref{}, err
	}
	return ref, nil
}

func parseVersion(query string) (string, error) {
	values, err := url.ParseQuery(query)
	if err != nil || len(values) != 1 || len(values["version"]) != 1 || values.Get("version") == "" {
		return "", errors.New("secret reference may carry one option only: ?version=")
	}
	return values.Get("version"), nil
}

// check applies each store's own naming rules, so that a bad reference fails when the document is loaded and not at the first request.
func (r Ref) check() error {
	if r.Name == "" {
		return errors.New("secret reference names no secret")
	}
	if strings.Contains(r.Name, "://") {
		return errors.New("secret reference holds a second ://")
	}
	for _, part := range []string{r.Name, r.Version, r.Field} {
		if strings.ContainsFunc(part, func(c rune) bool { return c <= ' ' || c == 0x7f || strings.ContainsRune("{}#?", c) }) {
			return errors.New("secret reference holds a space, a control character or one of {}#? where a name is expected")
		}
	}
	switch r.Store {
	case StoreOwn, StoreAWS, StoreGCP, StoreKeyVault:
		return nil
	case StoreEnv, StoreFile:
		if r.Version != "" {
			return fmt.Errorf("%s:// has no versions; remove ?version=", r.Store)
		}
	default:
		return errors.New("secret reference names an unknown store; known are env://, file://, aws-sm://, gcp-sm://, azure-kv:// and a plain name")
	}
	if r.Store == StoreFile && (!path.IsAbs(r.Name) || path.Clean(r.Name) != r.Name) {
		return errors.New("file:// needs an absolute path without . or .. parts: file:///run/secrets/name")
	}
	if r.Store == StoreEnv && strings.ContainsAny(r.Name, "=/") {
		return errors.New("env:// needs the name of one environment variable")
	}
	return nil
}

// String returns the reference in the form that ParseRef reads.
func (r Ref) String() string {
	var text strings.Builder
	if r.Store != StoreOwn {
		text.WriteString(r.Store + "://")
	}
	text.WriteString(r.Name)
	if r.Version != "" {
		text.WriteString("?version=" + url.QueryEscape(r.Version))
	}
	if r.Field != "" {
		text.WriteString("#" + r.Field)
	}
	return text.String()
}

// looksLikeSecret recognises what people paste by mistake: the providers' own keys, private keys and tokens.
func looksLikeSecret(text string) bool {
	for _, prefix := range []string{"sk-", "AIza", "AKIA", "ASIA", "eyJ", "ya29.", "-----BEGIN", "Bearer "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}
