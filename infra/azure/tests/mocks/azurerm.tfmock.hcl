# What the tests of this module and of its example take Azure to answer.

mock_data "azurerm_client_config" {
  defaults = { subscription_id = "00000000-0000-0000-0000-000000000001", tenant_id = "00000000-0000-0000-0000-00000000000d" }
}
mock_resource "azurerm_user_assigned_identity" {
  defaults = {
    id           = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/postern-host"
    client_id    = "00000000-0000-0000-0000-000000000002"
    principal_id = "00000000-0000-0000-0000-000000000004"
  }
}
mock_resource "azurerm_storage_account" {
  defaults = {
    id                    = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/postern"
    primary_blob_endpoint = "https://postern.blob.core.windows.net/"
  }
}
mock_resource "azurerm_service_plan" {
  defaults = { id = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/serverFarms/postern-gateway" }
}
mock_resource "azurerm_log_analytics_workspace" {
  defaults = { id = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/postern-gateway" }
}
mock_resource "azurerm_application_insights" {
  defaults = { id = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Insights/components/postern-gateway" }
}
mock_resource "azurerm_function_app_flex_consumption" {
  defaults = {
    default_hostname = "postern-gateway.azurewebsites.net"
    identity         = { principal_id = "00000000-0000-0000-0000-000000000003" }
  }
}
mock_resource "azurerm_eventgrid_topic" {
  defaults = {
    id       = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.EventGrid/topics/postern"
    endpoint = "https://postern.westeurope-1.eventgrid.azure.net/api/events"
  }
}
mock_resource "azurerm_eventgrid_system_topic" {
  defaults = {
    id       = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.EventGrid/systemTopics/postern"
    identity = { principal_id = "00000000-0000-0000-0000-000000000006" }
  }
}
mock_resource "azurerm_role_definition" {
  defaults = { role_definition_resource_id = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/own" }
}
mock_data "azurerm_key_vault" {
  defaults = { location = "northeurope" }
}
mock_resource "azurerm_managed_redis" {
  defaults = {
    id               = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Cache/redisEnterprise/postern-redis"
    hostname         = "postern-redis.westeurope.redis.azure.net"
    default_database = { port = 10000 }
  }
}
