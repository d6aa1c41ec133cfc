# Where events go: a bus, whose archive keeps them for as long as logs are kept.

resource "aws_cloudwatch_event_bus" "this" {
  name        = var.name
  description = "Events about credentials, callers and documents of ${var.name}"
  tags        = var.tags
}

resource "aws_cloudwatch_event_archive" "this" {
  name             = var.name
  description      = "What was on the bus ${var.name}"
  event_source_arn = aws_cloudwatch_event_bus.this.arn
  event_pattern    = jsonencode({ source = [{ prefix = "ai.postern." }] })
  retention_days   = var.log_retention_days
}
