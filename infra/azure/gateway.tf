data "azurerm_client_config" "this" {}

locals {
  # Names of apps and storage accounts are taken worldwide.
  suffix = substr(sha256("${data.azurerm_client_config.this.subscription_id}/${var.platform.resource_group_name}/${var.name}"), 0, 8)
  app    = "${var.name}-gateway-${local.suffix}"

  max_instances = var.max_instances == null ? 100 : var.max_instances

  settings = merge(local.environment, local.redis_environment, local.host_settings.gateway)

  # Each host's storage and telemetry, both without keys.
  host_settings = { for app, of in {
    gateway = { account = azurerm_storage_account.host.name, identity = azurerm_user_assigned_identity.host.client_id }
    rotate  = { account = one(azurerm_storage_account.rotate[*].name), identity = one(azurerm_user_assigned_identity.rotate[*].client_id) }
    } : app => {
    # The provider puts a connection without a key here, which the host would take,
    # and shows in each plan that this differs.
    AzureWebJobsStorage                       = ""
    AzureWebJobsStorage__accountName          = of.account
    AzureWebJobsStorage__credential           = "managedidentity"
    AzureWebJobsStorage__clientId             = of.identity
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "Authorization=AAD;ClientId=${of.identity}"
  } if of.identity != null }

  environment = merge(
    { POSTERN_CONFIG = local.text, POSTERN_EVENT_BUS = azurerm_eventgrid_topic.this.endpoint, POSTERN_DEPLOYMENT = var.name },
    local.vault == "" ? {} : { POSTERN_KEY_VAULT_URL = "https://${local.vault}.vault.azure.net" },
    # App Service authentication is on for these callers and nobody else.
    length(var.callers) > 0 ? { POSTERN_PLATFORM_IAM = "true" } : {},
  )
}

