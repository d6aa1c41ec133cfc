mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  packages    = { gateway = "tests/testdata/package.zip" }
  config_file = "tests/testdata/minimal.yaml"
}

# What the document with everything names.
override_module {
  target = module.profiles
  outputs = {
    profiles = {
      "eu-west-1 eu.anthropic.claude-sonnet-4-5-20250929-v1:0" = {
        arn = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
        models = [
          "arn:aws:bedrock:eu-north-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
          "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
        ]
      }
      "us-west-2 arn:aws:bedrock:us-west-2:111122223333:application-inference-profile/abc123" = {
        arn    = "arn:aws:bedrock:us-west-2:111122223333:application-inference-profile/abc123"
        models = ["arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-pro-v1:0"]
      }
    }
  }
}
override_data {
  target = data.aws_secretsmanager_secret.this["partner/keys"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:partner/keys-000001", kms_key_id = "arn:aws:kms:eu-west-1:111122223333:key/k1" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["openai"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:openai-000002", kms_key_id = "k2" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["anthropic"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:anthropic-000003", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["arn:aws:secretsmanager:eu-west-1:111122223333:secret:azure-Ab12Cd"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:azure-Ab12Cd", kms_key_id = "alias/aws/secretsmanager" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["google"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:google-000004", kms_key_id = "" }
}
override_data {
  target = data.aws_secretsmanager_secret.this["certificate"]
  values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:certificate-000005", kms_key_id = "alias/certificates" }
}
override_data {
  target = data.aws_kms_key.secret["certificate"]
  values = { arn = "arn:aws:kms:eu-west-1:111122223333:key/k3" }
}

run "a_document_with_token_callers" {
  assert {
    condition     = aws_lambda_function_url.gateway[0].invoke_mode == "RESPONSE_STREAM" && aws_lambda_function_url.gateway[0].authorization_type == "NONE"
    error_message = "the URL streams, and leaves callers to the gateway"
  }
  assert {
    condition     = [for p in aws_lambda_permission.url : [p.action, p.principal, p.function_url_auth_type, p.qualifier]] == [["lambda:InvokeFunctionUrl", "*", "NONE", "live"]]
    error_message = "everybody may call the URL"
  }
  assert {
    condition     = [for p in aws_lambda_permission.invoke : [p.action, p.principal, tostring(p.invoked_via_function_url), p.qualifier]] == [["lambda:InvokeFunction", "*", "true", "live"]]
    error_message = "everybody may invoke the function by way of its URL, and in no other way"
  }
  assert {
    condition     = aws_lambda_function.gateway.environment[0].variables == tomap({ POSTERN_CONFIG = file("tests/testdata/minimal.yaml"), POSTERN_EVENT_BUS = "postern", POSTERN_DEPLOYMENT = "postern" })
    error_message = "the function gets the document to the letter, the bus, the deployment's name and nothing else"
  }
  assert {
    condition     = aws_lambda_function.gateway.runtime == "provided.al2023" && aws_lambda_function.gateway.handler == "bootstrap" && aws_lambda_function.gateway.architectures == tolist(["arm64"])
    error_message = "the function runs the package for arm64"
  }
  assert {
    condition     = aws_lambda_function.gateway.source_code_hash == filebase64sha256("tests/testdata/package.zip")
    error_message = "another package is another version"
  }
  assert {
    condition     = aws_lambda_function.gateway.timeout == 305 && aws_lambda_function.gateway.reserved_concurrent_executions == -1
    error_message = "the function has a little more time than a request, and as many instances as the account"
  }
  assert {
    condition     = aws_lambda_alias.live.function_version == aws_lambda_function.gateway.version && aws_lambda_function.gateway.publish
    error_message = "the URL leads to a published version"
  }
  assert {
    condition     = aws_cloudwatch_log_group.gateway.retention_in_days == 30 && aws_lambda_function.gateway.logging_config[0].log_group == "/aws/lambda/postern-gateway"
    error_message = "logs are kept for 30 days"
  }
  assert {
    condition     = [for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Sid] == ["Models", "Events", "Logs", "NoBearerTokens"]
    error_message = "a document with one upstream grants that upstream's models, the bus, the logs and nothing else"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == "Models"]) == ["arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"]
    error_message = "the model that the document names is granted, by its own name and in its own region"
  }
  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.this) == ["crashes", "server-errors", "throttles"] && aws_cloudwatch_metric_alarm.this["server-errors"].threshold == 5
    error_message = "there are alarms for crashes, server errors and throttles"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : [s.Resource, s.Condition] if s.Sid == "Events"]) == [["arn:aws:events:eu-west-1:111122223333:event-bus/postern"], { StringEquals = { "events:source" = "ai.postern.postern-gateway" } }]
    error_message = "the gateway may put events on its own bus, under its own name"
  }
  assert {
    condition     = aws_cloudwatch_event_archive.this.event_source_arn == aws_cloudwatch_event_bus.this.arn && aws_cloudwatch_event_archive.this.retention_days == 30
    error_message = "events are kept as long as logs"
  }
  assert {
    condition     = length(aws_lambda_function.rotate) + length(aws_dynamodb_table.ledger) + length(aws_scheduler_schedule.rotate) + length(aws_iam_role.rotate) == 0 && output.rotation_identity == null && output.rotation_command == null
    error_message = "without anything to renew there is no rotation function"
  }
  assert {
    condition     = length(aws_cloudwatch_event_rule.stranger) + length(aws_cloudwatch_log_metric_filter.rotate) == 0
    error_message = "without secrets and rotations nobody listens for them"
  }
  assert {
    condition     = [for w in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : w.properties.title] == ["Requests", "Time to the whole answer, ms", "Instances", "Tokens by upstream and model", "Failed requests", "Events"]
    error_message = "there is a dashboard of requests and events"
  }
  assert {
    condition     = output.gateway_token.subject == output.gateway_identity && output.gateway_token.cloud == "aws"
    error_message = "other clouds are told whose token they get"
  }
  assert {
    condition     = output.event_bus == "postern"
    error_message = "the bus has the deployment's name"
  }
  assert {
    condition     = output.gateway_url == "https://abc.lambda-url.eu-west-1.on.aws/v1" && output.gateway_identity == "arn:aws:iam::111122223333:role/postern-gateway"
    error_message = "the outputs are the base URL for clients and the role"
  }
  assert {
    condition     = startswith(output.invoke_command, "curl -N https://abc.lambda-url.eu-west-1.on.aws/v1/chat/completions -H \"Authorization: Bearer $TOKEN\"") && strcontains(output.invoke_command, "\"model\":\"claude-sonnet\"")
    error_message = "the command asks for a model of the document with the caller's token"
  }
  assert {
    condition     = { for w in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : w.properties.title => w.properties.metrics[0] if startswith(w.properties.title, "Requests") || startswith(w.properties.title, "Time") } == { "Requests" = ["AWS/Lambda", "UrlRequestCount", "FunctionName", "postern-gateway"], "Time to the whole answer, ms" = ["AWS/Lambda", "UrlRequestLatency", "FunctionName", "postern-gateway"] }
    error_message = "the dashboard counts what comes through the function URL"
  }
}

