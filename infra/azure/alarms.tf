locals {
  # A day, and two where the rotation runs at one hour a day: it is looked for now and then.
  idle = can(regex("[*/,-]", split(" ", var.rotation_schedule)[1])) ? "P1D" : "P2D"
  # What the functions print is in the log line by line.
  lines = "AppTraces | where AppRoleName =~ '${local.rotation_app}' | extend line = parse_json(Message)"

  alarms = merge(
    # A metric would count each status by itself.
    { server-errors = {
      query     = "AppRequests | where AppRoleName =~ '${local.app}' and toint(ResultCode) >= 500"
      threshold = var.alarms.server_errors
      every     = "PT5M"
      window    = "PT5M"
      what      = "The gateway answers requests with server errors."
    } },
    # No instance is left when all that there may be have requests.
    { throttles = {
      query = "AppMetrics | where AppRoleName =~ '${local.app}' | summarize instances = dcount(AppRoleInstance) by bin(TimeGenerated, 1m) | where instances >= ${local.max_instances}"
      what  = "The gateway runs on as many instances as it may."
    } },
    { for name, sign in local.signs : name => { query = "${local.lines} | where line.type == '${sign.type}'", what = sign.what } },
    { for name, alarm in {
      outbox-stuck     = { query = "${local.lines} | where tostring(line.error) contains '${local.outbox}'", what = local.outbox_what }
      rotation-crashes = { query = "AppRequests | where AppRoleName =~ '${local.rotation_app}' and OperationName in~ ('rotate', 'nearexpiry') and Success == false", what = "Runs of the rotation fail." }
      # The one row that there always is says how many there were; what operators ask
      # for is none of them.
      rotation-idle = { query = "AppRequests | where AppRoleName =~ '${local.rotation_app}' and OperationName =~ 'rotate' | count | where Count == 0", every = "PT1H", window = local.idle, what = "The rotation has not run for a day." }
    } : name => alarm if local.rotates },
    { for name in ["stranger"] : name => { query = local.stranger, what = local.stranger_what } if local.watched },
  )
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "this" {
  for_each             = local.alarms
  name                 = "${var.name}-${each.key}"
  resource_group_name  = var.platform.resource_group_name
  location             = var.platform.location
  scopes               = [azurerm_log_analytics_workspace.gateway.id]
  description          = each.value.what
  severity             = 1
  evaluation_frequency = try(each.value.every, "PT15M")
  window_duration      = try(each.value.window, "PT15M")
  # While errors go on they are one alarm; each event is one of its own.
  auto_mitigation_enabled = each.key == "server-errors"
  # Tables and columns exist once there has been something to say.
  skip_query_validation = true
  tags                  = var.tags

  criteria {
    query                   = each.value.query
    time_aggregation_method = "Count"
    operator                = "GreaterThanOrEqual"
    threshold               = try(each.value.threshold, 1)
  }

  dynamic "action" {
    for_each = length(var.alarms.notify) > 0 ? [sort(var.alarms.notify)] : []
    content {
      action_groups = action.value
    }
  }

  # A workspace that has just been made is not found at once
  # (https://github.com/hashicorp/terraform-provider-azurerm/issues/17145).
  depends_on = [azurerm_function_app_flex_consumption.gateway]
}

# Who else reads the secrets is in the vaults' audit log.
locals {
  watched_vaults = !local.watched ? {} : { for v in distinct([for s in local.secrets_in : s.vault]) : v => lookup(var.platform.key_vaults, v, "") if contains(keys(var.platform.key_vaults), v) }
  known_readers  = distinct(concat([local.gateway], local.rotates ? [local.rotator] : [], tolist(var.alarms.readers == null ? [] : var.alarms.readers)))
  # A new key is staged in a secret beside the one that it replaces.
  watched_secrets = distinct(concat([for s in local.secrets_in : lower(s.name)], [for name in local.rotated_secret_names : lower("${local.secrets_in[name].name}--pending")]))
  # Clients ask without a token first, which is refused and has no reader. Who reads
  # is in one of two columns, which are there once there has been somebody to put
  # into them; a query that names one before that fails.
  stranger = join(" ", [
    "AzureDiagnostics | where ResourceProvider == 'MICROSOFT.KEYVAULT' and OperationName == 'SecretGet' and ResultType == 'Success'",
    "| extend secret = tolower(tostring(split(tostring(column_ifexists('id_s', '')), '/')[4]))",
    "| where secret in (${join(", ", sort([for name in local.watched_secrets : "'${name}'"]))})",
    "| extend reader = coalesce(tostring(column_ifexists('identity_claim_oid_g', '')), tostring(column_ifexists('identity_claim_http_schemas_microsoft_com_identity_claims_objectidentifier_g', '')))",
    "| where reader !in~ (${join(", ", [for r in local.known_readers : "'${r}'"])})",
  ])
}

resource "azurerm_monitor_diagnostic_setting" "vault" {
  for_each                   = local.watched_vaults
  name                       = var.name
  target_resource_id         = each.value
  log_analytics_workspace_id = azurerm_log_analytics_workspace.gateway.id
  # The table is AzureDiagnostics. A vault keeps no note of it, so each plan would
  # show one that is asked for.
  enabled_log {
    category = "AuditEvent"
  }
}
