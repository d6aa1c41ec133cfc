package kong

import (
	"regexp"
	"strings"
)

// variable names an environment variable for a secret of an upstream.
func variable(u *upstream, suffix string) string {
	return strings.ToUpper(strings.ReplaceAll(u.name, "-", "_")) + "_" + suffix
}

// patched returns what Kubernetes fills in for a field of auth.
func (t *target) patched(name string) (string, bool) {
	what, ok := t.patches["auth/"+name]
	return what, ok
}

// given reports whether the target has a field of auth, written out or filled in by Kubernetes.
func (t *target) given(name string) bool {
	_, patched := t.patched(name)
	return patched || t.auth.has(name)
}

// at is the place of a field of auth.
func (t *target) at(name string) string { return join(t.path, "auth", name) }

// credential returns the place of the secret in a field of auth.
func (t *target) credential(name string, w wanted) string {
	if what, ok := t.patched(name); ok {
		t.auth.get(name)
		return t.absent(t.at(name), "the value is "+what, w)
	}
	return t.secret(t.auth.get(name), w)
}

// contradicts says which of two credentials stays. Kong takes several and documents no order.
func (t *target) contradicts(stays string, names ...string) {
	for _, name := range names {
		if t.given(name) {
			t.auth.get(name)
			t.lost(t.at(name), "the upstream has exactly one credential, and that is "+stays)
		}
	}
}

// The fields that carry a key, in whatever place.
func keyFields() []string {
	return []string{"header_name", "header_value", "param_name", "param_value", "param_location"}
}

// key says how the target's key is presented.
type key struct {
	reference string
	header    string // its name; empty with query
	scheme    string // what stands before it in the header, if the file shows that
	query     string
}

// schemeOf finds the scheme before a key. Only words that are known to be one are taken for that: any other may be a part of
// the secret.
var schemeOf = regexp.MustCompile(`^(?i:(bearer|token|basic|apikey|api-key|key)) \S`)

// key reads the key of a target.
func (t *target) key(u *upstream) key {
	w := wanted{variable: variable(u, "API_KEY"), holds: "the key"}
	switch {
	case t.given("header_value"):
		k := key{header: t.plain(t.auth.get("header_name"))}
		w.whole = strings.EqualFold(k.header, "Authorization")
		text, _ := t.auth.get("header_value").text()
		if m := schemeOf.FindStringSubmatch(text); m != nil {
			k.scheme, w.whole = m[1], true
		}
		k.reference = t.credential("header_value", w)
		t.contradicts("the header", "param_name", "param_value", "param_location")
		return k
	case t.given("param_value"):
		k := key{query: t.plain(t.auth.get("param_name"))}
		if location, _ := t.auth.get("param_location").text(); location == "body" {
			t.lost(t.at("param_location"), "a key is never sent in the body; it goes into the provider's header")
			k.query = ""
		}
		k.reference = t.credential("param_value", w)
		return k
	}
	why := "Kong sent no credential, and the gateway always presents one"
	if t.auth.has("allow_override") {
		why = "callers brought the provider's key themselves, and what a caller sends is never passed on"
	}
	return key{reference: t.absent(join(t.path, "auth"), why, w)}
}

// own writes the key for a provider that has one header for it.
func (t *target) own(u *upstream, header string) {
	k := t.key(u)
	if k.query != "" || k.header != "" && !strings.EqualFold(k.header, header) {
		t.meant(join(t.path, "auth"), "the key is sent where this provider's own documentation has it, in the header "+header)
	}
	u.set("auth_type", "api_key")
	u.set("credential_ref", k.reference)
}

// custom writes the key for a server that may want it anywhere.
func (t *target) custom(u *upstream, k key) {
	u.set("auth_type", "api_key")
	u.set("credential_ref", k.reference)
	switch {
	case k.query != "":
		u.set("query_name", k.query)
	case strings.EqualFold(k.header, "Authorization"), k.header == "":
		if k.scheme != "" && !strings.EqualFold(k.scheme, "Bearer") {
			u.set("header_prefix", k.scheme+" ")
		}
	default:
		u.set("header_name", k.header)
		if k.scheme != "" {
			u.set("header_prefix", k.scheme+" ")
		}
	}
}