run "a_document_that_is_one_upstream_with_iam_callers" {
  variables {
    config_file        = "tests/testdata/single.yaml"
    callers            = ["arn:aws:iam::111122223333:role/app", "arn:aws:iam::111122223333:role/batch"]
    max_instances      = 20
    log_retention_days = 90
    platform           = { architecture = "amd64" }
    alarms             = { notify = ["arn:aws:sns:eu-west-1:111122223333:ops"], server_errors = 50 }
    tags               = { team = "platform" }
  }
  assert {
    condition     = aws_lambda_function_url.gateway[0].authorization_type == "AWS_IAM"
    error_message = "the URL admits signed calls alone"
  }
  assert {
    condition     = toset([for p in aws_lambda_permission.url : p.principal]) == var.callers && toset([for p in aws_lambda_permission.invoke : p.principal]) == var.callers
    error_message = "each caller has both permissions, and nobody else has any"
  }
  assert {
    condition     = alltrue([for p in aws_lambda_permission.url : p.function_url_auth_type == "AWS_IAM"]) && alltrue([for p in aws_lambda_permission.invoke : p.invoked_via_function_url])
    error_message = "callers may use the URL and not invoke the function in another way"
  }
  assert {
    condition     = aws_lambda_function.gateway.architectures == tolist(["x86_64"]) && aws_lambda_function.gateway.reserved_concurrent_executions == 20
    error_message = "the architecture and the number of instances are what the variables say"
  }
  assert {
    condition     = aws_cloudwatch_log_group.gateway.retention_in_days == 90 && aws_cloudwatch_metric_alarm.this["server-errors"].threshold == 50 && aws_cloudwatch_metric_alarm.this["crashes"].alarm_actions == toset(["arn:aws:sns:eu-west-1:111122223333:ops"])
    error_message = "retention and alarms are what the variables say"
  }
  assert {
    condition     = aws_iam_role.gateway.tags == tomap({ team = "platform" }) && aws_lambda_function.gateway.tags == tomap({ team = "platform" })
    error_message = "what is made has the tags"
  }
  assert {
    condition     = strcontains(output.invoke_command, "--aws-sigv4 aws:amz:eu-west-1:lambda")
    error_message = "the command signs the call"
  }
}

