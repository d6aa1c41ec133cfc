locals {
  function = "${var.name}-gateway"
  # A function URL with IAM takes the Authorization header for its signature,
  # so a document with both kinds of callers cannot work there.
  authorization = length(var.callers) > 0 ? "AWS_IAM" : "NONE"
  # By a name that is known before the principal is.
  principals = local.fronted ? {} : (
    local.authorization == "NONE" ? { "*" = "*" } :
    local.requires_mfa ? { mfa = aws_iam_role.callers[0].arn } :
    { for c in var.callers : c => c }
  )

  # Client certificates are checked by what is in front, and nobody gets past it.
  fronted = anytrue([for front in ["api_gateway", "alb"] : contains(local.fronts, front)])

  environment = merge(
    { POSTERN_CONFIG = local.text, POSTERN_EVENT_BUS = aws_cloudwatch_event_bus.this.name, POSTERN_DEPLOYMENT = var.name },
    local.requires_mfa ? { POSTERN_IAM_MFA = "true" } : {},
  )
  gateway_environment = merge(local.environment, local.redis_environment.gateway)

  # A second factor that the document requires. The function cannot see whether
  # an IAM caller had one, so nobody but the holders of a role may call it, and
  # nobody gets the role without one.
  requires_mfa = local.authorization == "AWS_IAM" && anytrue(concat(
    [for u in local.entries : try(tobool(u.mfa_required), false)],
    [for r in try(local.parsed.policy, []) : contains(["users", "always"], try(r.mfa, ""))],
  ))
}

resource "aws_iam_role" "callers" {
  count                = local.requires_mfa ? 1 : 0
  name                 = "${var.name}-callers"
  description          = "Whoever has it may call the gateway; it takes a second factor to get it"
  max_session_duration = 3600
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = sort(var.callers) }
      Action    = "sts:AssumeRole"
      Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } }
    }]
  })
}

resource "aws_cloudwatch_log_group" "gateway" {
  name              = "/aws/lambda/${local.function}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_lambda_function" "gateway" {
  function_name    = local.function
  description      = "OpenAI-compatible gateway without stored keys"
  role             = aws_iam_role.gateway.arn
  filename         = var.packages.gateway
  source_code_hash = filebase64sha256(var.packages.gateway)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.platform.architecture == "amd64" ? "x86_64" : "arm64"]
  # The processor's share grows with the memory; the gateway itself needs less.
  memory_size = 512
  # The function ends requests itself, a second before the platform would.
  timeout                        = min(900, local.request_seconds + 5)
  reserved_concurrent_executions = var.max_instances == null ? -1 : var.max_instances
  publish                        = true
  tags                           = var.tags

  environment {
    variables = local.gateway_environment
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
    log_group             = aws_cloudwatch_log_group.gateway.name
  }

  lifecycle {
    precondition {
      condition     = local.admission == ""
      error_message = local.admission
    }
    precondition {
      condition     = contains(local.fronts, "api_gateway") == (var.platform.api_gateway != null)
      error_message = "The document has fronts.api_gateway exactly when platform.api_gateway describes it: ${contains(local.fronts, "api_gateway") ? "give platform.api_gateway, or remove the front" : "declare the front, or remove platform.api_gateway"}."
    }
    precondition {
      condition     = contains(local.fronts, "alb") == (var.platform.load_balancer != null)
      error_message = "The document has fronts.alb exactly when platform.load_balancer describes it: ${contains(local.fronts, "alb") ? "give platform.load_balancer, or remove the front" : "declare the front, or remove platform.load_balancer"}."
    }
    precondition {
      condition     = !(contains(local.fronts, "api_gateway") && contains(local.fronts, "alb"))
      error_message = "A gateway has one address, and the document has two fronts for it: remove fronts.api_gateway or fronts.alb, or deploy a gateway for each under another name."
    }
    precondition {
      condition     = !(local.fronted && length(var.callers) > 0)
      error_message = "With fronts.api_gateway or fronts.alb there is no function URL that IAM callers could call: remove the variable callers."
    }
    precondition {
      condition     = !(local.token_callers && length(var.callers) > 0)
      error_message = "A function URL with IAM takes the Authorization header for itself: have callers in the document or platform_callers with the variable callers, not both."
    }
    precondition {
      condition     = alltrue([for n in local.network : length(n.security_groups) > 0])
      error_message = "A function of Lambda in a network has a security group there: give network.security_groups."
    }
    precondition {
      # Lambda measures the bytes of it as JSON.
      condition     = length(base64encode(jsonencode(local.gateway_environment))) / 4 * 3 <= 4096
      error_message = "The environment of a Lambda function has 4 KB, in which a line's end and a quotation mark count twice: shorten the document, its comments first."
    }
  }

  depends_on = [aws_iam_role_policy.gateway]
}

# The URL is that of the alias, so that going back is to move the alias.
resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.gateway.function_name
  function_version = aws_lambda_function.gateway.version
}

resource "aws_lambda_function_url" "gateway" {
  count              = local.fronted ? 0 : 1
  function_name      = aws_lambda_function.gateway.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = local.authorization
  invoke_mode        = "RESPONSE_STREAM"
}

# A call by way of the URL needs both permissions.
resource "aws_lambda_permission" "url" {
  for_each               = local.principals
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.gateway.function_name
  qualifier              = aws_lambda_alias.live.name
  principal              = each.value
  function_url_auth_type = local.authorization
}

resource "aws_lambda_permission" "invoke" {
  for_each                 = local.principals
  action                   = "lambda:InvokeFunction"
  function_name            = aws_lambda_function.gateway.function_name
  qualifier                = aws_lambda_alias.live.name
  principal                = each.value
  invoked_via_function_url = true
}
