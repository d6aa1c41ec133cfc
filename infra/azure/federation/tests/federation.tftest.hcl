# A gateway in another cloud is a managed identity here, and nobody else is.
mock_provider "azurerm" {
  source = "../tests/mocks"
}

override_resource {
  target = azurerm_user_assigned_identity.gateway
  values = {
    id           = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/postern-federated"
    client_id    = "33333333-3333-3333-3333-333333333333"
    principal_id = "00000000-0000-0000-0000-000000000009"
    tenant_id    = "22222222-2222-2222-2222-222222222222"
  }
}

variables {
  config_file = "tests/testdata/foreign.yaml"
  gateway     = { cloud = "aws", issuer = "https://x.tokens.sts.global.api.aws", subject = "arn:aws:iam::111122223333:role/postern-gateway" }
  platform = {
    resource_group_name = "rg"
    location            = "westeurope"
    openai_accounts     = { my-resource = "/accounts/one" }
  }
}

run "a_gateway_on_aws" {
  assert {
    condition     = azurerm_federated_identity_credential.gateway[0].issuer == "https://x.tokens.sts.global.api.aws" && azurerm_federated_identity_credential.gateway[0].subject == "arn:aws:iam::111122223333:role/postern-gateway" && azurerm_federated_identity_credential.gateway[0].audience == tolist(["api://AzureADTokenExchange"])
    error_message = "the one role's token is taken"
  }
  assert {
    condition     = [for a in azurerm_role_assignment.models : "${a.scope} ${a.role_definition_name} ${a.principal_id}"] == ["/accounts/one Cognitive Services OpenAI User 00000000-0000-0000-0000-000000000009"]
    error_message = "it may call the models of the document's resource"
  }
  assert {
    condition     = output.azure_client_id == "33333333-3333-3333-3333-333333333333" && output.azure_tenant_id == "22222222-2222-2222-2222-222222222222"
    error_message = "the outputs are what the document names"
  }
}

run "the_identity_alone" {
  variables {
    gateway = null
  }
  assert {
    condition     = length(azurerm_federated_identity_credential.gateway) + length(azurerm_role_assignment.models) == 0
    error_message = "as long as nobody is known, nobody is trusted"
  }
}

run "a_resource_whose_id_is_not_given_is_refused" {
  command = plan
  variables {
    platform = { resource_group_name = "rg", location = "westeurope" }
  }
  expect_failures = [azurerm_user_assigned_identity.gateway]
}
