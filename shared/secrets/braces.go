package secrets

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// parseVault reads the references of another gateway, whose documents users bring along, with the meaning that they have there
// (https://docs.konghq.com/gateway/latest/kong-enterprise/secrets-management/reference-format/):
//
//	{vault://aws/NAME}            the whole secret; NAME is percent-encoded
//	{vault://aws/NAME/field}      one field: the part after the last slash
//	{vault://aws/a/b/}            a slash at the end says that there is no field: the secret is called a/b
//	{vault://aws/NAME#2}          a version: on aws 1 is the current one and 2 the previous, on gcp it is the version's number
//	{vault://env/my-name}         the variable MY_NAME
func parseVault(text string) (Ref, error) {
	const form = "secret reference in braces must have the form {vault://aws/NAME}, {vault://gcp/NAME}, {vault://azure/NAME} or {vault://env/NAME}"
	inner, closed := strings.CutSuffix(strings.TrimPrefix(text, "{"), "}")
	rest, isVault := strings.CutPrefix(inner, "vault://")
	if !closed || !isVault {
		return Ref{}, errors.New(form)
	}
	cloud, rest, _ := strings.Cut(rest, "/")
	stores := map[string]string{"aws": StoreAWS, "gcp": StoreGCP, "azure": StoreKeyVault, "env": StoreEnv}
	store, known := stores[cloud]
	if !known {
		return Ref{}, errors.New(form + "; other vaults are not known here")
	}
	rest, number, hasVersion := strings.Cut(rest, "#")
	ref := Ref{Store: store}
	if hasVersion {
		version, err := vaultVersionOf(store, number)
		if err != nil {
			return Ref{}, err
		}
		ref.Version = version
	}
	name, field := rest, ""
	if slash := strings.LastIndex(rest, "/"); slash >= 0 {
		name, field = rest[:slash], rest[slash+1:]
	}
	var err error
	if ref.Name, err = url.PathUnescape(name); err == nil {
		ref.Field, err = url.PathUnescape(field)
	}
	if err != nil {
		return Ref{}, errors.New("secret reference in braces holds a % that does not begin a percent-encoded character")
	}
	if store == StoreEnv {
		ref.Name = strings.ToUpper(strings.ReplaceAll(ref.Name, "-", "_"))
	}
	return ref.checked()
}

func vaultVersionOf(store, number string) (string, error) {
	switch {
	case store == StoreAWS && number == "1":
		return "", nil
	case store == StoreAWS && number == "2":
		return "AWSPREVIOUS", nil
	case store == StoreAWS:
		return "", errors.New("in {vault://aws/NAME#version} the version is 1 (current) or 2 (previous); a field is written {vault://aws/NAME/field}")
	case store == StoreGCP && number != "" && strings.Trim(number, "0123456789") == "":
		return number, nil
	case store == StoreGCP:
		return "", errors.New("in {vault://gcp/NAME#version} the version is a number; a field is written {vault://gcp/NAME/field}")
	}
	return "", fmt.Errorf("a reference in braces to this vault takes no #version; use %s:// for one version, and write a field as NAME/field", store)
}
