# Where events go: a topic without keys. It keeps nothing; each event is also a
# line in the log of the function, which is kept as long as logs are.

resource "azurerm_eventgrid_topic" "this" {
  name                = "${var.name}-${local.suffix}"
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  input_schema        = "CloudEventSchemaV1_0"
  local_auth_enabled  = false
  tags                = var.tags
}

resource "azurerm_role_assignment" "events" {
  scope                = azurerm_eventgrid_topic.this.id
  role_definition_name = "EventGrid Data Sender"
  principal_id         = local.gateway
  principal_type       = "ServicePrincipal"
  description          = "The gateway tells what happens to credentials."
}
