# A network of one's own: both apps send what they send by way of a subnet that is
# delegated to Microsoft.App/environments, and their storage and their topic get
# addresses in another one.

locals {
  network = var.network == null ? [] : [var.network]
  private = length([for n in local.network : n if length(n.endpoints) > 0]) == 0 ? {} : merge(
    { host = { id = azurerm_storage_account.host.id, part = "blob" }, events = { id = azurerm_eventgrid_topic.this.id, part = "topic" } },
    { for name in ["rotate"] : name => { id = azurerm_storage_account.rotate[0].id, part = "blob" } if local.rotates },
    { for name in ["redis"] : name => { id = azurerm_managed_redis.redis[0].id, part = "redisEnterprise" } if local.redis },
  )
}

resource "azurerm_private_endpoint" "this" {
  for_each            = local.private
  name                = "${var.name}-${each.key}"
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  subnet_id           = one(var.network.endpoints)
  tags                = var.tags

  private_service_connection {
    name                           = "${var.name}-${each.key}"
    private_connection_resource_id = each.value.id
    subresource_names              = [each.value.part]
    is_manual_connection           = false
  }
}
