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

// document is the configuration of a cloud's functions: who may call, the
// co-located model service by its native identity, and OpenAI by a stored key
// that is rotated. There is no key in it.
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
	}[cloud] + s.stored()
	if s.o.CrossCloud {
		text += s.elsewhere(cloud)
	}
	text += s.rotated(cloud)
	if s.o.Document != nil {
		return s.o.Document(cloud, text)
	}
	return text
}

// env is the environment of a cloud's gateway: what the platform sets there
// to say who the function is, the addresses of the stand-ins under the names
// that the SDKs have for them, and the document.
func (s *Stage) env(cloud string) map[string]string {
	env := s.common(cloud)
	if s.o.CrossCloud {
		maps.Copy(env, s.elsewhereEnv())
	}
	maps.Copy(env, map[string]map[string]string{
		AWS: {
			"AWS_CONTAINER_CREDENTIALS_FULL_URI": s.services.url("container credentials") + "/credentials",
			"AWS_ENDPOINT_URL_BEDROCK_RUNTIME":   s.services.url(bedrock),
			"AWS_ENDPOINT_URL_STS":               s.services.url("STS"),
		},
		GCP: {
			"GCE_METADATA_HOST":      host(s.services.url("metadata server")),
			"GOOGLE_VERTEX_BASE_URL": s.services.url(vertex),
		},
		Azure: {
			"IDENTITY_ENDPOINT": s.services.url("managed identity") + "/msi/token",
		},
	}[cloud])
	maps.Copy(env, s.o.Env)
	return env
}

// common is what the environments of a cloud's functions have in common: the
// document, what the deployment is called, its bus, and where the cloud's
// services are that keep things.
func (s *Stage) common(cloud string) map[string]string {
	env := map[string]map[string]string{
		AWS: {
			"AWS_EC2_METADATA_DISABLED":        "true",
			"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.services.url(secretsManager),
			"AWS_ENDPOINT_URL_EVENTBRIDGE":     s.services.url(eventBridge),
			"POSTERN_EVENT_BUS":                eventBus,
		},
		GCP: {
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": s.services.url(secretManager),
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB":        s.services.url(pubSub),
			"POSTERN_EVENT_BUS":                             eventTopic,
		},
		Azure: {
			"IDENTITY_HEADER":       identityHeader,
			"POSTERN_KEY_VAULT_URL": s.services.url(keyVault),
			"SSL_CERT_FILE":         s.services.federation.roots,
			"POSTERN_EVENT_BUS":     s.services.url(eventGrid) + "/api/events",
		},
	}[cloud]
	env["POSTERN_CONFIG"] = s.documents[cloud]
	env["POSTERN_DEPLOYMENT"] = "local"
	return env
}

// rotationEnv is the environment of a cloud's rotation function, which has an
// identity of its own.
func (s *Stage) rotationEnv(cloud string) map[string]string {
	env := s.common(cloud)
	maps.Copy(env, map[string]map[string]string{
		AWS: {
			"AWS_CONTAINER_CREDENTIALS_FULL_URI": s.services.url(rotationCredentials) + "/credentials",
			"AWS_ENDPOINT_URL_DYNAMODB":          s.services.url(dynamoDB),
			"POSTERN_LEDGER":                     ledgerTable,
			"AWS_ENDPOINT_URL_KMS":               s.services.url(awsKMS),
			"POSTERN_AUDIT_KEY":                  awsAuditKey,
		},
		GCP: {
			"GCE_METADATA_HOST":                        host(s.services.url(rotationMetadata)),
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE":  s.services.url(cloudStorage),
			"POSTERN_LEDGER":                           "gs://" + ledgerBucket,
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": s.services.url(cloudKMS),
			"POSTERN_AUDIT_KEY":                        gcpAuditKey,
		},
		Azure: {
			"IDENTITY_ENDPOINT":         s.services.url(rotationIdentity) + "/msi/token",
			"POSTERN_LEDGER":            s.services.url(blobStorage) + "/" + ledgerContainer,
			"POSTERN_AUDIT_KEY":         s.services.url(keyVault) + azureAuditKey,
			"POSTERN_ROTATION_SCHEDULE": "0 */5 * * * *",
		},
	}[cloud])
	return env
}
