# Functions in a network of one's own.
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
  config_file         = "tests/testdata/proactive.yaml"
  deletion_protection = false
  platform = {
    resource_group_name = "rg"
    location            = "westeurope"
    key_vaults          = { my-vault = "/subscriptions/s/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults/my-vault" }
  }
}

run "apps_that_send_by_way_of_a_subnet" {
  variables {
    network = { subnets = ["/subnets/apps"], endpoints = ["/subnets/endpoints"] }
  }
  assert {
    condition     = alltrue([for a in [azurerm_function_app_flex_consumption.gateway, azurerm_function_app_flex_consumption.rotate[0]] : a.virtual_network_subnet_id == "/subnets/apps" && a.site_config[0].vnet_route_all_enabled])
    error_message = "both apps send all by way of the subnet"
  }
  assert {
    condition     = { for name, e in azurerm_private_endpoint.this : name => e.private_service_connection[0].subresource_names[0] } == { events = "topic", host = "blob", rotate = "blob" } && alltrue([for e in azurerm_private_endpoint.this : e.subnet_id == "/subnets/endpoints"])
    error_message = "their storage and their topic have addresses in the network"
  }
}

run "security_groups_that_are_the_subnets_are_refused" {
  command = plan
  variables {
    network = { subnets = ["/subnets/apps"], security_groups = ["g"] }
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "a_subnet_that_flex_consumption_does_not_take_is_refused" {
  command = plan
  variables {
    network = { subnets = ["/networks/my_network/subnets/my_apps"] }
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "the_name_of_its_network_is_not_the_subnets" {
  command = plan
  variables {
    network = { subnets = ["/networks/my_network/subnets/apps"] }
  }
}
