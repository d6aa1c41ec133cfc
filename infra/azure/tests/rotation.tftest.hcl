# The rotation function renews the keys of the document, and can do nothing else.
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
  config_file         = "tests/testdata/rotation.yaml"
  deletion_protection = false
  audit_key           = "https://my-vault.vault.azure.net/keys/events/0123456789abcdef0123456789abcdef"
  platform = {
    resource_group_name = "rg"
    location            = "westeurope"
    openai_accounts     = { my-resource = "/accounts/one", second-resource = "/accounts/two" }
    key_vaults          = { my-vault = "/subscriptions/s/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults/my-vault" }
  }
}

override_resource {
  target = azurerm_function_app_flex_consumption.rotate
  values = {
    id               = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/postern-rotate"
    default_hostname = "postern-rotate.azurewebsites.net"
    identity         = { principal_id = "00000000-0000-0000-0000-000000000005" }
  }
}
override_resource {
  target = azurerm_role_definition.rotated
  values = { role_definition_resource_id = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/own-secrets" }
}
override_resource {
  target = azurerm_role_definition.audit
  values = { role_definition_resource_id = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/own-audit" }
}
override_resource {
  target = azurerm_role_definition.account_keys
  values = { role_definition_resource_id = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/own-account-keys" }
}
override_resource {
  target = azurerm_storage_account.rotate
  values = {
    id                    = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/posternr"
    primary_blob_endpoint = "https://posternr.blob.core.windows.net/"
  }
}
override_resource {
  target = azurerm_user_assigned_identity.rotate
  values = {
    id           = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/postern-rotate-host"
    client_id    = "00000000-0000-0000-0000-000000000007"
    principal_id = "00000000-0000-0000-0000-000000000008"
  }
}

run "a_document_with_every_issuer" {
  assert {
    condition     = output.rotation_identity == "00000000-0000-0000-0000-000000000005" && output.rotation_identity != output.gateway_identity
    error_message = "the rotation function has an identity of its own"
  }
  assert {
    condition = azurerm_function_app_flex_consumption.rotate[0].app_settings == tomap({
      POSTERN_CONFIG                            = file("tests/testdata/rotation.yaml")
      POSTERN_EVENT_BUS                         = "https://postern.westeurope-1.eventgrid.azure.net/api/events"
      POSTERN_DEPLOYMENT                        = "postern"
      POSTERN_KEY_VAULT_URL                     = "https://my-vault.vault.azure.net"
      POSTERN_LEDGER                            = "https://posternr.blob.core.windows.net/ledger"
      POSTERN_ROTATION_SCHEDULE                 = "0 */15 * * * *"
      POSTERN_AUDIT_KEY                         = "https://my-vault.vault.azure.net/keys/events/0123456789abcdef0123456789abcdef"
      AzureWebJobsStorage                       = ""
      AzureWebJobsStorage__accountName          = azurerm_storage_account.rotate[0].name
      AzureWebJobsStorage__credential           = "managedidentity"
      AzureWebJobsStorage__clientId             = "00000000-0000-0000-0000-000000000007"
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "Authorization=AAD;ClientId=00000000-0000-0000-0000-000000000007"
    })
    error_message = "it gets the gateway's document, the bus, the ledger, the vault and the schedule, and its host its own storage"
  }
  assert {
    condition = toset([for a in azurerm_role_assignment.rotated : trimprefix(a.scope, "/subscriptions/s/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults/my-vault/secrets/")]) == toset([
      "openai", "openai--pending", "azure", "azure--pending", "foreign", "foreign--pending", "app-secret", "app-secret--pending",
    ])
    error_message = "it may replace exactly the secrets that are rotated, each with what is staged beside it"
  }
  assert {
    condition = alltrue([for a in azurerm_role_assignment.rotated : a.principal_id == output.rotation_identity]) && azurerm_role_definition.rotated[0].permissions[0].data_actions == toset([
      "Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
      "Microsoft.KeyVault/vaults/secrets/setSecret/action", "Microsoft.KeyVault/vaults/secrets/update/action",
    ]) && length(azurerm_role_definition.rotated[0].permissions[0].actions) == 0 && azurerm_role_definition.rotated[0].assignable_scopes == tolist(["/subscriptions/s/resourceGroups/vaults"])
    error_message = "replacing takes reading and setting, and neither deletes nor purges"
  }
  assert {
    condition     = toset([for a in azurerm_role_assignment.rotation_secrets : "${a.role_definition_name} ${reverse(split("/", a.scope))[0]}"]) == toset([for s in ["openai-admin", "certificate", "redis-password", "redis-key"] : "Key Vault Secrets User ${s}"])
    error_message = "it may read the issuers' admin credentials and what the tokens take that it renews, and replace none of them"
  }
  assert {
    condition     = [for a in azurerm_role_assignment.account_keys : a.scope] == ["/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/my-resource"]
    error_message = "it may renew the keys of exactly the account that the document names; that of another tenant is its app registration's"
  }
  assert {
    condition     = azurerm_role_definition.account_keys[0].permissions[0].actions == tolist(["Microsoft.CognitiveServices/accounts/listKeys/action", "Microsoft.CognitiveServices/accounts/regenerateKey/action"])
    error_message = "renewing takes listing and regenerating, and no more"
  }
  assert {
    condition     = alltrue([for a in azurerm_role_assignment.models : a.principal_id == output.gateway_identity]) && !contains([for a in azurerm_role_assignment.rotation_secrets : a.role_definition_name], "Cognitive Services OpenAI User")
    error_message = "the rotation function cannot call a model"
  }
  assert {
    condition     = alltrue([for a in azurerm_role_assignment.secrets : a.principal_id == output.gateway_identity && a.role_definition_name == "Key Vault Secrets User"])
    error_message = "the gateway replaces no secret"
  }
  assert {
    condition     = keys(azurerm_role_assignment.audit) == ["/subscriptions/s/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults/my-vault/keys/events"] && azurerm_role_definition.audit[0].permissions[0].data_actions == toset(["Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/sign/action"])
    error_message = "it may sign with the key of the variable"
  }
  assert {
    condition     = azurerm_role_assignment.ledger[0].scope == "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/posternr/blobServices/default/containers/ledger" && azurerm_role_assignment.ledger[0].role_definition_name == "Storage Blob Data Contributor" && azurerm_role_assignment.ledger[0].principal_id == output.rotation_identity
    error_message = "it may read and write records of its ledger, and nothing else in its storage"
  }
  assert {
    condition     = azurerm_storage_account.rotate[0].name != azurerm_storage_account.host.name && !azurerm_storage_account.rotate[0].shared_access_key_enabled && azurerm_role_assignment.storage.scope == azurerm_storage_account.host.id && azurerm_role_assignment.rotation_storage[0].principal_id == "00000000-0000-0000-0000-000000000008"
    error_message = "nothing that the gateway or its host can write is the rotation's"
  }
  assert {
    condition     = azurerm_role_assignment.rotation_events[0].role_definition_name == "EventGrid Data Sender" && azurerm_role_assignment.rotation_events[0].scope == azurerm_eventgrid_topic.this.id
    error_message = "it may put events on the topic"
  }
  assert {
    condition     = azurerm_eventgrid_system_topic.vault["my-vault"].location == "northeurope" && azurerm_eventgrid_system_topic_event_subscription.near_expiry["my-vault"].included_event_types == tolist(["Microsoft.KeyVault.SecretNearExpiry", "Microsoft.KeyVault.SecretExpired"]) && azurerm_eventgrid_system_topic_event_subscription.near_expiry["my-vault"].azure_function_endpoint[0].function_id == "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/postern-rotate/functions/nearexpiry"
    error_message = "notices of Key Vault that a secret is about to expire reach the function, and no others"
  }
  assert {
    condition     = azurerm_eventgrid_system_topic_event_subscription.near_expiry["my-vault"].storage_blob_dead_letter_destination[0].storage_blob_container_name == "failed" && azurerm_role_assignment.failed["my-vault"].principal_id == "00000000-0000-0000-0000-000000000006"
    error_message = "notices that cannot be delivered are kept"
  }
  assert {
    condition     = keys(azurerm_monitor_scheduled_query_rules_alert_v2.this) == ["operator-due", "orphaned", "outbox-stuck", "rotation-crashes", "rotation-failed", "rotation-idle", "server-errors", "throttles"]
    error_message = "rotations that fail, stop, wait for somebody, cannot tell or do not take place are alarms"
  }
  assert {
    condition     = strcontains(azurerm_monitor_scheduled_query_rules_alert_v2.this["orphaned"].criteria[0].query, "line.type == 'AI_PROVIDER_TOKEN_ORPHANED'") && strcontains(azurerm_monitor_scheduled_query_rules_alert_v2.this["outbox-stuck"].criteria[0].query, "contains 'the bus has not accepted its audit events'")
    error_message = "they are found in the function's log"
  }
  assert {
    condition     = endswith(azurerm_monitor_scheduled_query_rules_alert_v2.this["rotation-idle"].criteria[0].query, " and OperationName =~ 'rotate' | count | where Count == 0") && azurerm_monitor_scheduled_query_rules_alert_v2.this["rotation-idle"].evaluation_frequency == "PT1H"
    error_message = "a rotation that is idle goes unheard while operators ask how it is"
  }
  assert {
    condition     = endswith(azurerm_monitor_scheduled_query_rules_alert_v2.this["rotation-crashes"].criteria[0].query, " and OperationName in~ ('rotate', 'nearexpiry') and Success == false")
    error_message = "a command that an operator has got wrong is an alarm"
  }
  assert {
    condition     = azurerm_eventgrid_system_topic_event_subscription.near_expiry["my-vault"].azure_function_endpoint[0].max_events_per_batch == 1 && azurerm_eventgrid_system_topic_event_subscription.near_expiry["my-vault"].azure_function_endpoint[0].preferred_batch_size_in_kilobytes == 64
    error_message = "Azure's own sizes of batches are not asked for, and each plan would take them back"
  }
  assert {
    condition     = contains([for i in jsondecode(azurerm_application_insights_workbook.this.data_json).items : i.content.title], "Where each rotation stands")
    error_message = "the dashboard shows the keys"
  }
  assert {
    condition     = strcontains(output.rotation_command, "curl -X POST https://postern-rotate.azurewebsites.net/operate ") && strcontains(output.rotation_command, "{\"postern\":\"status\"}")
    error_message = "the command asks how the keys are"
  }
}

run "a_document_with_tokens_to_renew_and_no_keys" {
  variables {
    config_file       = "tests/testdata/proactive.yaml"
    rotation_schedule = "5 */2 * * *"
    alarms            = { notify = ["/actionGroups/ops"], readers = ["00000000-0000-0000-0000-00000000000e"] }
  }
  assert {
    condition     = length(azurerm_role_assignment.rotated) + length(azurerm_role_definition.rotated) + length(azurerm_eventgrid_system_topic.vault) == 0
    error_message = "no secret is replaced, and Key Vault starts nothing"
  }
  assert {
    condition     = toset([for a in azurerm_role_assignment.rotation_secrets : reverse(split("/", a.scope))[0]]) == toset(["client", "redis-password", "redis-key"])
    error_message = "tokens that are renewed take the client's and the cache's secrets"
  }
  assert {
    condition     = strcontains(azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].criteria[0].query, "secret in ('client', 'redis-key', 'redis-password') |") && endswith(azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].criteria[0].query, "| where reader !in~ ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000005', '00000000-0000-0000-0000-00000000000e')")
    error_message = "whoever reads a secret of the document is a stranger, but for the functions and the readers of the variable"
  }
  assert {
    condition     = strcontains(azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].criteria[0].query, "OperationName == 'SecretGet' and ResultType == 'Success' |")
    error_message = "a request without a token, which clients begin with, is taken for a stranger's"
  }
  assert {
    condition = alltrue([for column in ["id_s", "identity_claim_oid_g", "identity_claim_http_schemas_microsoft_com_identity_claims_objectidentifier_g"] :
      length(regexall("\\b${column}\\b", azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].criteria[0].query)) == 1 && strcontains(azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].criteria[0].query, "column_ifexists('${column}', '')")
    ])
    error_message = "the query fails where a column is not there yet, or does not know a reader that is in the other one"
  }
  assert {
    condition     = one(azurerm_monitor_diagnostic_setting.vault["my-vault"].enabled_log).category == "AuditEvent" && azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].action[0].action_groups == tolist(["/actionGroups/ops"])
    error_message = "reads are heard of, and an alarm"
  }
  assert {
    # A mocked provider makes up what is not asked for.
    condition     = !contains(["AzureDiagnostics", "Dedicated"], azurerm_monitor_diagnostic_setting.vault["my-vault"].log_analytics_destination_type)
    error_message = "a kind of table is asked for, of which a vault keeps no note, so that each plan would ask for it again"
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.rotate[0].app_settings["POSTERN_ROTATION_SCHEDULE"] == "0 5 */2 * * *"
    error_message = "the schedule is what the variable says"
  }
}

