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
  packages    = { gateway = "tests/testdata/package.zip" }
  config_file = "tests/testdata/minimal.yaml"
  platform = {
    resource_group_name = "rg"
    location            = "westeurope"
    openai_accounts     = { my-resource = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/my-resource" }
  }
}

run "a_document_with_token_callers" {
  assert {
    condition = azurerm_function_app_flex_consumption.gateway.app_settings == tomap({
      POSTERN_CONFIG                            = file("tests/testdata/minimal.yaml")
      POSTERN_EVENT_BUS                         = "https://postern.westeurope-1.eventgrid.azure.net/api/events"
      POSTERN_DEPLOYMENT                        = "postern"
      AzureWebJobsStorage                       = ""
      AzureWebJobsStorage__accountName          = azurerm_storage_account.host.name
      AzureWebJobsStorage__credential           = "managedidentity"
      AzureWebJobsStorage__clientId             = "00000000-0000-0000-0000-000000000002"
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "Authorization=AAD;ClientId=00000000-0000-0000-0000-000000000002"
    })
    error_message = "the function gets the document to the letter, the topic and the deployment's name, the host its identity, and neither gets a key"
  }
  assert {
    condition     = alltrue([for name in keys(azurerm_function_app_flex_consumption.gateway.app_settings) : length(name) <= 53])
    error_message = "Linux takes no more of a setting's name, and the rest goes unseen"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.runtime_name == "custom" && azurerm_function_app_flex_consumption.gateway.runtime_version == "1.0"
    error_message = "the app runs a custom handler, of the only version that Flex Consumption lists; with another one it never starts"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.storage_authentication_type == "UserAssignedIdentity" && !azurerm_storage_account.host.shared_access_key_enabled && azurerm_function_app_flex_consumption.gateway.storage_container_endpoint == "https://postern.blob.core.windows.net/package"
    error_message = "the host's storage has no key"
  }
  assert {
    condition     = !azurerm_application_insights.gateway.local_authentication_enabled && !azurerm_log_analytics_workspace.gateway.local_authentication_enabled && !azurerm_function_app_flex_consumption.gateway.webdeploy_publish_basic_authentication_enabled
    error_message = "telemetry and deployment have no key and no password either"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.https_only && length(azurerm_function_app_flex_consumption.gateway.auth_settings_v2) == 0
    error_message = "the platform admits everybody, over TLS, and leaves callers to the gateway"
  }
  assert {
    condition     = !azurerm_function_app_flex_consumption.gateway.client_certificate_enabled
    error_message = "nobody needs a client certificate that the gateway does not ask for"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.maximum_instance_count == 100 && azurerm_function_app_flex_consumption.gateway.http_concurrency == 80
    error_message = "there are many requests per instance, and a limit of instances"
  }
  assert {
    condition = [for a in azurerm_role_assignment.models : [a.scope, a.role_definition_name, a.principal_id]] == [[
      "/subscriptions/s/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/my-resource", "Cognitive Services OpenAI User", "00000000-0000-0000-0000-000000000003",
    ]]
    error_message = "the gateway may call the models of the document's resource, and not change it"
  }
  assert {
    condition     = length(azurerm_role_assignment.secrets) == 0
    error_message = "a document without secrets grants none"
  }
  assert {
    condition     = azurerm_role_assignment.storage.scope == azurerm_storage_account.host.id && azurerm_role_assignment.telemetry.scope == azurerm_application_insights.gateway.id && toset([azurerm_role_assignment.storage.principal_id, azurerm_role_assignment.telemetry.principal_id]) == toset(["00000000-0000-0000-0000-000000000004"])
    error_message = "the host, and not the gateway, may use its own storage and telemetry"
  }
  assert {
    condition     = azurerm_log_analytics_workspace.gateway.retention_in_days == 30 && azurerm_application_insights.gateway.retention_in_days == 30
    error_message = "logs are kept for 30 days"
  }
  assert {
    condition = { for name, t in azurerm_log_analytics_workspace_table.gateway : name => [t.retention_in_days, t.total_retention_in_days] } == {
      for name in ["AppDependencies", "AppExceptions", "AppMetrics", "AppPerformanceCounters", "AppRequests", "AppTraces"] : name => [30, 30]
    }
    error_message = "tables of Application Insights would keep what they have for 90 days"
  }
  assert {
    condition     = azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].criteria[0].threshold == 5 && azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].window_duration == "PT5M" && azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].evaluation_frequency == "PT5M"
    error_message = "five server errors in five minutes are an alarm"
  }
  assert {
    condition     = azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].criteria[0].query == "AppRequests | where AppRoleName =~ '${azurerm_function_app_flex_consumption.gateway.name}' and toint(ResultCode) >= 500" && length(coalesce(azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].criteria[0].dimension, [])) == 0
    error_message = "errors of all kinds are counted together"
  }
  assert {
    condition     = azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].auto_mitigation_enabled && !azurerm_monitor_scheduled_query_rules_alert_v2.this["throttles"].auto_mitigation_enabled
    error_message = "errors that go on are one alarm"
  }
  assert {
    condition     = can(regex("^postern[0-9a-f]{8}$", azurerm_storage_account.host.name)) && can(regex("^postern-gateway-[0-9a-f]{8}$", azurerm_function_app_flex_consumption.gateway.name))
    error_message = "names that are taken worldwide have a suffix"
  }
  assert {
    condition     = azurerm_eventgrid_topic.this.input_schema == "CloudEventSchemaV1_0" && !azurerm_eventgrid_topic.this.local_auth_enabled && azurerm_role_assignment.events.scope == azurerm_eventgrid_topic.this.id && azurerm_role_assignment.events.role_definition_name == "EventGrid Data Sender" && azurerm_role_assignment.events.principal_id == "00000000-0000-0000-0000-000000000003"
    error_message = "the gateway may put events on its own topic, which has no key"
  }
  assert {
    condition     = length(azurerm_function_app_flex_consumption.rotate) + length(azurerm_storage_account.rotate) + length(azurerm_service_plan.rotate) + length(azurerm_user_assigned_identity.rotate) == 0 && output.rotation_identity == null && output.rotation_command == null
    error_message = "without anything to renew there is no rotation function"
  }
  assert {
    condition     = keys(azurerm_monitor_scheduled_query_rules_alert_v2.this) == ["server-errors", "throttles"] && length(azurerm_monitor_diagnostic_setting.vault) == 0
    error_message = "there are alarms for server errors and throttles, and without secrets and rotations no others"
  }
  assert {
    condition     = [for i in jsondecode(azurerm_application_insights_workbook.this.data_json).items : i.content.title] == ["Requests by status", "Time to the whole answer, ms", "Tokens by upstream and model", "Failed requests", "Events"]
    error_message = "there is a dashboard of requests and events"
  }
  assert {
    condition     = output.gateway_token == { cloud = "azure", issuer = "https://sts.windows.net/00000000-0000-0000-0000-00000000000d/", subject = output.gateway_identity }
    error_message = "other clouds are told whose token they get"
  }
  assert {
    condition     = output.event_bus == "https://postern.westeurope-1.eventgrid.azure.net/api/events"
    error_message = "the bus is the topic"
  }
  assert {
    condition     = output.gateway_url == "https://postern-gateway.azurewebsites.net/v1" && output.gateway_identity == "00000000-0000-0000-0000-000000000003"
    error_message = "the outputs are the base URL for clients and the identity"
  }
  assert {
    condition     = strcontains(output.invoke_command, "Bearer $TOKEN") && strcontains(output.invoke_command, "\"model\":\"gpt-4o-mini\"")
    error_message = "the command asks for a model of the document with the caller's token"
  }
}

