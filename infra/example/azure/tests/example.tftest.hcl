mock_provider "azurerm" {
  mock_resource "azurerm_function_app_flex_consumption" {
    defaults = {
      default_hostname = "postern-gateway.azurewebsites.net"
      identity         = { principal_id = "00000000-0000-0000-0000-000000000003" }
    }
  }
}

run "the_example_applies_as_it_is" {
  variables {
    package = "../../azure/tests/testdata/package.zip"
  }
  assert {
    condition     = output.gateway_url == "https://postern-gateway.azurewebsites.net/v1" && output.gateway_identity == "00000000-0000-0000-0000-000000000003"
    error_message = "the outputs are the module's"
  }
  assert {
    condition     = azurerm_cognitive_account.openai.custom_subdomain_name == "my-resource" && azurerm_cognitive_deployment.model.name == "gpt-4o-mini" && !azurerm_cognitive_account.openai.local_auth_enabled
    error_message = "the model that the document names is made, and has no key"
  }
  assert {
    condition     = strcontains(output.invoke_command, "\"model\":\"gpt-4o-mini\"")
    error_message = "the command asks for the document's model"
  }
}