run "somebody_else_who_reads_a_new_key" {
  command = plan
  variables {
    alarms = { readers = [] }
  }
  override_resource {
    override_during = plan
    target          = azurerm_function_app_flex_consumption.gateway
    values          = { identity = { principal_id = "00000000-0000-0000-0000-000000000003" } }
  }
  override_resource {
    override_during = plan
    target          = azurerm_function_app_flex_consumption.rotate
    values          = { identity = { principal_id = "00000000-0000-0000-0000-000000000005" } }
  }
  assert {
    condition     = alltrue([for name in ["openai", "openai--pending", "app-secret--pending", "redis-key"] : strcontains(azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].criteria[0].query, "'${name}'")]) && !strcontains(azurerm_monitor_scheduled_query_rules_alert_v2.this["stranger"].criteria[0].query, "redis-key--pending")
    error_message = "whoever reads a key before it is used is as strange"
  }
}

run "a_vault_that_has_a_system_topic_already" {
  command = plan
  variables {
    platform = {
      resource_group_name = "rg"
      location            = "westeurope"
      openai_accounts     = { my-resource = "/accounts/one", second-resource = "/accounts/two" }
      key_vaults          = { my-vault = "/subscriptions/s/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults/my-vault" }
      near_expiry         = false
    }
  }
  assert {
    condition     = length(azurerm_eventgrid_system_topic.vault) == 0 && length(azurerm_eventgrid_system_topic_event_subscription.near_expiry) == 0
    error_message = "the vault's own topic is left alone"
  }
}

run "a_rotation_that_runs_once_a_day" {
  command = plan
  variables {
    rotation_schedule = "0 3 * * *"
  }
  assert {
    condition     = azurerm_monitor_scheduled_query_rules_alert_v2.this["rotation-idle"].window_duration == "P2D"
    error_message = "that it has not run for most of a day is no alarm"
  }
}

run "by_default_nothing_is_destroyed_while_keys_are_rotated" {
  command = plan
  variables {
    deletion_protection = true
  }
  assert {
    condition     = strcontains(terraform_data.rotation[0].input.end, "exit 1")
    error_message = "destroying is refused while rotations may be under way"
  }
}

run "keys_to_rotate_without_the_package_that_does_it_are_refused" {
  command = plan
  variables {
    packages = { gateway = "tests/testdata/package.zip" }
  }
  expect_failures = [azurerm_function_app_flex_consumption.gateway]
}

run "a_schedule_that_the_platforms_do_not_share_is_refused" {
  command = plan
  variables {
    rotation_schedule = "every 5 minutes"
  }
  expect_failures = [var.rotation_schedule]
}