run "iam_callers_of_whom_a_second_factor_is_required" {
  variables {
    config_file = "tests/testdata/mfa.yaml"
    callers     = ["arn:aws:iam::111122223333:user/bob", "arn:aws:iam::111122223333:user/alice"]
  }
  assert {
    condition = jsondecode(aws_iam_role.callers[0].assume_role_policy).Statement == [{
      Effect    = "Allow"
      Principal = { AWS = ["arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:user/bob"] }
      Action    = "sts:AssumeRole"
      Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } }
    }]
    error_message = "nobody gets the role of callers without a second factor"
  }
  assert {
    condition     = [for p in aws_lambda_permission.url : p.principal] == [aws_iam_role.callers[0].arn] && [for p in aws_lambda_permission.invoke : p.principal] == [aws_iam_role.callers[0].arn]
    error_message = "nobody may call without the role"
  }
  assert {
    condition     = aws_lambda_function.gateway.environment[0].variables["POSTERN_IAM_MFA"] == "true"
    error_message = "the function is told that IAM asks for the second factor"
  }
}

run "a_document_with_api_tokens" {
  variables {
    config_file = "tests/testdata/tokens.yaml"
  }
  override_data {
    target = data.aws_secretsmanager_secret.this["api-tokens"]
    values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:api-tokens-000001", kms_key_id = "" }
  }
  override_data {
    target = data.aws_secretsmanager_secret.this["api-token-key"]
    values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:api-token-key-000002", kms_key_id = "" }
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == "Secrets"]) == [
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:api-token-key-000002",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:api-tokens-000001",
    ]
    error_message = "the list of API tokens and its key are granted, and their callers are enough to be called by"
  }
}

run "a_document_with_everything" {
  variables {
    config_file = "tests/testdata/everything.yaml"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == "Models"]) == [
      "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0",
      "arn:aws:bedrock:eu-west-1::foundation-model/zai.glm-4.6",
      "arn:aws:bedrock:us-west-2::foundation-model/amazon.titan-text-premier-v1:0",
    ]
    error_message = "models are granted in the region of their upstream; those that another role calls are not"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == "Profiles"]) == [
      "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
      "arn:aws:bedrock:us-west-2:111122223333:application-inference-profile/abc123",
    ]
    error_message = "inference profiles are granted by their own ARN"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s if s.Sid == "Profile0"]) == {
      Sid    = "Profile0"
      Effect = "Allow"
      Action = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
      Resource = [
        "arn:aws:bedrock:eu-north-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
      ]
      Condition = { StringEquals = { "bedrock:InferenceProfileArn" = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0" } }
    }
    error_message = "the models behind a profile are granted in each of its regions, by way of the profile alone"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == "Secrets"]) == [
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:anthropic-000003",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:azure-Ab12Cd",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:certificate-000005",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:google-000004",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:openai-000002",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:partner/keys-000001",
    ]
    error_message = "each secret of the document is granted by its ARN, however the document spells it"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : [s.Resource, s.Condition] if s.Sid == "SecretKeys"]) == [
      ["arn:aws:kms:eu-west-1:111122223333:key/k1", "arn:aws:kms:eu-west-1:111122223333:key/k2", "arn:aws:kms:eu-west-1:111122223333:key/k3"],
      { StringEquals = { "kms:ViaService" = ["secretsmanager.eu-west-1.amazonaws.com"] } },
    ]
    error_message = "the keys of secrets that have their own may decrypt these secrets, also one that has been named by an alias, and AWS's own key needs no grant"
  }
  assert {
    condition = [for sid in ["Roles", "RoleTags", "RoleSource"] : one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == sid])] == [
      ["arn:aws:iam::444455556666:role/door"], ["arn:aws:iam::444455556666:role/door"], ["arn:aws:iam::444455556666:role/door"],
    ]
    error_message = "the first role of a chain may be assumed with its tags and its source identity, and the next one not"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Condition if s.Sid == "PlatformToken"])["ForAllValues:StringEquals"]["sts:IdentityTokenAudience"] == [
      "api://AzureADTokenExchange",
      "https://api.anthropic.com",
      "https://api.openai.com/v1",
      "https://login.example.com",
    ]
    error_message = "the platform's token is for the parties of the document alone"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == "APIs"]) == ["arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/POST/v1/chat/completions"]
    error_message = "of an API Gateway the one route is granted that chats use"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : alltrue([for a in s.Action : !strcontains(a, "*")])])
    error_message = "no action has a star"
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : alltrue([for r in s.Resource : !strcontains(r, "*")])
    if s.Effect == "Allow" && !contains(["Logs", "PlatformToken"], s.Sid)])
    error_message = "no resource has a star but the streams of the function's own log group, and the token that knows no resource"
  }
  assert {
    condition = length(setsubtract(flatten([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Action if s.Effect == "Allow"]), [
      "bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream", "secretsmanager:GetSecretValue", "kms:Decrypt", "sts:AssumeRole", "sts:TagSession",
      "sts:SetSourceIdentity", "sts:GetWebIdentityToken", "execute-api:Invoke", "events:PutEvents", "logs:CreateLogStream", "logs:PutLogEvents",
    ])) == 0
    error_message = "the gateway can write no secret, and nothing else but its events and logs"
  }
  assert {
    condition     = aws_lambda_function.gateway.timeout == 95
    error_message = "the function has the time that the document gives a request, and a little more"
  }
}

