package secrets

import (
	"errors"
	"fmt"
	"net/url"
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
//	plain-name                        this cloud's own store; any form of a name that follows aws-sm://, gcp-sm:// or azure-kv:// there
//	env://NAME                        an environment variable
//	file:///absolute/path             a file
//	file:///absolute/directory#key    one file of a directory, as Kubernetes mounts a secret
//	aws-sm://name                     AWS Secrets Manager, by name or ARN
//	gcp-sm://name                     Google Secret Manager, also projects/P/secrets/S and projects/P/locations/L/secrets/S
//	azure-kv://vault/name             Azure Key Vault; without vault/ the vault that the function is configured with
//	{vault://aws/NAME}                the same stores in the spelling of other gateways, described at parseVault
//
// Each may end in #field, which means one member of the JSON object that is stored there. The three stores have versions, and
// ?version= before the # pins one: a version id or staging label, a version number or alias, or a version id.
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
	return ref.checked()
}

func parseVersion(query string) (string, error) {
	values, err := url.ParseQuery(query)
	if err != nil || len(values) != 1 || len(values["version"]) != 1 || values.Get("version") == "" {
		return "", errors.New("secret reference may carry one option only: ?version=")
	}
	return values.Get("version"), nil
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