// entra writes the Entra identity of an Azure target, and reports whether it has one.
func (t *target) entra(u *upstream) bool {
	managed := t.auth.get("azure_use_managed_identity").flag()
	if !managed {
		if t.given("header_value") || t.given("param_value") || !t.given("azure_client_secret") {
			return false
		}
		t.meant(t.at("azure_use_managed_identity"), "it is not set, but an app registration is all that there is to prove anything with; it is used")
	}
	t.contradicts("the Entra identity", keyFields()...)
	client, tenant := t.auth.get("azure_client_id"), t.auth.get("azure_tenant_id")
	secret := t.given("azure_client_secret")
	if !secret && tenant.empty() {
		t.auth.get("azure_client_secret")
		u.set("auth_type", "native")
		u.set("azure_client_id", t.plain(client))
		return true
	}
	u.set("auth_type", "azure_ad")
	clientID, tenantID := clear(client), clear(tenant)
	holds := "the app registration's client secret"
	if clientID == "" || tenantID == "" {
		holds = "JSON with tenant_id, client_id and client_secret"
		for _, id := range []value{client, tenant} {
			if clear(id) == "" {
				t.do(id.path, "the value is not in the file; it belongs into the same secret as client_secret, or into the document")
			}
		}
		clientID, tenantID = "", ""
	}
	u.set("azure_tenant_id", tenantID)
	u.set("azure_client_id", clientID)
	switch {
	case !secret:
		t.auth.get("azure_client_secret")
		t.do(t.at("azure_client_secret"), "Kong takes the secret from the variable AZURE_CLIENT_SECRET, and so does the gateway; or remove credential_ref, and the app registration trusts the function's own identity instead (a federated credential), so that nothing is stored")
		u.about("credential_ref", "env://AZURE_CLIENT_SECRET", holds)
	case clientID == "":
		t.auth.get("azure_client_secret")
		u.about("credential_ref", t.absent(t.at("azure_client_secret"), "client_secret goes together with the ids", wanted{variable: variable(u, "APP"), holds: holds}), holds)
	default:
		u.about("credential_ref", t.credential("azure_client_secret", wanted{variable: variable(u, "CLIENT_SECRET"), holds: holds}), holds)
	}
	return true
}

// clear returns a text that stands in the file itself.
func clear(v value) string {
	if s, ok := v.text(); ok && !special(s) {
		return s
	}
	return ""
}

// signature writes the AWS identity of a target.
func (t *target) signature(u *upstream) {
	t.contradicts("the AWS identity", keyFields()...)
	id, secret := t.given("aws_access_key_id"), t.given("aws_secret_access_key")
	switch {
	case id && secret:
		u.set("auth_type", "aws_sigv4")
		if reference, ok := t.keyPair(t.auth.get("aws_access_key_id"), t.auth.get("aws_secret_access_key")); ok {
			u.about("credential_ref", reference, "JSON with aws_access_key_id and aws_secret_access_key")
			return
		}
		t.auth.get("aws_access_key_id")
		reference := t.awsKeys(u)
		u.about("credential_ref", reference, "JSON with aws_access_key_id and aws_secret_access_key")
	case id || secret:
		t.contradicts("the function's role: Kong took the other half of this key from the environment, where the gateway would not pair it with something else", "aws_access_key_id", "aws_secret_access_key")
		u.set("auth_type", "native")
	default:
		u.set("auth_type", "native")
	}
}

// awsKeys names one secret for the two halves of a key, which Kong has in two fields.
func (t *target) awsKeys(u *upstream) string {
	from := "the two halves of the key are in one secret here"
	if text, _ := t.auth.get("aws_secret_access_key").text(); text != "" {
		if reference, ok := t.reference(text); ok {
			from = "the secret half of the key was at " + reference + ", and here both halves are in one secret"
		}
	}
	return t.absent(t.at("aws_secret_access_key"), from+" (on AWS nothing needs to be stored: remove credential_ref, set auth_type: native, and the function's role signs)",
		wanted{variable: variable(u, "AWS_KEYS"), holds: "JSON with aws_access_key_id and aws_secret_access_key"})
}
