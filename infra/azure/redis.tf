# A Redis server where the document has cache.redis with auth_type native and no
# url: the apps log in to it with Entra ID, and it has no keys.

locals {
  redis_environment = !local.redis ? {} : {
    POSTERN_REDIS_URL = "rediss://${azurerm_managed_redis.redis[0].hostname}:${azurerm_managed_redis.redis[0].default_database[0].port}"
  }
}

resource "azurerm_managed_redis" "redis" {
  count                     = local.redis ? 1 : 0
  name                      = "${var.name}-redis-${local.suffix}"
  resource_group_name       = var.platform.resource_group_name
  location                  = var.platform.location
  sku_name                  = var.platform.redis.sku_name
  high_availability_enabled = var.platform.redis.high_availability
  public_network_access     = anytrue([for n in local.network : length(n.endpoints) > 0]) ? "Disabled" : "Enabled"
  tags                      = var.tags

  default_database {
    access_keys_authentication_enabled = false
    client_protocol                    = "Encrypted"
    # One address for everything.
    clustering_policy = "EnterpriseCluster"
    eviction_policy   = "VolatileLRU"
  }
}

resource "azurerm_managed_redis_access_policy_assignment" "gateway" {
  count            = contains(local.redis_users, "gateway") ? 1 : 0
  managed_redis_id = azurerm_managed_redis.redis[0].id
  object_id        = local.gateway
}

# One after the other: of two assignments at a time one fails
# (https://github.com/microsoft/aspire/issues/13043).
resource "azurerm_managed_redis_access_policy_assignment" "rotate" {
  count            = contains(local.redis_users, "rotate") ? 1 : 0
  managed_redis_id = azurerm_managed_redis.redis[0].id
  object_id        = azurerm_function_app_flex_consumption.rotate[0].identity[0].principal_id
  depends_on       = [azurerm_managed_redis_access_policy_assignment.gateway]
}
