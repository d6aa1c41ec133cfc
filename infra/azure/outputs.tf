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

output "gateway_token" {
  description = "Whose token the gateway shows to other clouds, for their federation modules."
  value       = { cloud = "azure", issuer = "https://sts.windows.net/${data.azurerm_client_config.this.tenant_id}/", subject = local.gateway }
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = "curl -N ${local.url}/chat/completions -H \"Authorization: Bearer ${local.token}\" -H 'Content-Type: application/json' -d '{\"model\":\"${local.example_model}\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
}

output "rotation_identity" {
  description = "Whom the rotation function is to issuers of keys and in other clouds' trust. Null when there is nothing to rotate."
  value       = local.rotator
}

output "event_bus" {
  description = "Where events are, as POSTERN_EVENT_BUS names it."
  value       = azurerm_eventgrid_topic.this.endpoint
}

output "rotation_command" {
  description = "Asks the rotation function from the command line how its keys are. Null when there is nothing to rotate."
  value       = one([for a in azurerm_function_app_flex_consumption.rotate : "curl -X POST https://${a.default_hostname}/operate -H \"x-functions-key: $(az functionapp keys list --resource-group ${var.platform.resource_group_name} --name ${a.name} --query masterKey --output tsv)\" -H 'Content-Type: application/json' -d '{\"postern\":\"status\"}'"])
}