resource "azurerm_storage_account" "host" {
  name                            = "${substr(replace(var.name, "-", ""), 0, 16)}${local.suffix}"
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

resource "azurerm_storage_container" "package" {
  name                  = "package"
  storage_account_id    = azurerm_storage_account.host.id
  container_access_type = "private"
}

resource "azurerm_service_plan" "gateway" {
  name                = "${var.name}-gateway"
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  os_type             = "Linux"
  sku_name            = "FC1"
  tags                = var.tags
}

resource "azurerm_log_analytics_workspace" "gateway" {
  name                         = "${var.name}-gateway"
  resource_group_name          = var.platform.resource_group_name
  location                     = var.platform.location
  sku                          = "PerGB2018"
  retention_in_days            = var.log_retention_days
  local_authentication_enabled = false
  tags                         = var.tags
}

resource "azurerm_application_insights" "gateway" {
  name                         = "${var.name}-gateway"
  resource_group_name          = var.platform.resource_group_name
  location                     = var.platform.location
  workspace_id                 = azurerm_log_analytics_workspace.gateway.id
  application_type             = "other"
  retention_in_days            = var.log_retention_days
  local_authentication_enabled = false
  # The alarm counts requests, so none may be left out.
  sampling_percentage = 100
  tags                = var.tags
}

# These tables keep what they have for 90 days, whatever their workspace does. They
# can be changed some time after the workspace has been made
# (https://github.com/hashicorp/terraform-provider-azurerm/issues/30069).
resource "azurerm_log_analytics_workspace_table" "gateway" {
  for_each                = toset(["AppDependencies", "AppExceptions", "AppMetrics", "AppPerformanceCounters", "AppRequests", "AppTraces"])
  name                    = each.value
  workspace_id            = azurerm_log_analytics_workspace.gateway.id
  retention_in_days       = var.log_retention_days
  total_retention_in_days = var.log_retention_days
  depends_on              = [azurerm_function_app_flex_consumption.gateway]
}

resource "azurerm_function_app_flex_consumption" "gateway" {
  name                = local.app
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  service_plan_id     = azurerm_service_plan.gateway.id
  tags                = var.tags

  runtime_name    = "custom"
  runtime_version = "1.0"

  storage_container_type            = "blobContainer"
  storage_container_endpoint        = "${azurerm_storage_account.host.primary_blob_endpoint}${azurerm_storage_container.package.name}"
  storage_authentication_type       = "UserAssignedIdentity"
  storage_user_assigned_identity_id = azurerm_user_assigned_identity.host.id

  instance_memory_in_mb                          = 512
  http_concurrency                               = 80
  maximum_instance_count                         = local.max_instances
  https_only                                     = true
  client_certificate_enabled                     = local.certificates
  client_certificate_mode                        = local.certificates ? "Required" : "Optional"
  webdeploy_publish_basic_authentication_enabled = false
  app_settings                                   = local.settings

  identity {
    type         = "SystemAssigned, UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.host.id]
  }

  virtual_network_subnet_id = one([for n in local.network : one(n.subnets)])

  site_config {
    application_insights_connection_string = azurerm_application_insights.gateway.connection_string
    minimum_tls_version                    = "1.2"
    http2_enabled                          = true
    vnet_route_all_enabled                 = length(local.network) > 0
  }

  dynamic "auth_settings_v2" {
    for_each = length(var.callers) > 0 && var.platform.application != null ? [var.platform.application] : []
    content {
      auth_enabled           = true
      require_authentication = true
      unauthenticated_action = "Return401"
      default_provider       = "azureactivedirectory"
      active_directory_v2 {
        client_id            = auth_settings_v2.value.client_id
        tenant_auth_endpoint = "https://login.microsoftonline.com/${auth_settings_v2.value.tenant_id}/v2.0"
        allowed_audiences    = [auth_settings_v2.value.client_id, "api://${auth_settings_v2.value.client_id}"]
        allowed_applications = sort(var.callers)
      }
      login {
        token_store_enabled = false
      }
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.foreign_secrets) == 0
      error_message = "The function reads secrets of Azure Key Vault alone; these are elsewhere, or have a % in their name: ${join(", ", local.foreign_secrets)}."
    }
    precondition {
      condition     = length(local.unknown_accounts) == 0
      error_message = "Give the ids of these Azure OpenAI resources in platform.openai_accounts: ${join(", ", local.unknown_accounts)}."
    }
    precondition {
      condition     = length(local.unknown_vaults) == 0
      error_message = "Give the ids of the vaults of these secrets in platform.key_vaults (a secret without a vault in its reference is in the only one): ${join(", ", local.unknown_vaults)}."
    }
    precondition {
      condition     = length(local.other_identities) == 0
      error_message = "The function has an identity of its own and no other; remove azure_client_id from these upstreams, or give azure_tenant_id if it is an app registration's: ${join(", ", local.other_identities)}."
    }
    precondition {
      condition     = alltrue([for n in local.network : length(n.subnets) == 1 && length(n.security_groups) == 0 && length(n.endpoints) < 2])
      error_message = "An app sends by way of one subnet, whose own security group says what is let out: give one of network.subnets, at most one of network.endpoints, and no network.security_groups."
    }
    # https://learn.microsoft.com/azure/azure-functions/flex-consumption-how-to#enable-virtual-network-integration
    precondition {
      condition     = alltrue(flatten([for n in local.network : [for id in n.subnets : !strcontains(reverse(split("/", id))[0], "_")]]))
      error_message = "Flex Consumption takes no subnet with an underscore in its name: give another one in network.subnets."
    }
    precondition {
      condition     = local.admission == ""
      error_message = local.admission
    }
    precondition {
      condition     = length(var.callers) == 0 || var.platform.application != null
      error_message = "Callers show tokens for an app registration: give platform.application with the variable callers."
    }
    precondition {
      condition     = !(local.token_callers && length(var.callers) > 0)
      error_message = "App Service authentication refuses tokens of other issuers: have callers in the document or platform_callers with the variable callers, not both."
    }
  }

  depends_on = [
    azurerm_role_assignment.storage,
    azurerm_role_assignment.telemetry,
  ]
}

module "package" {
  source = "./package"
  file   = var.packages.gateway
  app    = { host = azurerm_function_app_flex_consumption.gateway.default_hostname, id = azurerm_function_app_flex_consumption.gateway.id }
}
