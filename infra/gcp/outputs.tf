locals {
  url = "${google_cloud_run_v2_service.gateway.uri}/v1"
  # The invoker check takes Google's identity tokens.
  token = length(var.callers) > 0 && !local.iap ? "$(gcloud auth print-identity-token)" : "$TOKEN"
}

output "gateway_url" {
  description = "The base URL for OpenAI clients."
  value       = local.url
}

output "gateway_identity" {
  description = "Whom the gateway is to model services and in other clouds' trust."
  value       = google_service_account.gateway.email
}

output "gateway_token" {
  description = "Whose token the gateway shows to other clouds, for their federation modules."
  value       = { cloud = "gcp", issuer = "https://accounts.google.com", subject = google_service_account.gateway.unique_id }
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = "curl -N ${local.url}/chat/completions -H \"Authorization: Bearer ${local.token}\" -H 'Content-Type: application/json' -d '{\"model\":\"${local.example_model}\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
}

output "rotation_identity" {
  description = "Whom the rotation function is to issuers of keys and in other clouds' trust. Null when there is nothing to rotate."
  value       = one(google_service_account.rotate[*].email)
}

output "event_bus" {
  description = "Where events are, as POSTERN_EVENT_BUS names it."
  value       = google_pubsub_topic.events.id
}

output "rotation_command" {
  description = "Asks the rotation function from the command line how its keys are. Null when there is nothing to rotate."
  value       = one([for s in google_cloud_run_v2_service.rotate : "curl -X POST ${s.uri} -H \"Authorization: Bearer $(gcloud auth print-identity-token)\" -H 'Content-Type: application/json' -d '{\"postern\":\"status\"}'"])
}
