# What Azure has to trust for a gateway in another cloud: a managed identity that
# takes that gateway's token in place of a secret. The document names it by
# azure_tenant_id and azure_client_id, which are outputs.

terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 5.2, < 6"
    }
  }
}

variable "name" {
  description = "What the identity is called."
  type        = string
  default     = "postern-federated"
}

variable "config_file" {
  description = "The document of the gateway in the other cloud."
  type        = string
}

variable "gateway" {
  description = "Whose token is trusted: the output gateway_token of the gateway's module. Null makes the identity alone, for its ids to be written into the document."
  type        = object({ cloud = string, issuer = string, subject = string })
  default     = null
  validation {
    condition     = var.gateway == null ? true : contains(["aws", "gcp"], var.gateway.cloud) && var.gateway.issuer != null
    error_message = "The token is that of a gateway on aws or gcp, with its issuer; one on Azure needs no federation."
  }
}

variable "platform" {
  description = "Where the identity is, and the ids of the document's Azure OpenAI resources."
  type = object({
    resource_group_name = string
    location            = string
    openai_accounts     = optional(map(string), {})
  })
}

variable "tags" {
  description = "Tags of everything that can have them."
  type        = map(string)
  default     = {}
}

locals {
  entries = try(yamldecode(file(var.config_file)).upstreams, [])
  reached = [for u in local.entries : u if can(u.azure_tenant_id) && can(u.azure_client_id) && !can(u.credential_ref) && !can(u.azure_federated_token_file)]
  instances = toset([for u in local.reached : try(u.azure_instance, regex("^https://([A-Za-z0-9-]+)\\.", u.base_url)[0], u.name)
  if u.provider == "azure-openai" && contains(["native", "azure_ad"], try(u.auth_type, "native"))])
  unknown  = sort([for i in local.instances : i if !contains(keys(var.platform.openai_accounts), i)])
  audience = lookup({ usgovernment = "api://AzureADTokenExchangeUSGov", china = "api://AzureADTokenExchangeChina" }, try(local.reached[0].azure_cloud, "public"), "api://AzureADTokenExchange")
}

resource "azurerm_user_assigned_identity" "gateway" {
  name                = var.name
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  tags                = var.tags

  lifecycle {
    precondition {
      condition     = length(local.unknown) == 0
      error_message = "Give the ids of these Azure OpenAI resources in platform.openai_accounts: ${join(", ", local.unknown)}."
    }
  }
}

resource "azurerm_federated_identity_credential" "gateway" {
  count                     = var.gateway == null ? 0 : 1
  name                      = "${var.gateway.cloud}-gateway"
  user_assigned_identity_id = azurerm_user_assigned_identity.gateway.id
  issuer                    = var.gateway.issuer
  subject                   = var.gateway.subject
  audience                  = [local.audience]
}

resource "azurerm_role_assignment" "models" {
  for_each             = var.gateway == null ? [] : local.instances
  scope                = lookup(var.platform.openai_accounts, each.value, "/unknown")
  role_definition_name = "Cognitive Services OpenAI User"
  principal_id         = azurerm_user_assigned_identity.gateway.principal_id
  principal_type       = "ServicePrincipal"
  description          = "A gateway in another cloud calls models."
}

check "the_document_names_this_identity" {
  assert {
    condition     = alltrue([for u in local.reached : u.azure_client_id == azurerm_user_assigned_identity.gateway.client_id])
    error_message = "The document has another azure_client_id than this identity's: write the outputs azure_client_id and azure_tenant_id into it."
  }
}

output "azure_client_id" {
  description = "For the document's upstreams."
  value       = azurerm_user_assigned_identity.gateway.client_id
}

output "azure_tenant_id" {
  description = "For the document's upstreams."
  value       = azurerm_user_assigned_identity.gateway.tenant_id
}
