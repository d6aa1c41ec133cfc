# The rotation function renews the keys of the document, and can do nothing else.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  packages            = { gateway = "tests/testdata/package.zip", rotate = "tests/testdata/package.zip" }
  config_file         = "tests/testdata/rotation.yaml"
  deletion_protection = false
  audit_key           = "arn:aws:kms:eu-west-1:111122223333:alias/audit"
}

override_data {
  target = data.aws_kms_key.audit
  values = { arn = "arn:aws:kms:eu-west-1:111122223333:key/audit" }
}

override_data {
  target = data.aws_secretsmanager_secret.this["azure"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:azure-000001", kms_key_id = "k1" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["openai-admin"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:openai-admin-000002", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["router-admin"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:router-admin-000003", kms_key_id = "k3" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["openai"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:openai-000004", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["app-secret"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:app-secret-000005", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["iam-key"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:iam-key-000006", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["other-account-key"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:other-account-key-000007", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["bedrock-key"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:bedrock-key-000008", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["google"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:google-000009", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["anthropic"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:anthropic-000010", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["router"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:router-000011", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["other-key"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:other-key-000012", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["hook"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:hook-000013", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["certificate"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:certificate-000014", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["redis-password"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:redis-password-000015", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["redis-key"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:redis-key-000016", kms_key_id = "" }
}
override_data {
  target = data.aws_iam_user.rotated["gateway"]
  values = { arn = "arn:aws:iam::111122223333:user/apps/gateway" }
}
override_data {
  target = data.aws_iam_user.rotated["mantle"]
  values = { arn = "arn:aws:iam::111122223333:user/mantle" }
}
override_resource {
  target = aws_iam_role.rotate
  values = { arn = "arn:aws:iam::111122223333:role/postern-rotate" }
}

run "a_document_with_every_issuer" {
  assert {
    condition     = output.rotation_identity == "arn:aws:iam::111122223333:role/postern-rotate" && output.rotation_identity != output.gateway_identity && aws_lambda_function.rotate[0].role == output.rotation_identity
    error_message = "the rotation function has an identity of its own"
  }
  assert {
    condition = aws_lambda_function.rotate[0].environment[0].variables == tomap({
      POSTERN_CONFIG    = file("tests/testdata/rotation.yaml"), POSTERN_EVENT_BUS = "postern", POSTERN_LEDGER = "postern-rotation", POSTERN_DEPLOYMENT = "postern",
      POSTERN_AUDIT_KEY = "arn:aws:kms:eu-west-1:111122223333:alias/audit",
    })
    error_message = "it gets the gateway's document, the bus, the ledger and the deployment's name"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s if s.Sid == "Rotated"]) == {
      Sid    = "Rotated"
      Effect = "Allow"
      Action = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
      Resource = [
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:anthropic-000010",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:app-secret-000005",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:azure-000001",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:bedrock-key-000008",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:google-000009",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:iam-key-000006",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:openai-000004",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:openai-admin-000002",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:other-account-key-000007",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:other-key-000012",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:router-000011",
      ]
    }
    error_message = "it may read, stage and promote exactly the secrets that are rotated"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : [s.Action, s.Resource] if s.Sid == "Secrets"]) == [["secretsmanager:GetSecretValue"], [
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:certificate-000014",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:hook-000013",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:redis-key-000016",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:redis-password-000015",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:router-admin-000003",
    ]]
    error_message = "it may read the issuers' admin credentials and what the tokens take that it renews, and replace none of them"
  }
  assert {
    condition = { for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Sid => [s.Action, s.Resource] if contains(["SecretKeys", "RotatedKeys"], s.Sid) } == {
      SecretKeys  = [["kms:Decrypt"], ["arn:aws:kms:eu-west-1:111122223333:key/k3"]]
      RotatedKeys = [["kms:Decrypt", "kms:GenerateDataKey"], ["arn:aws:kms:eu-west-1:111122223333:key/k1"]]
    }
    error_message = "the keys of secrets may encrypt what is replaced, and only decrypt what is read"
  }
  assert {
    condition = { for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Sid => s.Resource if contains(["AccessKeys", "BedrockKeys"], s.Sid) } == {
      AccessKeys  = ["arn:aws:iam::111122223333:user/apps/gateway"]
      BedrockKeys = ["arn:aws:iam::111122223333:user/mantle"]
    }
    error_message = "it may change the keys of exactly the users that the document names"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Resource if s.Sid == "Roles"]) == ["arn:aws:iam::444455556666:role/keys"]
    error_message = "it may assume the roles of keys in other accounts, and no role that calls models"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Condition if s.Sid == "PlatformToken"])["ForAllValues:StringEquals"]["sts:IdentityTokenAudience"] == [
      "api://AzureADTokenExchange",
    ]
    error_message = "it shows the platform's token to issuers at Azure, and not where the gateway alone goes"
  }
  assert {
    condition     = [for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : [s.Action, s.Resource] if s.Sid == "Signatures"] == [[["kms:GetPublicKey", "kms:Sign"], ["arn:aws:kms:eu-west-1:111122223333:key/audit"]]]
    error_message = "it may sign with the key that an alias leads to"
  }
  assert {
    condition     = [for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : [s.Action, s.Resource] if s.Sid == "Ledger"] == [[["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem"], ["arn:aws:dynamodb:eu-west-1:111122223333:table/postern-rotation"]]]
    error_message = "it may read and write records of its ledger"
  }
  assert {
    condition     = aws_dynamodb_table.ledger[0].hash_key == "pk" && aws_dynamodb_table.ledger[0].ttl[0].attribute_name == "expires" && aws_dynamodb_table.ledger[0].billing_mode == "PAY_PER_REQUEST"
    error_message = "the ledger is the table that the function expects, and costs nothing at rest"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Condition if s.Sid == "Events"]) == { StringEquals = { "events:source" = "ai.postern.postern-rotate" } }
    error_message = "it may put events on the bus under its own name"
  }
  assert {
    condition = length(setintersection(flatten([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Action if s.Effect == "Allow"]), [
      "bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream", "execute-api:Invoke",
    ])) == 0 && contains(flatten([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Action if s.Effect == "Deny" && s.Resource == ["*"]]), "bedrock:InvokeModel")
    error_message = "the rotation function cannot call a model"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : alltrue([for a in s.Action : !strcontains(a, "*")])])
    error_message = "no action has a star"
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : alltrue([for r in s.Resource : !strcontains(r, "*")])
    if s.Effect == "Allow" && !contains(["Logs", "PlatformToken"], s.Sid)])
    error_message = "no resource has a star but the streams of the function's own log group, and the token that knows no resource"
  }
  assert {
    condition     = length([for a in flatten([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Action]) : a if can(regex("^secretsmanager:(Put|Update|Delete|Create)|^iam:|^dynamodb:", a))]) == 0
    error_message = "the gateway replaces no secret, changes no key and has no ledger"
  }
  assert {
    condition     = aws_scheduler_schedule.rotate[0].schedule_expression == "cron(0/15 * * * ? *)" && aws_scheduler_schedule.rotate[0].target[0].input == "{\"postern\":\"rotate\"}" && aws_scheduler_schedule.rotate[0].target[0].arn == aws_lambda_alias.rotate[0].arn
    error_message = "the scheduler has it look for what is due every quarter of an hour"
  }
  assert {
    condition     = aws_scheduler_schedule.rotate[0].target[0].retry_policy[0].maximum_retry_attempts == 3 && aws_scheduler_schedule.rotate[0].target[0].dead_letter_config[0].arn == aws_sqs_queue.rotate[0].arn && aws_lambda_function_event_invoke_config.rotate[0].destination_config[0].on_failure[0].destination == aws_sqs_queue.rotate[0].arn
    error_message = "what fails is tried again, and what fails for good is kept"
  }
  assert {
    condition     = [for s in jsondecode(aws_iam_role_policy.schedule[0].policy).Statement : [s.Action, s.Resource]] == [[["lambda:InvokeFunction"], [aws_lambda_alias.rotate[0].arn]], [["sqs:SendMessage"], [aws_sqs_queue.rotate[0].arn]]]
    error_message = "the scheduler may start this function, and nothing else"
  }
  assert {
    condition     = jsondecode(aws_iam_role.schedule[0].assume_role_policy).Statement[0].Condition == { StringEquals = { "aws:SourceAccount" = "111122223333", "aws:SourceArn" = aws_scheduler_schedule_group.rotate[0].arn } }
    error_message = "nobody else's schedule has that right"
  }
  assert {
    condition     = aws_lambda_permission.secrets[0].principal == "secretsmanager.amazonaws.com" && aws_lambda_permission.secrets[0].source_account == "111122223333" && aws_lambda_permission.secrets[0].qualifier == "live"
    error_message = "Secrets Manager may start rotations of this account"
  }
  assert {
    condition = { for name, f in aws_cloudwatch_log_metric_filter.rotate : name => f.pattern } == {
      rotation-failed = "{ $.type = \"AI_PROVIDER_TOKEN_ROTATION_FAILED\" }"
      orphaned        = "{ $.type = \"AI_PROVIDER_TOKEN_ORPHANED\" }"
      operator-due    = "{ $.type = \"AI_PROVIDER_TOKEN_OPERATOR_DUE\" }"
      outbox-stuck    = "{ $.error = \"*the bus has not accepted its audit events*\" }"
    }
    error_message = "rotations that fail, stop, wait for somebody or cannot tell are counted in the function's log"
  }
  assert {
    condition = toset([for a in aws_cloudwatch_metric_alarm.this : "${a.namespace} ${a.metric_name} ${jsonencode(a.dimensions)}"]) == toset([
      "AWS/Lambda Url5xxCount {\"FunctionName\":\"postern-gateway\"}", "AWS/Lambda Errors {\"FunctionName\":\"postern-gateway\"}", "AWS/Lambda Throttles {\"FunctionName\":\"postern-gateway\"}",
      "Postern/postern rotation-failed null", "Postern/postern orphaned null", "Postern/postern operator-due null", "Postern/postern outbox-stuck null",
      "AWS/Lambda Errors {\"FunctionName\":\"postern-rotate\"}", "AWS/Lambda Invocations {\"FunctionName\":\"postern-rotate\"}", "AWS/SQS ApproximateNumberOfMessagesVisible {\"QueueName\":\"postern-rotate-failed\"}",
    ])
    error_message = "each of these is an alarm, and so are runs that fail, are given up or do not take place"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["rotation-idle"].period * aws_cloudwatch_metric_alarm.this["rotation-idle"].evaluation_periods == 90000 && aws_cloudwatch_metric_alarm.this["rotation-idle"].treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.this["rotation-idle"].comparison_operator == "LessThanThreshold"
    error_message = "that nothing is heard of the rotation is an alarm, and that it runs once a day is none"
  }
  assert {
    condition     = contains([for w in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : w.properties.title], "Where each rotation stands")
    error_message = "the dashboard shows the keys"
  }
  assert {
    condition     = strcontains(output.rotation_command, "--function-name postern-rotate:live") && strcontains(output.rotation_command, "{\"postern\":\"status\"}")
    error_message = "the command asks how the keys are"
  }
}

