# The function that renews stored keys, and tokens before anybody asks for them;
# what it remembers, and who starts it. Without anything to renew there is none.

locals {
  rotation_app = "${var.name}-rotate-${local.suffix}"
  rotation_settings = !local.rotates ? {} : merge(local.environment, local.redis_environment, local.host_settings.rotate, {
    POSTERN_LEDGER            = "${azurerm_storage_account.rotate[0].primary_blob_endpoint}${azurerm_storage_container.ledger[0].name}"
    POSTERN_ROTATION_SCHEDULE = "0 ${var.rotation_schedule}"
  }, local.audit_environment)
}

# An account of its own: what the gateway can write is none of the rotation's.
resource "azurerm_storage_account" "rotate" {
  count                           = local.rotates ? 1 : 0
  name                            = "${substr(replace(var.name, "-", ""), 0, 15)}r${local.suffix}"
  resource_group_name             = var.platform.resource_group_name
  location                        = var.platform.location
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  min_tls_version                 = "TLS1_2"
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  local_user_enabled              = false
  tags                            = var.tags
}

resource "azurerm_storage_container" "rotate" {
  count                 = local.rotates ? 1 : 0
  name                  = "package"
  storage_account_id    = azurerm_storage_account.rotate[0].id
  container_access_type = "private"
}

# What rotations remember. Nothing of it is removed by a date: it is small, and a
# lease counts on for ever.
resource "azurerm_storage_container" "ledger" {
  count                 = local.rotates ? 1 : 0
  name                  = "ledger"
  storage_account_id    = azurerm_storage_account.rotate[0].id
  container_access_type = "private"
}

# Notices of Key Vault that could not be delivered.
resource "azurerm_storage_container" "failed" {
  count                 = local.rotates ? 1 : 0
  name                  = "failed"
  storage_account_id    = azurerm_storage_account.rotate[0].id
  container_access_type = "private"
}

resource "azurerm_service_plan" "rotate" {
  count               = local.rotates ? 1 : 0
  name                = "${var.name}-rotate"
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  os_type             = "Linux"
  sku_name            = "FC1"
  tags                = var.tags
}

resource "azurerm_function_app_flex_consumption" "rotate" {
  count               = local.rotates ? 1 : 0
  name                = local.rotation_app
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  service_plan_id     = azurerm_service_plan.rotate[0].id
  tags                = var.tags

  runtime_name    = "custom"
  runtime_version = "1.0"

  storage_container_type            = "blobContainer"
  storage_container_endpoint        = "${azurerm_storage_account.rotate[0].primary_blob_endpoint}${azurerm_storage_container.rotate[0].name}"
  storage_authentication_type       = "UserAssignedIdentity"
  storage_user_assigned_identity_id = azurerm_user_assigned_identity.rotate[0].id

  instance_memory_in_mb                          = 512
  maximum_instance_count                         = 40
  https_only                                     = true
  webdeploy_publish_basic_authentication_enabled = false
  app_settings                                   = local.rotation_settings

  identity {
    type         = "SystemAssigned, UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.rotate[0].id]
  }

  virtual_network_subnet_id = one([for n in local.network : one(n.subnets)])

  site_config {
    application_insights_connection_string = azurerm_application_insights.gateway.connection_string
    minimum_tls_version                    = "1.2"
    http2_enabled                          = true
    vnet_route_all_enabled                 = length(local.network) > 0
  }

  depends_on = [
    azurerm_role_assignment.rotation_storage,
    azurerm_role_assignment.rotation_telemetry,
  ]
}

module "rotation_package" {
  count    = local.rotates ? 1 : 0
  source   = "./package"
  file     = var.packages.rotate
  function = "nearexpiry"
  app      = { host = azurerm_function_app_flex_consumption.rotate[0].default_hostname, id = azurerm_function_app_flex_consumption.rotate[0].id }
}

# Key Vault may start a rotation too, when a secret is about to expire.
locals {
  rotated_vaults = !var.platform.near_expiry ? {} : { for v in distinct([for name in local.rotated_secret_names : local.secrets_in[name].vault]) :
    v => lookup(var.platform.key_vaults, v, "") if contains(keys(var.platform.key_vaults), v)
  }
}

data "azurerm_key_vault" "rotated" {
  for_each            = local.rotated_vaults
  name                = reverse(split("/", each.value))[0]
  resource_group_name = split("/", each.value)[4]
}

resource "azurerm_eventgrid_system_topic" "vault" {
  for_each            = local.rotated_vaults
  name                = "${var.name}-${each.key}"
  resource_group_name = split("/", each.value)[4]
  location            = data.azurerm_key_vault.rotated[each.key].location
  source_resource_id  = each.value
  topic_type          = "Microsoft.KeyVault.vaults"
  tags                = var.tags

  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_eventgrid_system_topic_event_subscription" "near_expiry" {
  for_each              = local.rotated_vaults
  name                  = "${var.name}-rotate"
  system_topic          = azurerm_eventgrid_system_topic.vault[each.key].name
  resource_group_name   = split("/", each.value)[4]
  event_delivery_schema = "CloudEventSchemaV1_0"
  included_event_types  = ["Microsoft.KeyVault.SecretNearExpiry", "Microsoft.KeyVault.SecretExpired"]

  azure_function_endpoint {
    function_id = "${azurerm_function_app_flex_consumption.rotate[0].id}/functions/nearexpiry"
    # Azure's own, which each plan would take back if they were not asked for.
    max_events_per_batch              = 1
    preferred_batch_size_in_kilobytes = 64
  }
  storage_blob_dead_letter_destination {
    storage_account_id          = azurerm_storage_account.rotate[0].id
    storage_blob_container_name = azurerm_storage_container.failed[0].name
  }
  dead_letter_identity {
    type = "SystemAssigned"
  }

  # The function is there once the package is.
  depends_on = [azurerm_role_assignment.failed, module.rotation_package]
}

# It goes before everything that it depends on, or refuses to, and so keeps that.
resource "terraform_data" "rotation" {
  count = local.rotates ? 1 : 0
  input = {
    end = var.deletion_protection ? "echo 'The rotation of stored keys may be under way. End it as the README says, and apply with deletion_protection = false first.' >&2 && exit 1" : "exit 0"
  }

  provisioner "local-exec" {
    when    = destroy
    command = self.output.end
  }

  # Another name is another deployment, and the end of this one.
  lifecycle {
    replace_triggered_by = [azurerm_storage_account.rotate[0].name]
  }

  depends_on = [
    azurerm_function_app_flex_consumption.gateway, azurerm_function_app_flex_consumption.rotate, azurerm_role_assignment.models,
    azurerm_role_assignment.secrets, azurerm_role_assignment.events, azurerm_role_assignment.rotated, azurerm_role_assignment.rotation_secrets,
    azurerm_role_assignment.account_keys, azurerm_role_assignment.ledger, azurerm_role_assignment.rotation_events,
    azurerm_eventgrid_system_topic_event_subscription.near_expiry,
  ]
}
