mock_provider "azurerm" {
  source = "../../azure/tests/mocks"
}

# What publishes reaches Azure.
override_module {
  target = module.postern.module.package
}
override_module {
  target = module.postern.module.rotation_package
}

run "the_example_applies_as_it_is" {
  variables {
    packages = { gateway = "../../azure/tests/testdata/package.zip", rotate = "../../azure/tests/testdata/package.zip" }
  }
  assert {
    condition     = output.gateway_url == "https://postern-gateway.azurewebsites.net/v1" && output.gateway_identity == "00000000-0000-0000-0000-000000000003"
    error_message = "the outputs are the module's"
  }
  assert {
    condition     = azurerm_cognitive_account.openai.custom_subdomain_name == "my-resource" && azurerm_cognitive_deployment.model.name == "gpt-5.4-mini" && !azurerm_cognitive_account.openai.local_auth_enabled
    error_message = "the model that the document names is made, and has no key"
  }
  assert {
    condition     = output.event_bus != "" && output.rotation_identity == null
    error_message = "there is a bus, and nothing to rotate"
  }
  assert {
    condition     = strcontains(output.invoke_command, "\"model\":\"gpt-5.4-mini\"")
    error_message = "the command asks for the document's model"
  }
}
