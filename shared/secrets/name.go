package secrets

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// alphabet is the characters that a text may consist of. The checks in this file are written out: compiling them as regular expressions
// would take more than a millisecond of every cold start.
type alphabet string

const (
	digits alphabet = "0123456789"
	small  alphabet = "abcdefghijklmnopqrstuvwxyz"
	letter alphabet = small + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alnum  alphabet = letter + digits
)

// spells reports whether a text of 1 to most bytes has no other characters.
func (a alphabet) spells(text string, most int) bool {
	return text != "" && len(text) <= most && strings.Trim(text, string(a)) == ""
}

// The naming rules of the stores:
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html,
// https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets,
// https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates.

func isAWSName(name string) bool { return (alnum + "/_+=.@-").spells(name, 512) }

func isAWSARN(text string) bool {
	parts := strings.Split(text, ":")
	if len(parts) != 7 || parts[0] != "arn" || parts[2] != "secretsmanager" || parts[5] != "secret" {
		return false
	}
	partition, region, account, name := strings.Split(parts[1], "-"), parts[3], parts[4], parts[6]
	for _, word := range partition[1:] {
		if !small.spells(word, len(word)) {
			return false
		}
	}
	return partition[0] == "aws" && (small+digits+"-").spells(region, len(region)) && digits.spells(account, 12) && len(account) == 12 &&
		(alnum+"/_+=.@-").spells(name, len(name))
}

func isAWSVersion(version string) bool {
	return len(version) <= 256 && !strings.ContainsFunc(version, func(c rune) bool { return c < '!' || c > '~' })
}

func isGCPName(name string) bool {
	parts := strings.Split(name, "/")
	last := len(parts) - 1
	if !(alnum + "_-").spells(parts[last], 255) {
		return false
	}
	switch last {
	case 0:
		return true
	case 5:
		if parts[2] != "locations" || !(small+digits+"-").spells(parts[3], len(parts[3])) {
			return false
		}
	case 3:
	default:
		return false
	}
	project := parts[1]
	return parts[0] == "projects" && parts[last-1] == "secrets" &&
		(small+digits+".:-").spells(project, len(project)) && (small+digits).spells(project[:1], 1)
}

func isGCPVersion(version string) bool {
	if digits.spells(version, 19) {
		return version[0] != '0'
	}
	return (alnum+"_-").spells(version, 63) && letter.spells(version[:1], 1)
}

func isVaultName(name string) bool {
	vault, secret, found := strings.Cut(name, "/")
	if !found {
		vault, secret = "", vault
	}
	named := !found || len(vault) >= 3 && (alnum+"-").spells(vault, 24) && letter.spells(vault[:1], 1)
	return named && (alnum+"-").spells(secret, 127)
}

func isVaultVersion(version string) bool {
	return len(version) == 32 && (digits+"abcdefABCDEF").spells(version, 32)
}

// checked returns the reference in its one canonical form, or what is wrong with it. It applies each store's own naming rules, so that
// a bad reference fails when the document is loaded and not at the first request.
func (r Ref) checked() (Ref, error) {
	if r.Name == "" {
		return Ref{}, errors.New("secret reference names no secret")
	}
	if strings.Contains(r.Name, "://") {
		return Ref{}, errors.New("secret reference holds a second ://")
	}
	for _, part := range []string{r.Name, r.Version, r.Field} {
		if strings.ContainsFunc(part, func(c rune) bool { return c <= ' ' || c == 0x7f || strings.ContainsRune("{}#?", c) }) {
			return Ref{}, errors.New("secret reference holds a space, a control character or one of {}#? where a name is expected")
		}
	}
	switch r.Store {
	case StoreOwn:
		return r, nil
	case StoreAWS:
		return r.checkedAWS()
	case StoreGCP:
		return r.checkedGCP()
	case StoreKeyVault:
		return r.checkedVault()
	case StoreEnv, StoreFile:
		return r.checkedLocal()
	}
	return Ref{}, errors.New("secret reference names an unknown store; known are env://, file://, aws-sm://, gcp-sm://, azure-kv:// and a plain name")
}

// In returns the reference as the reader of a store has to understand it: a plain name becomes a name in this store and has to follow
// its rules. A reference to another store is an error. The error is an *[Error].
func (r Ref) In(store string) (Ref, error) {
	own := r
	if r.Store == StoreOwn {
		own.Store = store
	}
	if own.Store != store {
		return Ref{}, &Error{Ref: r, Reason: "this reader is for " + store + "://"}
	}
	own, err := own.checked()
	if err != nil {
		return Ref{}, &Error{Ref: r, Reason: err.Error()}
	}
	return own, nil
}

func (r Ref) checkedLocal() (Ref, error) {
	if r.Version != "" {
		return Ref{}, fmt.Errorf("%s:// has no versions; remove ?version=", r.Store)
	}
	if r.Store == StoreEnv {
		if strings.ContainsAny(r.Name, "=/") {
			return Ref{}, errors.New("env:// needs the name of one environment variable")
		}
		return r, nil
	}
	// A directory is often written with a slash at its end.
	r.Name = r.Name[:1] + strings.TrimSuffix(r.Name[1:], "/")
	if !path.IsAbs(r.Name) || path.Clean(r.Name) != r.Name {
		return Ref{}, errors.New("file:// needs an absolute path without . or .. parts: file:///run/secrets/name")
	}
	return r, nil
}

func (r Ref) checkedAWS() (Ref, error) {
	if !isAWSName(r.Name) && !isAWSARN(r.Name) {
		return Ref{}, errors.New("a secret of AWS Secrets Manager has a name of letters, digits and /_+=.@- or a full ARN (arn:aws:secretsmanager:...)")
	}
	if r.Version != "" && !isAWSVersion(r.Version) {
		return Ref{}, errors.New("a version of AWS Secrets Manager is a version id or a staging label such as AWSPREVIOUS")
	}
	return r, nil
}

// checkedGCP also takes the version from the end of a full resource name, where the vendor's tools put it.
func (r Ref) checkedGCP() (Ref, error) {
	name, version, found := strings.Cut(r.Name, "/versions/")
	if found {
		if r.Version != "" && r.Version != version || version == "" {
			return Ref{}, errors.New("secret reference names two versions; keep either /versions/ or ?version=")
		}
		r.Name, r.Version = name, version
	}
	if !isGCPName(r.Name) {
		return Ref{}, errors.New("a secret of Google Secret Manager has a name of letters, digits, - and _, " +
			"or projects/P/secrets/S or projects/P/locations/L/secrets/S")
	}
	if r.Version == "latest" {
		// The newest version may be one that a rotation has stored and not yet proven to work.
		return Ref{}, errors.New("the version latest may not be in use yet; leave it out, which means the version that the alias current names, or else the newest enabled one")
	}
	if r.Version != "" && !isGCPVersion(r.Version) {
		return Ref{}, errors.New("a version of Google Secret Manager is a number or an alias")
	}
	return r, nil
}

func (r Ref) checkedVault() (Ref, error) {
	if !isVaultName(r.Name) {
		return Ref{}, errors.New("a secret of Azure Key Vault is written VAULT/NAME, where VAULT is the short name of the vault, with letters, digits and hyphens only")
	}
	if r.Version != "" && !isVaultVersion(r.Version) {
		return Ref{}, errors.New("a version of Azure Key Vault has 32 hexadecimal digits")
	}
	return r, nil
}
