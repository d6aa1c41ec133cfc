# One page: how requests fare, who uses what, and how the keys are.

locals {
  # Requests are counted by what they come through: a front, or the function URL.
  counted = try(
    { of = ["AWS/ApiGateway", "ApiId", aws_apigatewayv2_api.gateway[0].id], counts = ["Count", "4xx", "5xx"], time = "Latency", unit = "ms" },
    { of = ["AWS/ApplicationELB", "LoadBalancer", aws_lb.gateway[0].arn_suffix], counts = ["RequestCount", "HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count"], time = "TargetResponseTime", unit = "s" },
    { of = ["AWS/Lambda", "FunctionName", local.function], counts = ["UrlRequestCount", "Url4xxCount", "Url5xxCount"], time = "UrlRequestLatency", unit = "ms" },
  )
  panels = concat(
    [
      { title = "Requests", metrics = concat([for m in local.counted.counts : [local.counted.of[0], m, local.counted.of[1], local.counted.of[2]]], [["AWS/Lambda", "Throttles", "FunctionName", local.function]]) },
      { title = "Time to the whole answer, ${local.counted.unit}", stat = "p90", metrics = [[local.counted.of[0], local.counted.time, local.counted.of[1], local.counted.of[2]]] },
      { title = "Instances", stat = "Maximum", metrics = [["AWS/Lambda", "ConcurrentExecutions", "FunctionName", local.function]] },
      { title = "Tokens by upstream and model", query = "SOURCE '/aws/lambda/${local.function}' | filter msg = 'request' | stats count(*) as requests, sum(usage.prompt_tokens) as prompt, sum(usage.completion_tokens) as completion, avg(first_token_ms) as first_token_ms by upstream, model | sort requests desc" },
      { title = "Failed requests", query = "SOURCE '/aws/lambda/${local.function}' | filter msg = 'request' and status >= 400 | stats count(*) as requests by status, error_type, upstream | sort requests desc" },
    ],
    [for panel in [
      { title = "Rotation", metrics = concat([["AWS/Lambda", "Invocations", "FunctionName", local.rotation_function], [".", "Errors", ".", "."]], [for name in concat(keys(local.signs), ["outbox-stuck"]) : [local.namespace, name]]) },
      { title = "Where each rotation stands", query = "SOURCE '/aws/lambda/${local.rotation_function}' | filter msg = 'rotation' | stats latest(outcome) as outcome, latest(phase) as phase, latest(@timestamp) as at by credential" },
    ] : panel if local.rotates],
    [{ title = "Events", query = "${join(" | ", [for f in concat([local.function], local.rotates ? [local.rotation_function] : []) : "SOURCE '/aws/lambda/${f}'"])} | filter ispresent(specversion) | fields @timestamp, type, subject, source | sort @timestamp desc | limit 50" }],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for i, p in local.panels : {
      type   = can(p.query) ? "log" : "metric"
      x      = (i % 2) * 12
      y      = floor(i / 2) * 6
      width  = 12
      height = 6
      properties = merge(
        { title = p.title, region = local.region },
        try({ view = "table", query = p.query }, { view = "timeSeries", stat = try(p.stat, "Sum"), period = 300, metrics = p.metrics }),
      )
    }]
  })
}