run "callers_with_client_certificates" {
  variables {
    config_file = "tests/testdata/front.yaml"
    platform = {
      api_gateway = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", zone_id = "Z1" }
    }
  }
  override_resource {
    target = aws_apigatewayv2_api.gateway
    values = { execution_arn = "arn:aws:execute-api:eu-west-1:111122223333:api" }
  }
  override_resource {
    target = aws_apigatewayv2_domain_name.gateway
    values = { domain_name_configuration = { target_domain_name = "d-1.execute-api.eu-west-1.amazonaws.com", hosted_zone_id = "Z2" } }
  }
  assert {
    condition     = aws_apigatewayv2_domain_name.gateway[0].domain_name == "llm.example.com" && aws_apigatewayv2_domain_name.gateway[0].mutual_tls_authentication[0].truststore_uri == "s3://trust/ca.pem"
    error_message = "the domain wants a client certificate"
  }
  assert {
    condition     = aws_apigatewayv2_api.gateway[0].disable_execute_api_endpoint && length(aws_lambda_function_url.gateway) + length(aws_lambda_permission.url) + length(aws_lambda_permission.invoke) == 0
    error_message = "nobody gets past the domain"
  }
  assert {
    condition     = aws_lambda_permission.api[0].principal == "apigateway.amazonaws.com" && aws_lambda_permission.api[0].source_arn == "arn:aws:execute-api:eu-west-1:111122223333:api/*" && aws_apigatewayv2_integration.gateway[0].payload_format_version == "2.0"
    error_message = "this API may call the function, in the format that it takes"
  }
  assert {
    condition     = output.gateway_url == "https://llm.example.com/v1" && strcontains(output.invoke_command, "--cert client.pem") && aws_route53_record.gateway[0].name == "llm.example.com"
    error_message = "the address is the domain"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["server-errors"].namespace == "AWS/ApiGateway"
    error_message = "server errors are counted where callers see them"
  }
  assert {
    condition     = { for w in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : w.properties.title => w.properties.metrics[0] if startswith(w.properties.title, "Requests") || startswith(w.properties.title, "Time") } == { "Requests" = ["AWS/ApiGateway", "Count", "ApiId", aws_apigatewayv2_api.gateway[0].id], "Time to the whole answer, ms" = ["AWS/ApiGateway", "Latency", "ApiId", aws_apigatewayv2_api.gateway[0].id] }
    error_message = "the dashboard counts what comes through the API"
  }
}

