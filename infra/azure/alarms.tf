resource "azurerm_monitor_metric_alert" "server_errors" {
  name                = "${var.name}-gateway-server-errors"
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
  }

  dynamic "action" {
    for_each = var.alarms.notify
    content {
      action_group_id = action.value
    }
  }
}
