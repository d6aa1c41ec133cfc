# The function that renews stored keys, and tokens before anybody asks for them;
# what it remembers, and who starts it. Without anything to renew there is none.

locals {
  rotation_function    = "${var.name}-rotate"
  rotation_environment = merge(local.environment, local.redis_environment.rotate, { POSTERN_LEDGER = local.ledger }, local.audit_environment)
  ledger               = "${var.name}-rotation"
  # Minutes and hours of a line of cron, in UTC, on every day.
  schedule = split(" ", var.rotation_schedule)
}

resource "aws_cloudwatch_log_group" "rotate" {
  count             = local.rotates ? 1 : 0
  name              = "/aws/lambda/${local.rotation_function}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_lambda_function" "rotate" {
  count            = local.rotates ? 1 : 0
  function_name    = local.rotation_function
  description      = "Renews the stored keys of ${var.name}"
  role             = aws_iam_role.rotate[0].arn
  filename         = var.packages.rotate
  source_code_hash = try(filebase64sha256(var.packages.rotate), null)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.platform.architecture == "amd64" ? "x86_64" : "arm64"]
  memory_size      = 256
  # A run does what can be done now; the next one goes on.
  timeout = 300
  publish = true
  tags    = var.tags

  environment {
    variables = local.rotation_environment
  }

  dynamic "vpc_config" {
    for_each = local.network
    content {
      subnet_ids         = vpc_config.value.subnets
      security_group_ids = vpc_config.value.security_groups
    }
  }

  logging_config {
    log_format            = "JSON"
    application_log_level = "INFO"
    system_log_level      = "WARN"
    log_group             = aws_cloudwatch_log_group.rotate[0].name
  }

  lifecycle {
    precondition {
      # Lambda measures the bytes of it as JSON.
      condition     = length(base64encode(jsonencode(local.rotation_environment))) / 4 * 3 <= 4096
      error_message = "The environment of a Lambda function has 4 KB, in which a line's end and a quotation mark count twice: shorten the document, its comments first."
    }
  }

  depends_on = [aws_iam_role_policy.rotate]
}

# What starts it, starts the alias, so that going back is to move the alias.
resource "aws_lambda_alias" "rotate" {
  count            = local.rotates ? 1 : 0
  name             = "live"
  function_name    = aws_lambda_function.rotate[0].function_name
  function_version = aws_lambda_function.rotate[0].version
}

# What could not be delivered, and runs that failed three times.
resource "aws_sqs_queue" "rotate" {
  count                     = local.rotates ? 1 : 0
  name                      = "${local.rotation_function}-failed"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_lambda_function_event_invoke_config" "rotate" {
  count                        = local.rotates ? 1 : 0
  function_name                = aws_lambda_function.rotate[0].function_name
  qualifier                    = aws_lambda_alias.rotate[0].name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 3600

  destination_config {
    on_failure {
      destination = aws_sqs_queue.rotate[0].arn
    }
  }
}

resource "aws_scheduler_schedule_group" "rotate" {
  count = local.rotates ? 1 : 0
  name  = local.rotation_function
  tags  = var.tags
}

resource "aws_scheduler_schedule" "rotate" {
  count                        = local.rotates ? 1 : 0
  name                         = local.rotation_function
  description                  = "Has the rotation look for what is due"
  group_name                   = aws_scheduler_schedule_group.rotate[0].name
  schedule_expression          = "cron(${replace(local.schedule[0], "*/", "0/")} ${replace(local.schedule[1], "*/", "0/")} * * ? *)"
  schedule_expression_timezone = "UTC"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_alias.rotate[0].arn
    role_arn = aws_iam_role.schedule[0].arn
    input    = jsonencode({ postern = "rotate" })
    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 3
    }
    dead_letter_config {
      arn = aws_sqs_queue.rotate[0].arn
    }
  }
}

# Secrets Manager may start a rotation too, where a secret's own rotation names
# this function.
resource "aws_lambda_permission" "secrets" {
  count          = length(local.rotated_secret_names) > 0 ? 1 : 0
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.rotate[0].function_name
  qualifier      = aws_lambda_alias.rotate[0].name
  principal      = "secretsmanager.amazonaws.com"
  source_account = local.account
}

# What rotations remember. A record that has expired goes by itself.
resource "aws_dynamodb_table" "ledger" {
  count                       = local.rotates ? 1 : 0
  name                        = local.ledger
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "pk"
    type = "S"
  }
  ttl {
    attribute_name = "expires"
    enabled        = true
  }
  point_in_time_recovery {
    enabled = true
  }
}

# It goes before everything that it depends on, or refuses to, and so keeps that.
resource "terraform_data" "rotation" {
  count = local.rotates ? 1 : 0
  input = {
    end = var.deletion_protection ? "echo 'The rotation of stored keys may be under way. End it as the README says, and apply with deletion_protection = false first.' >&2 && exit 1" : "exit 0"
  }

  provisioner "local-exec" {
    when    = destroy
    command = self.output.end
  }

  # Another name is another deployment, and the end of this one.
  lifecycle {
    replace_triggered_by = [aws_dynamodb_table.ledger[0].name]
  }

  depends_on = [
    aws_lambda_function.gateway, aws_lambda_function_url.gateway, aws_lambda_permission.url, aws_lambda_permission.invoke,
    aws_scheduler_schedule.rotate, aws_lambda_function_event_invoke_config.rotate, aws_lambda_permission.secrets, aws_dynamodb_table.ledger,
    aws_cloudwatch_event_archive.this, aws_iam_role_policy.gateway, aws_iam_role_policy.rotate, aws_iam_role_policy.schedule,
  ]
}
