# One page: how requests fare, who uses what, and how the keys are.

locals {
  gateway_lines = "AppTraces | where AppRoleName =~ '${local.app}' | extend line = parse_json(Message)"
  panels = concat(
    [
      { title = "Requests by status", chart = true, query = "AppRequests | where AppRoleName =~ '${local.app}' | summarize count() by ResultCode, bin(TimeGenerated, 5m)" },
      { title = "Time to the whole answer, ms", chart = true, query = "AppRequests | where AppRoleName =~ '${local.app}' | summarize percentile(DurationMs, 90) by bin(TimeGenerated, 5m)" },
      { title = "Tokens by upstream and model", query = "${local.gateway_lines} | where line.msg == 'request' | summarize requests = count(), prompt = sum(tolong(line.usage.prompt_tokens)), completion = sum(tolong(line.usage.completion_tokens)), first_token_ms = avg(todouble(line.first_token_ms)) by upstream = tostring(line.upstream), model = tostring(line.model)" },
      { title = "Failed requests", query = "${local.gateway_lines} | where line.msg == 'request' and toint(line.status) >= 400 | summarize requests = count() by status = toint(line.status), error = tostring(line.error_type), upstream = tostring(line.upstream)" },
    ],
    [for panel in [
      { title = "Runs of the rotation", chart = true, query = "AppRequests | where AppRoleName =~ '${local.rotation_app}' | summarize count() by tostring(Success), bin(TimeGenerated, 15m)" },
      { title = "Where each rotation stands", query = "${local.lines} | where line.msg == 'rotation' | summarize arg_max(TimeGenerated, line) by credential = tostring(line.credential) | project credential, outcome = tostring(line.outcome), phase = tostring(line.phase), TimeGenerated" },
    ] : panel if local.rotates],
    [{ title = "Events", query = "AppTraces | where AppRoleName in~ (${join(", ", [for app in concat([local.app], local.rotates ? [local.rotation_app] : []) : "'${app}'"])}) | extend line = parse_json(Message) | where line.specversion == '1.0' | project TimeGenerated, type = tostring(line.type), subject = tostring(line.subject), source = tostring(line.source) | order by TimeGenerated desc | take 50" }],
  )
}

resource "azurerm_application_insights_workbook" "this" {
  # A name is a UUID here.
  name                = uuidv5("url", "https://postern/${local.app}")
  resource_group_name = var.platform.resource_group_name
  location            = var.platform.location
  display_name        = var.name
  source_id           = lower(azurerm_log_analytics_workspace.gateway.id)
  tags                = var.tags

  data_json = jsonencode({
    version = "Notebook/1.0"
    items = [for i, p in local.panels : {
      type        = 3
      name        = "panel ${i}"
      customWidth = "50"
      content = {
        version       = "KqlItem/1.0"
        title         = p.title
        query         = p.query
        size          = 0
        queryType     = 0
        resourceType  = "microsoft.operationalinsights/workspaces"
        timeContext   = { durationMs = 86400000 }
        visualization = try(p.chart, false) ? "timechart" : "table"
      }
    }]
  })
}
