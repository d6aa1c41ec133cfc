package kong

import (
	"net/url"
	"slices"
	"strings"
)

func (t *target) azure(u *upstream) {
	u.provider = "azure-openai"
	version := t.plain(t.option("azure_api_version"))
	address := t.option("upstream_url")
	if full, err := url.Parse(clear(address)); err == nil && version == "" && len(full.Query()) == 1 {
		if version = full.Query().Get("api-version"); version != "" {
			address.data = strings.TrimSuffix(clear(address), "?"+full.RawQuery)
		}
	}
	if base := t.address(address, "/openai"); base != "" {
		u.set("base_url", base)
		t.option("azure_instance")
	} else {
		u.set("azure_instance", t.plain(t.option("azure_instance")))
	}
	u.set("azure_api_version", version)
	if !t.entra(u) {
		t.contradicts("the key: azure_use_managed_identity is not set", "azure_client_id", "azure_client_secret", "azure_tenant_id")
		t.own(u, "api-key")
	}
	t.named(u, t.plain(t.option("azure_deployment_id")))
}

func (t *target) bedrock(u *upstream) {
	u.provider = "bedrock"
	u.set("aws_region", t.plain(t.option("bedrock", "aws_region")))
	u.set("base_url", t.address(t.option("upstream_url"), "/model/"))
	t.signature(u)
	role := t.plain(t.option("bedrock", "aws_assume_role_arn"))
	session := t.option("bedrock", "aws_role_session_name")
	sts := t.option("bedrock", "aws_sts_endpoint_url")
	if role != "" {
		parts := []entry{{name: "role_arn", text: role}}
		if name := t.plain(session); name != "" {
			parts = append(parts, entry{name: "session_name", text: name})
		}
		u.fields = append(u.fields, entry{name: "aws_roles", role: parts})
		u.set("aws_sts_endpoint", t.address(sts))
	} else {
		for _, v := range []value{session, sts} {
			if !v.empty() {
				t.lost(v.path, "it has no effect without aws_assume_role_arn")
			}
		}
	}
	t.named(u, "")
}

// gemini is Vertex AI if the options say where, and the public Gemini API otherwise.
func (t *target) gemini(u *upstream) {
	endpoint, project, location := t.option("gemini", "api_endpoint"), t.option("gemini", "project_id"), t.option("gemini", "location_id")
	account := t.auth.get("gcp_use_service_account").flag()
	if v := t.auth.get("use_gcp_service_account"); !v.empty() {
		t.meant(v.path, "the field is called gcp_use_service_account; it is read as that")
		account = account || v.flag()
	}
	key := t.given("gcp_service_account_json")
	if endpoint.empty() && project.empty() && location.empty() && !account && !key {
		t.publicGemini(u)
		return
	}
	u.provider = "vertex"
	u.set("api_endpoint", t.vertexEndpoint(endpoint))
	u.set("project_id", t.plain(project))
	u.set("location_id", t.plain(location))
	if v := t.option("gemini", "endpoint_id"); !v.empty() {
		t.lost(v.path, "the models of Google itself are called by their names, not endpoints of one's own")
	}
	u.set("auth_type", "native")
	t.contradicts("the Google identity", keyFields()...)
	switch {
	case key:
		if !account {
			t.meant(t.at("gcp_service_account_json"), "gcp_use_service_account is not set; the key is used all the same")
		}
		t.do(t.at("gcp_service_account_json"), "a service account's key is a stored secret: on Google Cloud remove credential_ref, and the function's own service account is used")
		u.about("credential_ref", t.credential("gcp_service_account_json", wanted{variable: variable(u, "SERVICE_ACCOUNT_JSON"), holds: "the service account's key in JSON"}), "the service account's key in JSON")
	case !account:
		t.meant(join(t.path, "auth"), "gcp_use_service_account is not set; Vertex AI takes nothing but a Google identity, so the function's own is used")
	}
	if project.empty() {
		t.meant(project.path, "no project is named; the one that the function runs in is used, at the location global")
	}
	t.named(u, "")
}

