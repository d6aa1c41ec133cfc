locals {
  alarms = {
    server-errors = { metric = "Url5xxCount", threshold = var.alarms.server_errors, what = "answers requests with server errors" }
    crashes       = { metric = "Errors", threshold = 1, what = "ends unexpectedly, or takes longer than it may" }
    throttles     = { metric = "Throttles", threshold = 1, what = "has no instance left for a request" }
  }
}

resource "aws_cloudwatch_metric_alarm" "gateway" {
  for_each            = local.alarms
  alarm_name          = "${local.function}-${each.key}"
  alarm_description   = "The gateway ${each.value.what}."
  namespace           = "AWS/Lambda"
  metric_name         = each.value.metric
  dimensions          = { FunctionName = aws_lambda_function.gateway.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarms.notify
  ok_actions          = var.alarms.notify
  tags                = var.tags
}