run "a_document_that_is_one_upstream_with_iam_callers" {
  variables {
    config_file        = "tests/testdata/single.yaml"
    callers            = ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"]
    max_instances      = 40
    log_retention_days = 90
    alarms             = { notify = ["/subscriptions/s/resourceGroups/rg/providers/Microsoft.Insights/actionGroups/ops"], server_errors = 50 }
    tags               = { team = "platform" }
    platform = {
      resource_group_name = "rg"
      location            = "westeurope"
      openai_accounts     = { my-resource = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/my-resource" }
      application         = { client_id = "00000000-0000-0000-0000-00000000000c", tenant_id = "00000000-0000-0000-0000-00000000000d" }
    }
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.auth_settings_v2[0].auth_enabled && azurerm_function_app_flex_consumption.gateway.auth_settings_v2[0].require_authentication && azurerm_function_app_flex_consumption.gateway.auth_settings_v2[0].unauthenticated_action == "Return401"
    error_message = "the platform refuses callers without a token"
  }
  assert {
    condition     = toset(azurerm_function_app_flex_consumption.gateway.auth_settings_v2[0].active_directory_v2[0].allowed_applications) == var.callers
    error_message = "the platform admits the callers and nobody else"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.auth_settings_v2[0].active_directory_v2[0].tenant_auth_endpoint == "https://login.microsoftonline.com/00000000-0000-0000-0000-00000000000d/v2.0"
    error_message = "tokens are those of the app registration's tenant"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.app_settings["POSTERN_PLATFORM_IAM"] == "true"
    error_message = "the function knows that the platform's check is on"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.maximum_instance_count == 40 && azurerm_log_analytics_workspace.gateway.retention_in_days == 90 && azurerm_log_analytics_workspace_table.gateway["AppTraces"].total_retention_in_days == 90 && azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].criteria[0].threshold == 50 && length(azurerm_monitor_scheduled_query_rules_alert_v2.this["server-errors"].action) == 1
    error_message = "instances, retention and alarms are what the variables say"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.tags == tomap({ team = "platform" })
    error_message = "what is made has the tags"
  }
  assert {
    condition     = strcontains(output.invoke_command, "--resource api://00000000-0000-0000-0000-00000000000c ")
    error_message = "the command shows a token for the app registration"
  }
}

