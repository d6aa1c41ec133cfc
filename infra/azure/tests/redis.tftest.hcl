# A Redis server that the functions log in to as themselves.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

# What publishes reaches Azure.
override_module {
  target = module.package
}
override_module {
  target = module.rotation_package
}

variables {
  packages            = { gateway = "tests/testdata/package.zip", rotate = "tests/testdata/package.zip" }
  config_file         = "tests/testdata/redis.yaml"
  deletion_protection = false
  platform = {
    resource_group_name = "rg"
    location            = "westeurope"
    key_vaults          = { my-vault = "/subscriptions/s/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults/my-vault" }
  }
}

run "a_server_without_keys" {
  assert {
    condition     = !azurerm_managed_redis.redis[0].default_database[0].access_keys_authentication_enabled && azurerm_managed_redis.redis[0].default_database[0].client_protocol == "Encrypted" && azurerm_managed_redis.redis[0].public_network_access == "Enabled" && azurerm_managed_redis.redis[0].sku_name == "Balanced_B0"
    error_message = "nobody logs in but with Entra ID, over TLS"
  }
  assert {
    condition     = [for a in concat(azurerm_managed_redis_access_policy_assignment.gateway, azurerm_managed_redis_access_policy_assignment.rotate) : a.object_id] == [for name in ["gateway", "rotate"] : "00000000-0000-0000-0000-000000000003"]
    error_message = "both apps' own identities may log in"
  }
  assert {
    condition     = alltrue([for a in [azurerm_function_app_flex_consumption.gateway, azurerm_function_app_flex_consumption.rotate[0]] : a.app_settings.POSTERN_REDIS_URL == "rediss://postern-redis.westeurope.redis.azure.net:10000"])
    error_message = "both apps are told where the server is"
  }
}

run "a_server_in_a_network" {
  variables {
    network = { subnets = ["/subnets/apps"], endpoints = ["/subnets/endpoints"] }
  }
  assert {
    condition     = azurerm_managed_redis.redis[0].public_network_access == "Disabled" && azurerm_private_endpoint.this["redis"].private_service_connection[0].subresource_names[0] == "redisEnterprise"
    error_message = "it has an address in the network, and no other"
  }
}

run "without_it_in_the_document_there_is_none" {
  variables {
    config_file = "tests/testdata/proactive.yaml"
  }
  assert {
    condition     = length(azurerm_managed_redis.redis) + length(azurerm_managed_redis_access_policy_assignment.gateway) == 0
    error_message = "a document without such a server has none made"
  }
}
