# An HTTP API in front of the function, with a domain whose callers have to show a
# client certificate. It has no other address.

locals {
  api = local.fronted && var.platform.api_gateway != null ? [var.platform.api_gateway] : []
}

resource "aws_apigatewayv2_api" "gateway" {
  count                        = length(local.api)
  name                         = local.function
  description                  = "Callers of ${var.name} with client certificates"
  protocol_type                = "HTTP"
  disable_execute_api_endpoint = true
  tags                         = var.tags
}

resource "aws_apigatewayv2_integration" "gateway" {
  count                  = length(local.api)
  api_id                 = aws_apigatewayv2_api.gateway[0].id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_alias.live.invoke_arn
  payload_format_version = "2.0"
  timeout_milliseconds   = 30000
}

resource "aws_apigatewayv2_route" "gateway" {
  count     = length(local.api)
  api_id    = aws_apigatewayv2_api.gateway[0].id
  route_key = "$default"
  target    = "integrations/${aws_apigatewayv2_integration.gateway[0].id}"
}

resource "aws_apigatewayv2_stage" "gateway" {
  count       = length(local.api)
  api_id      = aws_apigatewayv2_api.gateway[0].id
  name        = "$default"
  auto_deploy = true
  tags        = var.tags
}

resource "aws_apigatewayv2_domain_name" "gateway" {
  count       = length(local.api)
  domain_name = local.api[0].domain_name
  tags        = var.tags

  domain_name_configuration {
    certificate_arn = local.api[0].certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }
  mutual_tls_authentication {
    truststore_uri     = local.api[0].truststore_uri
    truststore_version = local.api[0].truststore_version
  }
}

resource "aws_apigatewayv2_api_mapping" "gateway" {
  count       = length(local.api)
  api_id      = aws_apigatewayv2_api.gateway[0].id
  domain_name = aws_apigatewayv2_domain_name.gateway[0].id
  stage       = aws_apigatewayv2_stage.gateway[0].id
}

resource "aws_route53_record" "gateway" {
  count   = length([for a in local.api : a if a.zone_id != null])
  zone_id = local.api[0].zone_id
  name    = local.api[0].domain_name
  type    = "A"
  alias {
    name                   = aws_apigatewayv2_domain_name.gateway[0].domain_name_configuration[0].target_domain_name
    zone_id                = aws_apigatewayv2_domain_name.gateway[0].domain_name_configuration[0].hosted_zone_id
    evaluate_target_health = false
  }
}

resource "aws_lambda_permission" "api" {
  count         = length(local.api)
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.gateway.function_name
  qualifier     = aws_lambda_alias.live.name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.gateway[0].execution_arn}/*"
}
