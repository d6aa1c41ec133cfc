package stage

import (
	"fmt"
	"maps"
)

// Model is the model of a cloud's gateway that the demo and the tests call.
func Model(cloud string) string {
	return map[string]string{
		AWS: "claude-sonnet", GCP: "gemini-flash", Azure: "gpt-4o-mini",
	}[cloud]
}

// document is the configuration of a cloud's gateway: who may call, and the
// co-located model service by its native identity. There is no key in it.
func (s *Stage) document(cloud string) string {
	head := fmt.Sprintf(`callers:
  - name: local
    issuer: %s
    audience: %s
policy:
  - name: everyone
    models: ["*"]
upstreams:
`, s.services.issuer.URL(), audience)
	text := head + map[string]string{
		AWS: `  - provider: bedrock
    aws_region: ` + Region + `
    models:
      - {name: claude-sonnet, model: eu.anthropic.claude-sonnet-4-5-20250929-v1:0}
`,
		GCP: `  - provider: vertex
    location_id: ` + Location + `
    models:
      - {name: gemini-flash, model: gemini-2.5-flash}
`,
		Azure: `  - provider: azure-openai
    auth_type: azure_ad
    base_url: ` + s.services.url(azureOpenAI) + `
    models: [gpt-4o-mini]
`,
	}[cloud]
	if s.o.CrossCloud {
		text += s.elsewhere(cloud)
	}
	if s.o.Document != nil {
		return s.o.Document(cloud, text)
	}
	return text
}

// env is the environment of a cloud's gateway: what the platform sets there
// to say who the function is, the addresses of the stand-ins under the names
// that the SDKs have for them, and the document.
func (s *Stage) env(cloud string) map[string]string {
	env := map[string]string{"POSTERN_CONFIG": s.document(cloud)}
	if s.o.CrossCloud {
		maps.Copy(env, s.elsewhereEnv())
	}
	maps.Copy(env, map[string]map[string]string{
		AWS: {
			"AWS_CONTAINER_CREDENTIALS_FULL_URI": s.services.url("container credentials") + "/credentials",
			"AWS_ENDPOINT_URL_BEDROCK_RUNTIME":   s.services.url(bedrock),
			"AWS_ENDPOINT_URL_STS":               s.services.url("STS"),
			"AWS_EC2_METADATA_DISABLED":          "true",
		},
		GCP: {
			"GCE_METADATA_HOST":      host(s.services.url("metadata server")),
			"GOOGLE_VERTEX_BASE_URL": s.services.url(vertex),
		},
		Azure: {
			"IDENTITY_ENDPOINT": s.services.url("managed identity") + "/msi/token",
			"IDENTITY_HEADER":   identityHeader,
		},
	}[cloud])
	maps.Copy(env, s.o.Env)
	return env
}
