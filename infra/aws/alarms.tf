locals {
  alarms = merge(
    {
      server-errors = merge({ threshold = var.alarms.server_errors, what = "The gateway answers requests with server errors." },
        try(
          { namespace = "AWS/ApiGateway", metric = "5xx", dimensions = { ApiId = aws_apigatewayv2_api.gateway[0].id } },
          { namespace = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count", dimensions = { LoadBalancer = aws_lb.gateway[0].arn_suffix } },
          { metric = "Url5xxCount" },
        ),
      )
      crashes   = { metric = "Errors", threshold = 1, what = "The gateway ends unexpectedly, or takes longer than it may." }
      throttles = { metric = "Throttles", threshold = 1, what = "The gateway has no instance left for a request." }
    },
    # Its own errors are in no count of the function's.
    { for name in ["load-balancer"] : name => {
      namespace = "AWS/ApplicationELB", metric = "HTTPCode_ELB_5XX_Count", dimensions = { LoadBalancer = aws_lb.gateway[0].arn_suffix }
      threshold = var.alarms.server_errors, what = "The load balancer answers with errors of its own: it gets no reply from the gateway, or none that it can use."
    } if length(local.balancer) > 0 },
    { for name, sign in local.signs : name => { namespace = local.namespace, metric = name, what = sign.what } },
    { for name, alarm in {
      outbox-stuck     = { namespace = local.namespace, metric = "outbox-stuck", what = local.outbox_what }
      rotation-crashes = { of = local.rotation_function, metric = "Errors", what = "Runs of the rotation fail." }
      # Nothing is heard of it for a day, and for an hour more, as it may run but once.
      rotation-idle = { of = local.rotation_function, metric = "Invocations", comparison = "LessThanThreshold", period = 3600, periods = 25, missing = "breaching", what = "The rotation has not run for a day." }
      undelivered   = { namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = "${local.rotation_function}-failed" }, what = "Runs of the rotation were given up." }
    } : name => alarm if local.rotates },
    { for name in ["stranger"] : name => { namespace = local.namespace, metric = name, what = local.stranger_what } if local.watched },
  )
  namespace = "Postern/${var.name}"
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.what
  namespace           = try(each.value.namespace, "AWS/Lambda")
  metric_name         = each.value.metric
  dimensions          = can(each.value.namespace) ? try(each.value.dimensions, null) : { FunctionName = try(each.value.of, local.function) }
  statistic           = try(each.value.namespace, "") == "AWS/SQS" ? "Maximum" : "Sum"
  period              = try(each.value.period, 300)
  evaluation_periods  = try(each.value.periods, 1)
  comparison_operator = try(each.value.comparison, "GreaterThanOrEqualToThreshold")
  threshold           = try(each.value.threshold, 1)
  treat_missing_data  = try(each.value.missing, "notBreaching")
  alarm_actions       = var.alarms.notify
  ok_actions          = var.alarms.notify
  tags                = var.tags

  lifecycle {
    precondition {
      condition     = length(var.alarms.notify) <= 5
      error_message = "An alarm of CloudWatch notifies five topics at most: shorten alarms.notify, or subscribe to the topics that are there."
    }
  }
}

resource "aws_cloudwatch_log_metric_filter" "rotate" {
  for_each = merge(
    { for name, sign in local.signs : name => "{ $.type = \"${sign.type}\" }" },
    local.rotates ? { outbox-stuck = "{ $.error = \"*${local.outbox}*\" }" } : {},
  )
  name           = "${var.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.rotate[0].name
  pattern        = each.value
  metric_transformation {
    namespace = local.namespace
    name      = each.key
    value     = "1"
  }
}

# Who else reads the secrets is in CloudTrail, of which the account has to have a
# trail. Reading is what EventBridge only passes on when a rule says so. It knows
# each secret that is read together with others as one that is read by itself.
resource "aws_cloudwatch_event_rule" "stranger" {
  count       = length(local.watched_ids)
  name        = "${var.name}-stranger${count.index == 0 ? "" : "-${count.index + 1}"}"
  description = local.stranger_what
  state       = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
  tags        = var.tags
  event_pattern = jsonencode({
    source = ["aws.secretsmanager"]
    detail = {
      eventName         = ["GetSecretValue"]
      requestParameters = { secretId = local.watched_ids[count.index] }
      "$or" = [
        { userIdentity = { sessionContext = { sessionIssuer = { arn = [{ "anything-but" = local.known_roles }] } } } },
        # A user and root have no session, and so no role.
        { userIdentity = merge({ sessionContext = { sessionIssuer = { arn = [{ exists = false }] } } }, [for known in [local.known_users] : { arn = [{ "anything-but" = known }] } if length(known) > 0]...) },
      ]
    }
  })

  lifecycle {
    precondition {
      condition     = length(local.known_roles) + length(local.known_users) <= 12
      error_message = "A rule of EventBridge has 2048 characters, which are enough for ten alarms.readers."
    }
  }
}

locals {
  # A secret is asked for by its name, its ARN, or the ARN without its end. So many
  # fit into a rule.
  watched_ids = !local.watched ? [] : [for names in chunklist(sort(keys(local.arn_of)), 3) :
    sort(distinct(flatten([for name in names : [name, local.arn_of[name], replace(local.arn_of[name], "/-[A-Za-z0-9]{6}$/", "")]])))
  ]
  delivery = {
    Effect    = "Allow"
    Principal = { Service = ["events.amazonaws.com", "delivery.logs.amazonaws.com"] }
    Resource  = "${join("", aws_cloudwatch_log_group.stranger[*].arn)}:*"
  }
  known_readers = sort(distinct(concat([aws_iam_role.gateway.arn], aws_iam_role.rotate[*].arn, tolist(var.alarms.readers == null ? [] : var.alarms.readers))))
  known_users   = [for arn in local.known_readers : arn if strcontains(arn, ":user/") || endswith(arn, ":root")]
  known_roles   = [for arn in local.known_readers : arn if !contains(local.known_users, arn)]
}

# What it was is kept here.
resource "aws_cloudwatch_log_group" "stranger" {
  count             = local.watched ? 1 : 0
  name              = "/aws/events/${var.name}-stranger"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_cloudwatch_log_resource_policy" "stranger" {
  count       = local.watched ? 1 : 0
  policy_name = "${var.name}-stranger"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # It is not said for which rule a stream is made.
      merge(local.delivery, { Action = ["logs:CreateLogStream"] }),
      merge(local.delivery, { Action = ["logs:PutLogEvents"], Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.stranger[*].arn } } }),
    ]
  })
}

resource "aws_cloudwatch_event_target" "stranger" {
  count = length(local.watched_ids)
  rule  = aws_cloudwatch_event_rule.stranger[count.index].name
  arn   = aws_cloudwatch_log_group.stranger[0].arn
}

resource "aws_cloudwatch_log_metric_filter" "stranger" {
  count          = local.watched ? 1 : 0
  name           = "${var.name}-stranger"
  log_group_name = aws_cloudwatch_log_group.stranger[0].name
  pattern        = "{ $.source = \"aws.secretsmanager\" }"
  metric_transformation {
    namespace = local.namespace
    name      = "stranger"
    value     = "1"
  }
}
