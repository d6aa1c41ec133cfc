locals {
  url = "${google_cloud_run_v2_service.gateway.uri}/v1"
  # The invoker check takes Google's identity tokens.
  token = length(var.callers) > 0 ? "$(gcloud auth print-identity-token)" : "$TOKEN"
}

output "gateway_url" {
  description = "The base URL for OpenAI clients."
  value       = local.url
}

output "gateway_identity" {
  description = "Whom the gateway is to model services and in other clouds' trust."
  value       = google_service_account.gateway.email
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = "curl -N ${local.url}/chat/completions -H \"Authorization: Bearer ${local.token}\" -H 'Content-Type: application/json' -d '{\"model\":\"${local.example_model}\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
}