run "a_document_with_everything" {
  variables {
    config_file = "tests/testdata/everything.yaml"
    platform = {
      resource_group_name = "rg"
      location            = "westeurope"
      openai_accounts     = { my-resource = "/accounts/one", second-resource = "/accounts/two", third-resource = "/accounts/three", foreign-resource = "/accounts/foreign" }
      key_vaults          = { my-vault = "/vaults/my-vault" }
    }
  }
  assert {
    condition     = toset([for a in azurerm_role_assignment.models : a.scope]) == toset(["/accounts/one", "/accounts/two"])
    error_message = "the resources that the function calls as itself are granted; those with keys and of other tenants are not"
  }
  assert {
    condition     = toset([for a in azurerm_role_assignment.secrets : a.scope]) == toset(["/vaults/my-vault/secrets/azure-key", "/vaults/my-vault/secrets/openai", "/vaults/my-vault/secrets/anthropic"])
    error_message = "each secret of the document is granted by itself, and not its vault"
  }
  assert {
    condition     = toset([for a in azurerm_role_assignment.secrets : a.role_definition_name]) == toset(["Key Vault Secrets User"])
    error_message = "the gateway can write no secret"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.app_settings["POSTERN_KEY_VAULT_URL"] == "https://my-vault.vault.azure.net"
    error_message = "the function knows the vault of references that name none"
  }
}

run "callers_with_client_certificates" {
  variables {
    config_file = "tests/testdata/front.yaml"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.gateway.client_certificate_enabled && azurerm_function_app_flex_consumption.gateway.client_certificate_mode == "Required"
    error_message = "the app wants a client certificate of each caller"
  }
}

run "resources_whose_ids_are_not_given_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/everything.yaml"
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "a_secret_that_the_function_cannot_read_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/foreign.yaml"
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "an_identity_that_the_function_does_not_have_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/identity.yaml"
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "iam_callers_that_the_document_does_not_trust_are_refused" {
  command = plan
  variables {
    callers = ["00000000-0000-0000-0000-00000000000a"]
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "a_promise_of_the_document_that_nothing_keeps_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/single.yaml"
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "callers_with_tokens_of_both_kinds_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/both.yaml"
    callers     = ["00000000-0000-0000-0000-00000000000a"]
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "names_and_choices_that_the_platform_does_not_have_are_refused" {
  command = plan
  variables {
    name               = "No Name"
    max_instances      = 0
    log_retention_days = 31
  }
  expect_failures = [var.name, var.max_instances, var.log_retention_days]
}

run "a_document_that_no_function_would_load_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/rejected.yaml"
  }
  expect_failures = [var.config_file]
}

run "a_document_that_nobody_has_checked_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/unchecked.yaml"
  }
  expect_failures = [var.config_file]
}

run "a_document_that_has_changed_since_it_was_checked_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/changed.yaml"
  }
  expect_failures = [var.config_file]
}