// vertexEndpoint returns the host or the address of Vertex AI as it was written.
func (t *target) vertexEndpoint(v value) string {
	s := t.plain(v)
	if strings.Contains(s, "://") {
		return t.address(v, "/v1/")
	}
	if u, err := url.Parse("https://" + s); s != "" && (err != nil || u.Host != s) {
		t.lost(v.path, "this is not a host")
		return ""
	}
	return s
}

// publicGemini describes the Gemini API by the endpoint where it speaks OpenAI's format
// (https://ai.google.dev/gemini-api/docs/openai).
func (t *target) publicGemini(u *upstream) {
	u.provider = "custom-openai"
	u.set("base_url", "https://generativelanguage.googleapis.com/v1beta/openai")
	k := t.key(u)
	k.header, k.query, k.scheme = "", "", ""
	t.custom(u, k)
	t.meant(join(t.path, "model", "provider"), "without a project and a location this is the Gemini API, not Vertex AI; it is called where it speaks OpenAI's format, with the key as a bearer token")
	if v := t.option("upstream_url"); !v.empty() {
		t.lost(v.path, "the address of Gemini's own format is of no use for OpenAI's; correct base_url")
	}
	t.named(u, "")
}

func (t *target) anthropic(u *upstream) {
	u.provider = "anthropic"
	u.set("base_url", t.address(t.option("upstream_url"), "/v1/messages", "/v1/complete"))
	t.own(u, "x-api-key")
	t.named(u, "")
}

func (t *target) openai(u *upstream) {
	base := t.address(t.option("upstream_url"), "/chat/completions")
	k := t.key(u)
	elsewhere := k.query != "" || k.header != "" && !strings.EqualFold(k.header, "Authorization")
	if base == "" && !elsewhere {
		u.provider = "openai"
		u.set("auth_type", "api_key")
		u.set("credential_ref", k.reference)
		t.named(u, "")
		return
	}
	u.provider = "custom-openai"
	if base == "" {
		base = "https://api.openai.com/v1"
	}
	u.set("base_url", base)
	t.custom(u, k)
	t.named(u, "")
}

// compatible describes the providers that speak OpenAI's format under another name, as far as it is known where.
func (t *target) compatible(u *upstream, provider string) bool {
	known := map[string]string{
		"mistral":  "https://api.mistral.ai/v1",
		"deepseek": "https://api.deepseek.com/v1",
		"xai":      "https://api.x.ai/v1",
		"cerebras": "https://api.cerebras.ai/v1",
	}
	serves := []string{"mistral", "deepseek", "xai", "cerebras", "vllm", "ollama", "llama2", "databricks", "dashscope", "huggingface"}
	at := join(t.path, "model", "provider")
	v := t.option("upstream_url")
	base := t.address(v, "/chat/completions", "/api/chat", "/api/generate")
	for _, name := range []string{"mistral_format", "llama2_format"} {
		switch format := t.plain(t.option(name)); {
		case format == "ollama":
			t.meant(join(t.path, "model", "options", name), "the server is called in OpenAI's format, not in Ollama's own")
		case format != "" && format != "openai":
			t.lost(join(t.path, "model", "options", name), "the server is called in OpenAI's format only; the target is left out")
			return false
		}
	}
	switch {
	case !slices.Contains(serves, provider):
		t.lost(at, "the gateway does not speak the format of "+quote(provider)+"; the target is left out. If the service has an endpoint in OpenAI's format, describe that as custom-openai")
		return false
	case base == "" && known[provider] == "":
		t.lost(at, "it is not known where "+quote(provider)+" speaks OpenAI's format; the target is left out. Describe the address as base_url of custom-openai")
		return false
	case base == "":
		base = known[provider]
	}
	if raw, _ := v.text(); strings.Contains(raw, "/api/") && !strings.HasSuffix(base, "/v1") {
		base += "/v1"
	}
	u.provider = "custom-openai"
	u.set("base_url", base)
	t.custom(u, t.key(u))
	t.meant(at, quote(provider)+" is a server that speaks OpenAI's format; compare base_url with its documentation")
	t.named(u, "")
	return true
}
