# What the rotation function may do: renew the keys that the document names, as
# the document says, and nothing else. It may call no model.

locals {
  rotator = one(flatten([for a in azurerm_function_app_flex_consumption.rotate : a.identity[*].principal_id]))

  # A staged version is that of a second secret, whose name ends in --pending.
  rotated_scopes = toset(flatten([for name in local.rotated_secret_names : [local.secret_scopes[name], "${local.secret_scopes[name]}--pending"]]))
  read_scopes    = setsubtract([for name in local.rotation_secret_names : local.secret_scopes[name]], [for name in local.rotated_secret_names : local.secret_scopes[name]])

  # Issuers at Azure work as an app registration, or as the function itself with
  # exactly the account.
  accounts = toset([for k in local.keys :
    "/subscriptions/${k.options.subscription_id}/resourceGroups/${k.options.resource_group}/providers/Microsoft.CognitiveServices/accounts/${k.options.account_name}"
    if k.issuer == "azure-openai" && !can(k.options.azure_tenant_id)
  ])
  # https://VAULT.vault.azure.net/keys/NAME/VERSION
  audit_scopes = [for parts in regexall("^https://([a-z0-9-]+)\\.[a-z.]+/keys/([^/]+)/", local.signs_events ? var.audit_key : "") : "${lookup(var.platform.key_vaults, parts[0], "/unknown")}/keys/${parts[1]}"]
  # A role of one's own can be given in these resource groups.
  role_groups = { for role, scopes in { secrets = local.rotated_scopes, account_keys = local.accounts, audit = local.audit_scopes } :
    role => sort(distinct([for scope in scopes : join("/", slice(split("/", scope), 0, 5)) if length(split("/", scope)) > 5]))
  }
}

# The host's own identity, which is there before the app and which the rotation
# does not use.
resource "azurerm_user_assigned_identity" "rotate" {
  count               = local.rotates ? 1 : 0
  name                = "${var.name}-rotate-host"
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  tags                = var.tags
}

resource "azurerm_role_definition" "rotated" {
  count             = length(local.role_groups.secrets) > 0 ? 1 : 0
  name              = "${var.name}-${local.suffix} replaces secrets"
  scope             = local.role_groups.secrets[0]
  assignable_scopes = local.role_groups.secrets
  description       = "Read and replace a secret"

  permissions {
    actions = []
    data_actions = [
      "Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
      "Microsoft.KeyVault/vaults/secrets/setSecret/action", "Microsoft.KeyVault/vaults/secrets/update/action",
    ]
  }
}

resource "azurerm_role_assignment" "rotated" {
  for_each           = local.rotated_scopes
  scope              = each.value
  role_definition_id = azurerm_role_definition.rotated[0].role_definition_resource_id
  principal_id       = local.rotator
  principal_type     = "ServicePrincipal"
  description        = "The rotation replaces this secret."
}

resource "azurerm_role_assignment" "rotation_secrets" {
  for_each             = local.read_scopes
  scope                = each.value
  role_definition_name = "Key Vault Secrets User"
  principal_id         = local.rotator
  principal_type       = "ServicePrincipal"
  description          = "The rotation reads this secret."
}

resource "azurerm_role_definition" "account_keys" {
  count             = length(local.role_groups.account_keys) > 0 ? 1 : 0
  name              = "${var.name}-${local.suffix} renews account keys"
  scope             = local.role_groups.account_keys[0]
  assignable_scopes = local.role_groups.account_keys
  description       = "List and regenerate the two keys of an Azure OpenAI resource"

  permissions {
    actions = ["Microsoft.CognitiveServices/accounts/listKeys/action", "Microsoft.CognitiveServices/accounts/regenerateKey/action"]
  }
}

resource "azurerm_role_assignment" "account_keys" {
  for_each           = local.accounts
  scope              = each.value
  role_definition_id = azurerm_role_definition.account_keys[0].role_definition_resource_id
  principal_id       = local.rotator
  principal_type     = "ServicePrincipal"
  description        = "The rotation renews the keys of this resource."
}

resource "azurerm_role_assignment" "ledger" {
  count                = local.rotates ? 1 : 0
  scope                = "${azurerm_storage_account.rotate[0].id}/blobServices/default/containers/${azurerm_storage_container.ledger[0].name}"
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = local.rotator
  principal_type       = "ServicePrincipal"
  description          = "The rotation keeps its records here."
}

resource "azurerm_role_assignment" "rotation_events" {
  count                = local.rotates ? 1 : 0
  scope                = azurerm_eventgrid_topic.this.id
  role_definition_name = "EventGrid Data Sender"
  principal_id         = local.rotator
  principal_type       = "ServicePrincipal"
  description          = "The rotation tells what happens to credentials."
}

resource "azurerm_role_assignment" "failed" {
  for_each             = local.rotated_vaults
  scope                = "${azurerm_storage_account.rotate[0].id}/blobServices/default/containers/${azurerm_storage_container.failed[0].name}"
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_eventgrid_system_topic.vault[each.key].identity[0].principal_id
  principal_type       = "ServicePrincipal"
  description          = "Event Grid keeps notices here that it cannot deliver."
}

resource "azurerm_role_assignment" "rotation_storage" {
  count                = local.rotates ? 1 : 0
  scope                = azurerm_storage_account.rotate[0].id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = azurerm_user_assigned_identity.rotate[0].principal_id
  principal_type       = "ServicePrincipal"
  description          = "The Functions host keeps its locks and the package here."
}

resource "azurerm_role_assignment" "rotation_telemetry" {
  count                = local.rotates ? 1 : 0
  scope                = azurerm_application_insights.gateway.id
  role_definition_name = "Monitoring Metrics Publisher"
  principal_id         = azurerm_user_assigned_identity.rotate[0].principal_id
  principal_type       = "ServicePrincipal"
  description          = "The Functions host writes logs and metrics."
}

resource "azurerm_role_definition" "audit" {
  count             = length(local.role_groups.audit) > 0 ? 1 : 0
  name              = "${var.name}-${local.suffix} signs events"
  scope             = local.role_groups.audit[0]
  assignable_scopes = local.role_groups.audit
  description       = "Read the public part of a key, and sign with it"

  permissions {
    actions      = []
    data_actions = ["Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/sign/action"]
  }
}

resource "azurerm_role_assignment" "audit" {
  for_each           = length(local.role_groups.audit) > 0 ? toset(local.audit_scopes) : []
  scope              = each.value
  role_definition_id = azurerm_role_definition.audit[0].role_definition_resource_id
  principal_id       = local.rotator
  principal_type     = "ServicePrincipal"
  description        = "The rotation signs its events with this key."
}