run "callers_with_client_certificates_through_a_load_balancer" {
  variables {
    config_file = "tests/testdata/balancer.yaml"
    alarms      = { server_errors = 50 }
    platform = {
      load_balancer = {
        domain_name        = "llm.example.com"
        certificate_arn    = "arn:aws:acm:eu-west-1:111122223333:certificate/c"
        truststore_uri     = "s3://trust/partners/ca.pem"
        truststore_version = "v2"
        subnets            = ["subnet-a", "subnet-b"]
        security_groups    = ["sg-1"]
        zone_id            = "Z1"
      }
    }
  }
  override_resource {
    target = aws_lb.gateway
    values = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/postern-gateway/1", arn_suffix = "app/postern-gateway/1", dns_name = "postern-gateway-1.eu-west-1.elb.amazonaws.com", zone_id = "Z3" }
  }
  override_resource {
    target = aws_lb_target_group.gateway
    values = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/postern-gateway/2" }
  }
  override_resource {
    target = aws_lb_trust_store.gateway
    values = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:truststore/postern-gateway/3" }
  }
  assert {
    condition = [for m in aws_lb_listener.gateway[0].mutual_authentication : [m.mode, m.trust_store_arn, tostring(m.ignore_client_certificate_expiry), m.advertise_trust_store_ca_names]] == [
      ["verify", "arn:aws:elasticloadbalancing:eu-west-1:111122223333:truststore/postern-gateway/3", "false", "on"],
    ]
    error_message = "the listener verifies each client's certificate, its expiry too, and says whose it takes"
  }
  assert {
    condition     = [for t in aws_lb_trust_store.gateway : [t.ca_certificates_bundle_s3_bucket, t.ca_certificates_bundle_s3_key, t.ca_certificates_bundle_s3_object_version]] == [["trust", "partners/ca.pem", "v2"]]
    error_message = "it takes the certificates of the authorities in the object in S3"
  }
  assert {
    condition     = [for l in aws_lb_listener.gateway : [l.protocol, tostring(l.port), l.ssl_policy]] == [["HTTPS", "443", "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"]]
    error_message = "there is one listener, for TLS of version 1.2 and later"
  }
  assert {
    condition     = length(aws_lambda_function_url.gateway) + length(aws_lambda_permission.url) + length(aws_lambda_permission.invoke) + length(aws_lambda_permission.api) + length(aws_apigatewayv2_api.gateway) == 0
    error_message = "nobody gets past the load balancer"
  }
  assert {
    condition = [for p in aws_lambda_permission.balancer : [p.action, p.principal, p.source_arn, p.qualifier]] == [
      ["lambda:InvokeFunction", "elasticloadbalancing.amazonaws.com", "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/postern-gateway/2", "live"],
    ]
    error_message = "this target group may invoke the function, and no other"
  }
  assert {
    condition     = aws_lb_target_group.gateway[0].target_type == "lambda" && aws_lb_target_group.gateway[0].lambda_multi_value_headers_enabled == false && aws_lb_listener.gateway[0].default_action[0].target_group_arn == aws_lb_target_group.gateway[0].arn
    error_message = "requests arrive in the form that the function takes"
  }
  assert {
    condition     = [for a in aws_lb_target_group_attachment.gateway : [a.target_group_arn, a.target_id]] == [[aws_lb_target_group.gateway[0].arn, aws_lambda_alias.live.arn]]
    error_message = "the load balancer leads to the version that is live"
  }
  assert {
    condition     = aws_lb.gateway[0].load_balancer_type == "application" && !aws_lb.gateway[0].internal && aws_lb.gateway[0].subnets == toset(["subnet-a", "subnet-b"]) && aws_lb.gateway[0].security_groups == toset(["sg-1"])
    error_message = "it is in the subnets, with the security groups, and reached from outside"
  }
  assert {
    condition     = aws_lb.gateway[0].drop_invalid_header_fields
    error_message = "names of headers that others could take for the certificate's are dropped"
  }
  assert {
    condition     = aws_lambda_function.gateway.timeout == 95 && aws_lb.gateway[0].idle_timeout == 110
    error_message = "it waits longer for an answer than the function takes"
  }
  assert {
    condition     = [for r in aws_route53_record.gateway : [r.zone_id, r.name, r.alias[0].name, r.alias[0].zone_id]] == [["Z1", "llm.example.com", "postern-gateway-1.eu-west-1.elb.amazonaws.com", "Z3"]]
    error_message = "the domain leads to the load balancer"
  }
  assert {
    condition     = output.gateway_url == "https://llm.example.com/v1" && startswith(output.invoke_command, "curl -N https://llm.example.com/v1/chat/completions --cert client.pem --key client-key.pem")
    error_message = "the address is the domain, and the command shows a certificate"
  }
  assert {
    condition = [for a in [aws_cloudwatch_metric_alarm.this["server-errors"], aws_cloudwatch_metric_alarm.this["load-balancer"]] : [a.namespace, a.metric_name, a.dimensions["LoadBalancer"], tostring(a.threshold)]] == [
      ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "app/postern-gateway/1", "50"],
      ["AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "app/postern-gateway/1", "50"],
    ]
    error_message = "server errors are counted where callers see them, those of the load balancer too"
  }
  assert {
    condition     = { for w in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : w.properties.title => w.properties.metrics[0] if startswith(w.properties.title, "Requests") || startswith(w.properties.title, "Time") } == { "Requests" = ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", "app/postern-gateway/1"], "Time to the whole answer, s" = ["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", "app/postern-gateway/1"] }
    error_message = "the dashboard counts what comes through the load balancer"
  }
}

run "a_load_balancer_within_the_network_with_a_trust_store_of_its_owner" {
  variables {
    config_file = "tests/testdata/balancer.yaml"
    platform = {
      load_balancer = {
        domain_name     = "llm.internal.example.com"
        certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c"
        truststore_arn  = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:truststore/partners/9"
        subnets         = ["subnet-a", "subnet-b", "subnet-c"]
        security_groups = ["sg-1", "sg-2"]
        internal        = true
      }
    }
  }
  override_resource {
    target = aws_lb.gateway
    values = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/postern-gateway/1", arn_suffix = "app/postern-gateway/1", dns_name = "postern-gateway-1.eu-west-1.elb.amazonaws.com", zone_id = "Z3" }
  }
  override_resource {
    target = aws_lb_target_group.gateway
    values = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/postern-gateway/2" }
  }
  assert {
    condition     = length(aws_lb_trust_store.gateway) == 0 && aws_lb_listener.gateway[0].mutual_authentication[0].trust_store_arn == "arn:aws:elasticloadbalancing:eu-west-1:111122223333:truststore/partners/9"
    error_message = "the trust store is the one that is given"
  }
  assert {
    condition     = aws_lb.gateway[0].internal && length(aws_route53_record.gateway) == 0
    error_message = "nothing is reached from outside, and the domain is its owner's"
  }
}

run "secrets_that_are_many_are_watched_by_rules_that_each_fit" {
  variables {
    config_file = "tests/testdata/everything.yaml"
    alarms      = { readers = ["arn:aws:iam::111122223333:role/backup-of-everything-01", "arn:aws:iam::111122223333:role/backup-of-everything-02", "arn:aws:iam::111122223333:role/backup-of-everything-03", "arn:aws:iam::111122223333:role/backup-of-everything-04", "arn:aws:iam::111122223333:role/backup-of-everything-05", "arn:aws:iam::111122223333:role/backup-of-everything-06", "arn:aws:iam::111122223333:role/backup-of-everything-07", "arn:aws:iam::111122223333:role/backup-of-everything-08", "arn:aws:iam::111122223333:user/alice"] }
  }
  assert {
    condition     = max([for r in aws_cloudwatch_event_rule.stranger : length(r.event_pattern)]...) <= 2048
    error_message = "a rule has as many characters as EventBridge takes"
  }
  assert {
    condition = toset(flatten([for r in aws_cloudwatch_event_rule.stranger : [for id in jsondecode(r.event_pattern).detail.requestParameters.secretId : id if startswith(id, "arn:")]])) == toset(flatten([
      for s in data.aws_secretsmanager_secret.this : [s.id, replace(s.id, "/-[0-9A-Za-z]{6}$/", "")]
    ]))
    error_message = "each secret is watched by some rule"
  }
  assert {
    condition = alltrue([for r in aws_cloudwatch_event_rule.stranger : jsondecode(r.event_pattern).detail["$or"][1].userIdentity == {
      sessionContext = { sessionIssuer = { arn = [{ exists = false }] } }, arn = [{ "anything-but" = ["arn:aws:iam::111122223333:user/alice"] }]
    }])
    error_message = "a user is a stranger, but for those of the variable"
  }
  assert {
    condition = [for s in jsondecode(aws_cloudwatch_log_resource_policy.stranger[0].policy_document).Statement : [s.Action, can(s.Condition)]] == [
      [["logs:CreateLogStream"], false], [["logs:PutLogEvents"], true],
    ]
    error_message = "EventBridge does not say for which rule it makes a stream, and says whose events it writes"
  }
  assert {
    condition     = length(aws_cloudwatch_event_target.stranger) == 2 && length(aws_cloudwatch_event_rule.stranger) == 2
    error_message = "what each rule hears is kept"
  }
}

run "more_than_a_role_may_be_granted_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/many.yaml"
  }
  expect_failures = [aws_iam_role_policy.gateway]
}

