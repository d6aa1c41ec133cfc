# The smallest deployment, with a model of its own: change postern.yaml and
# apply. The document names the resource and the deployment that are made here.

terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 5.2, < 6"
    }
  }
}

variable "packages" {
  description = "The packages, from `make package`. The second is deployed once the document has keys to rotate."
  type        = object({ gateway = string, rotate = string })
  default = {
    gateway = "../../../dist/package/gateway-azure-amd64.zip"
    rotate  = "../../../dist/package/rotate-azure-amd64.zip"
  }
}

variable "location" {
  description = "Where everything is made."
  type        = string
  default     = "swedencentral"
}

# The subscription is that of ARM_SUBSCRIPTION_ID.
provider "azurerm" {
  # Storage is reached with your own identity, because it has no keys.
  storage_use_azuread = true
  # None is registered without being asked for. These are for all that a document
  # may have made.
  resource_providers_to_register = [
    "Microsoft.App", "Microsoft.Cache", "Microsoft.CognitiveServices", "Microsoft.EventGrid", "microsoft.insights", "Microsoft.KeyVault",
    "Microsoft.ManagedIdentity", "Microsoft.Network", "Microsoft.OperationalInsights", "Microsoft.Storage", "Microsoft.Web",
  ]
  features {
    # Azure puts rules of its own beside Application Insights.
    resource_group {
      prevent_deletion_if_contains_resources = false
    }
  }
}

locals {
  # Worldwide, this name is taken once: change it here and in postern.yaml.
  openai = yamldecode(file("${path.module}/postern.yaml")).upstreams[0]
}

resource "azurerm_resource_group" "postern" {
  name     = "postern"
  location = var.location
}

resource "azurerm_cognitive_account" "openai" {
  name                  = local.openai.azure_instance
  resource_group_name   = azurerm_resource_group.postern.name
  location              = var.location
  kind                  = "OpenAI"
  sku_name              = "S0"
  custom_subdomain_name = local.openai.azure_instance
  local_auth_enabled    = false
}

resource "azurerm_cognitive_deployment" "model" {
  name                 = local.openai.models[0]
  cognitive_account_id = azurerm_cognitive_account.openai.id
  model {
    format = "OpenAI"
    name   = local.openai.models[0]
  }
  sku {
    name     = "GlobalStandard"
    capacity = 10
  }
}

module "postern" {
  source      = "../../azure"
  config_file = "${path.module}/postern.yaml"
  packages    = var.packages
  platform = {
    resource_group_name = azurerm_resource_group.postern.name
    location            = azurerm_resource_group.postern.location
    openai_accounts     = { (local.openai.azure_instance) = azurerm_cognitive_account.openai.id }
  }
}

output "gateway_url" {
  description = "The base URL for OpenAI clients."
  value       = module.postern.gateway_url
}

output "gateway_identity" {
  description = "Whom the gateway is to model services and in other clouds' trust."
  value       = module.postern.gateway_identity
}

output "gateway_token" {
  description = "Whose token the gateway shows to other clouds, for their federation modules."
  value       = module.postern.gateway_token
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = module.postern.invoke_command
}

output "rotation_identity" {
  description = "Whom the rotation function is to issuers of keys and in other clouds' trust. Null when there is nothing to rotate."
  value       = module.postern.rotation_identity
}

output "event_bus" {
  description = "Where events are, as POSTERN_EVENT_BUS names it."
  value       = module.postern.event_bus
}

output "rotation_command" {
  description = "Asks the rotation function from the command line how its keys are. Null when there is nothing to rotate."
  value       = module.postern.rotation_command
}
