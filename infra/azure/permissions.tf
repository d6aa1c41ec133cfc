# What the gateway may do: what the document names, and nothing else.

locals {
  store = "azure-kv"

  # Azure OpenAI resources that are called as the function's own identity. With a
  # tenant it is an app registration's.
  direct    = [for u in local.upstreams : u if u.provider == "azure-openai" && contains(["native", "azure_ad"], u.auth) && !u.stored && !can(u.options.azure_tenant_id)]
  instances = toset([for u in local.direct : try(u.options.azure_instance, regex("^https://([A-Za-z0-9-]+)\\.", u.options.base_url)[0], u.name)])
  # Each reference is VAULT/NAME, or a NAME in the only vault.
  vault = length(var.platform.key_vaults) == 1 ? keys(var.platform.key_vaults)[0] : ""
  secrets_in = { for name in setunion(local.secret_names, local.rotated_secret_names, local.rotation_secret_names) : name => {
    vault = strcontains(name, "/") ? split("/", name)[0] : local.vault
    name  = reverse(split("/", name))[0]
  } }
  secret_scopes = { for name, s in local.secrets_in : name => "${lookup(var.platform.key_vaults, s.vault, "/unknown")}/secrets/${s.name}" }

  unknown_accounts = sort([for i in local.instances : i if !contains(keys(var.platform.openai_accounts), i)])
  unknown_vaults   = sort([for name, s in local.secrets_in : name if !contains(keys(var.platform.key_vaults), s.vault)])
  other_identities = [for u in local.direct : u.name if can(u.options.azure_client_id)]
}

# The gateway is the app's own identity, and nobody else can be that. The host has
# one of its own, which is there before the app, since the app starts from what
# it keeps in storage; the gateway asks for tokens of its own identity alone.
resource "azurerm_user_assigned_identity" "host" {
  name                = "${var.name}-host"
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  tags                = var.tags
}

locals {
  gateway = azurerm_function_app_flex_consumption.gateway.identity[0].principal_id
}

resource "azurerm_role_assignment" "models" {
  for_each             = local.instances
  scope                = lookup(var.platform.openai_accounts, each.value, "/unknown")
  role_definition_name = "Cognitive Services OpenAI User"
  principal_id         = local.gateway
  principal_type       = "ServicePrincipal"
  description          = "The gateway calls models."
}

# Secrets are made elsewhere, so that their values never come near the state.
resource "azurerm_role_assignment" "secrets" {
  for_each             = local.secret_names
  scope                = local.secret_scopes[each.value]
  role_definition_name = "Key Vault Secrets User"
  principal_id         = local.gateway
  principal_type       = "ServicePrincipal"
  description          = "The gateway reads this secret."
}

# The Functions host keeps its locks and the package here.
resource "azurerm_role_assignment" "storage" {
  scope                = azurerm_storage_account.host.id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = azurerm_user_assigned_identity.host.principal_id
  principal_type       = "ServicePrincipal"
  description          = "The Functions host keeps its locks and the package here."
}

resource "azurerm_role_assignment" "telemetry" {
  scope                = azurerm_application_insights.gateway.id
  role_definition_name = "Monitoring Metrics Publisher"
  principal_id         = azurerm_user_assigned_identity.host.principal_id
  principal_type       = "ServicePrincipal"
  description          = "The Functions host writes logs and metrics."
}