run "a_profile_of_all_regions" {
  variables {
    config_file = "tests/testdata/global.yaml"
  }
  override_module {
    target = module.profiles
    outputs = {
      profiles = {
        "eu-west-1 global.anthropic.claude-sonnet-4-5-20250929-v1:0" = {
          arn    = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/global.anthropic.claude-sonnet-4-5-20250929-v1:0"
          models = ["arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"]
        }
      }
    }
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.gateway.policy).Statement : s.Resource if s.Sid == "Profile0"]) == ["arn:aws:bedrock:::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0", "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"]
    error_message = "a global profile forwards to the model of no region, too"
  }
}

run "more_topics_than_an_alarm_notifies_are_refused" {
  command = plan
  variables {
    alarms = { notify = [for i in range(6) : "arn:aws:sns:eu-west-1:111122223333:ops-${i}"] }
  }
  expect_failures = [aws_cloudwatch_metric_alarm.this]
}

run "a_document_that_lambda_does_not_take_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/long.yaml"
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "certificates_that_nobody_would_check_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/front.yaml"
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "an_api_that_the_document_does_not_know_is_refused" {
  command = plan
  variables {
    platform = {
      api_gateway = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem" }
    }
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "certificates_that_no_load_balancer_would_check_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "a_load_balancer_that_the_document_does_not_know_is_refused" {
  command = plan
  variables {
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "the_load_balancer_of_a_document_that_has_an_api_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/front.yaml"
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "two_addresses_of_one_gateway_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/fronts.yaml"
    platform = {
      api_gateway   = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem" }
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "iam_callers_behind_a_load_balancer_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
    callers     = ["arn:aws:iam::111122223333:role/app"]
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "a_load_balancer_in_one_subnet_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", subnets = ["subnet-a"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [var.platform]
}

run "a_load_balancer_that_everybody_or_nobody_reaches_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", subnets = ["subnet-a", "subnet-b"], security_groups = [] }
    }
  }
  expect_failures = [var.platform]
}

