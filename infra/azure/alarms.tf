resource "azurerm_monitor_metric_alert" "server_errors" {
  name                = "${var.name}-server-errors"
  resource_group_name = var.platform.resource_group_name
  scopes              = [azurerm_application_insights.gateway.id]
  description         = "The gateway answers requests with server errors."
  severity            = 1
  frequency           = "PT1M"
  window_size         = "PT5M"
  tags                = var.tags

  criteria {
    metric_namespace = "microsoft.insights/components"
    metric_name      = "requests/count"
    aggregation      = "Count"
    operator         = "GreaterThanOrEqual"
    threshold        = var.alarms.server_errors
    # The metric exists once there has been a request.
    skip_metric_validation = true
    dimension {
      name     = "request/resultCode"
      operator = "StartsWith"
      values   = ["5"]
    }
    dimension {
      name     = "cloud/roleName"
      operator = "Include"
      values   = [local.app]
    }
  }

  dynamic "action" {
    for_each = var.alarms.notify
    content {
      action_group_id = action.value
    }
  }
}

locals {
  # A day, and two where the rotation runs at one hour a day: it is looked for now and then.
  idle = can(regex("[*/,-]", split(" ", var.rotation_schedule)[1])) ? "P1D" : "P2D"
  # What the functions print is in the log line by line.
  lines = "AppTraces | where AppRoleName =~ '${local.rotation_app}' | extend line = parse_json(Message)"

  alarms = merge(
    # No instance is left when all that there may be have requests.
    { throttles = {
      query = "AppMetrics | where AppRoleName =~ '${local.app}' | summarize instances = dcount(AppRoleInstance) by bin(TimeGenerated, 1m) | where instances >= ${local.max_instances}"
      what  = "The gateway runs on as many instances as it may."
    } },
    { for name, sign in local.signs : name => { query = "${local.lines} | where line.type == '${sign.type}'", what = sign.what } },
    { for name, alarm in {
      outbox-stuck     = { query = "${local.lines} | where tostring(line.error) contains '${local.outbox}'", what = local.outbox_what }
      rotation-crashes = { query = "AppRequests | where AppRoleName =~ '${local.rotation_app}' and Success == false", what = "Runs of the rotation fail." }
      # The one row that there always is says how many there were.
      rotation-idle = { query = "AppRequests | where AppRoleName =~ '${local.rotation_app}' | count | where Count == 0", window = local.idle, what = "The rotation has not run for a day." }
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
  evaluation_frequency = can(each.value.window) ? "PT1H" : "PT15M"
  window_duration      = try(each.value.window, "PT15M")
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
}

# Who else reads the secrets is in the vaults' audit log.
locals {
  watched_vaults = !local.watched ? {} : { for v in distinct([for s in local.secrets_in : s.vault]) : v => lookup(var.platform.key_vaults, v, "") if contains(keys(var.platform.key_vaults), v) }
  known_readers  = distinct(concat([local.gateway], local.rotates ? [local.rotator] : [], tolist(var.alarms.readers == null ? [] : var.alarms.readers)))
  stranger = join(" ", [
    "AzureDiagnostics | where ResourceProvider == 'MICROSOFT.KEYVAULT' and OperationName == 'SecretGet'",
    "| extend secret = tolower(tostring(split(id_s, '/')[4]))",
    "| where secret in (${join(", ", sort([for s in local.secrets_in : "'${lower(s.name)}'"]))})",
    "| where identity_claim_oid_g !in (${join(", ", [for r in local.known_readers : "'${r}'"])})",
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