run "a_document_with_tokens_to_renew_and_no_keys" {
  variables {
    config_file       = "tests/testdata/proactive.yaml"
    rotation_schedule = "5 */2 * * *"
    alarms            = { notify = ["arn:aws:sns:eu-west-1:111122223333:ops"], readers = ["arn:aws:iam::111122223333:role/backup"] }
  }
  override_data {
    target = data.aws_secretsmanager_secret.this["client"]
    values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:client-000001", kms_key_id = "" }
  }
  assert {
    condition     = [for s in jsondecode(aws_iam_role_policy.rotate[0].policy).Statement : s.Sid] == ["Secrets", "Signatures", "Ledger", "Failed", "NoModels", "Events", "Logs", "NoBearerTokens"]
    error_message = "tokens that are renewed take the client's and the cache's secrets, and no secret is replaced"
  }
  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.stranger[0].event_pattern).detail["$or"][0].userIdentity.sessionContext.sessionIssuer.arn[0]["anything-but"] == [
      "arn:aws:iam::111122223333:role/backup", "arn:aws:iam::111122223333:role/postern-gateway", "arn:aws:iam::111122223333:role/postern-rotate",
    ]
    error_message = "whoever reads a secret is a stranger, but for the functions and the readers of the variable"
  }
  assert {
    condition     = length(setsubtract(["client", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:client-000001", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:client", "redis-key"], jsondecode(aws_cloudwatch_event_rule.stranger[0].event_pattern).detail.requestParameters.secretId)) == 0
    error_message = "each secret of the document is watched, by whatever name it is asked for"
  }
  assert {
    condition     = aws_cloudwatch_event_rule.stranger[0].state == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS" && aws_cloudwatch_metric_alarm.this["stranger"].metric_name == aws_cloudwatch_log_metric_filter.stranger[0].metric_transformation[0].name && aws_cloudwatch_metric_alarm.this["stranger"].alarm_actions == toset(["arn:aws:sns:eu-west-1:111122223333:ops"])
    error_message = "reads are heard of, kept, and an alarm"
  }
  assert {
    condition     = length(aws_lambda_permission.secrets) == 0
    error_message = "without rotated secrets Secrets Manager starts nothing"
  }
  assert {
    condition     = aws_scheduler_schedule.rotate[0].schedule_expression == "cron(5 0/2 * * ? *)"
    error_message = "the schedule is what the variable says"
  }
}

run "by_default_the_ledger_stays_when_everything_else_is_destroyed" {
  command = plan
  variables {
    deletion_protection = true
  }
  assert {
    condition     = aws_dynamodb_table.ledger[0].deletion_protection_enabled && strcontains(terraform_data.rotation[0].input.end, "exit 1")
    error_message = "destroying is refused while rotations may be under way"
  }
}

run "keys_to_rotate_without_the_package_that_does_it_are_refused" {
  command = plan
  variables {
    packages = { gateway = "tests/testdata/package.zip" }
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "a_schedule_that_the_platforms_do_not_share_is_refused" {
  command = plan
  variables {
    rotation_schedule = "rate(1 day)"
  }
  expect_failures = [var.rotation_schedule]
}