run "a_load_balancer_without_a_trust_store_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [var.platform]
}

run "a_load_balancer_with_two_trust_stores_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "s3://trust/ca.pem", truststore_arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:truststore/partners/9", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [var.platform]
}

run "a_trust_store_that_is_not_in_s3_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_uri = "https://trust.example.com/ca.pem", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [var.platform]
}

run "a_version_of_no_object_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/balancer.yaml"
    platform = {
      load_balancer = { domain_name = "llm.example.com", certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/c", truststore_arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:truststore/partners/9", truststore_version = "v2", subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
    }
  }
  expect_failures = [var.platform]
}

run "an_upstream_that_lists_no_models_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/open.yaml"
  }
  expect_failures = [aws_iam_role_policy.gateway]
}

run "a_secret_that_the_function_cannot_read_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/foreign.yaml"
  }
  expect_failures = [aws_iam_role_policy.gateway]
}

run "iam_callers_that_the_document_does_not_trust_are_refused" {
  command = plan
  variables {
    callers = ["arn:aws:iam::111122223333:role/app"]
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "a_promise_of_the_document_that_nothing_keeps_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/single.yaml"
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "callers_with_tokens_and_with_signatures_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/both.yaml"
    callers     = ["arn:aws:iam::111122223333:role/app"]
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "names_and_choices_that_the_platform_does_not_have_are_refused" {
  command = plan
  variables {
    name               = "No Name"
    config_file        = "tests/testdata/minimal.yaml"
    platform           = { architecture = "mips" }
    max_instances      = 0
    log_retention_days = 31
  }
  expect_failures = [var.name, var.platform, var.max_instances, var.log_retention_days]
}

run "a_document_that_no_function_would_load_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/rejected.yaml"
  }
  expect_failures = [var.config_file]
}

run "a_document_that_nobody_has_checked_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/unchecked.yaml"
  }
  expect_failures = [var.config_file]
}

run "a_document_that_has_changed_since_it_was_checked_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/changed.yaml"
  }
  expect_failures = [var.config_file]
}
