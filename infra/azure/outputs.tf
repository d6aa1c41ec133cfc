locals {
  url   = "https://${azurerm_function_app_flex_consumption.gateway.default_hostname}/v1"
  token = length(var.callers) > 0 ? "$(az account get-access-token --resource api://${try(var.platform.application.client_id, "")} --query accessToken --output tsv)" : "$TOKEN"
}

output "gateway_url" {
  description = "The base URL for OpenAI clients."
  value       = local.url
}

output "gateway_identity" {
  description = "Whom the gateway is to model services and in other clouds' trust."
  value       = local.gateway
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = "curl -N ${local.url}/chat/completions -H \"Authorization: Bearer ${local.token}\" -H 'Content-Type: application/json' -d '{\"model\":\"${local.example_model}\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
}
