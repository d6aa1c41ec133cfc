# What is in front of the function where the document has fronts: an HTTP API or a
# load balancer, with a domain whose callers have to show a client certificate.
# The function has no other address.

locals {
  api      = contains(local.fronts, "api_gateway") && var.platform.api_gateway != null ? [var.platform.api_gateway] : []
  balancer = contains(local.fronts, "alb") && var.platform.load_balancer != null ? [var.platform.load_balancer] : []
  domains  = concat(local.api[*].domain_name, local.balancer[*].domain_name)
  zones    = compact(concat(local.api[*].zone_id, local.balancer[*].zone_id))
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

resource "aws_lambda_permission" "api" {
  count         = length(local.api)
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.gateway.function_name
  qualifier     = aws_lambda_alias.live.name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.gateway[0].execution_arn}/*"
}

resource "aws_lb" "gateway" {
  count              = length(local.balancer)
  name               = local.function
  load_balancer_type = "application"
  internal           = local.balancer[0].internal
  subnets            = local.balancer[0].subnets
  security_groups    = local.balancer[0].security_groups
  # Nothing is sent before an answer is complete, and the first one waits for an
  # instance besides.
  idle_timeout = max(60, aws_lambda_function.gateway.timeout + 15)
  # A name with an underscore could be taken for the certificate's.
  drop_invalid_header_fields = true
  # It holds nothing that could be lost. With protection, `terraform destroy` would
  # take its listener away before it found out that the rest has to stay.
  enable_deletion_protection = false
  tags                       = var.tags
}

resource "aws_lb_trust_store" "gateway" {
  count                                    = length([for b in local.balancer : b if b.truststore_uri != null])
  name                                     = local.function
  ca_certificates_bundle_s3_bucket         = regex("^s3://([^/]+)/", local.balancer[0].truststore_uri)[0]
  ca_certificates_bundle_s3_key            = regex("^s3://[^/]+/(.+)$", local.balancer[0].truststore_uri)[0]
  ca_certificates_bundle_s3_object_version = local.balancer[0].truststore_version
  tags                                     = var.tags

  # It cannot go before the listener has another one.
  lifecycle {
    create_before_destroy = true
  }
}

# The function believes the certificate in a load balancer's event, which nobody
# has verified in any other mode, and by no other name of its header. There is no
# listener for HTTP: who followed a redirect from there would have sent a token in
# the clear.
resource "aws_lb_listener" "gateway" {
  count             = length(local.balancer)
  load_balancer_arn = aws_lb.gateway[0].arn
  port              = 443
  protocol          = "HTTPS"
  certificate_arn   = local.balancer[0].certificate_arn
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
  tags              = var.tags

  mutual_authentication {
    mode                             = "verify"
    trust_store_arn                  = concat(aws_lb_trust_store.gateway[*].arn, local.balancer[*].truststore_arn)[0]
    ignore_client_certificate_expiry = false
    advertise_trust_store_ca_names   = "on"
  }
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway[0].arn
  }
}

# The function takes events with one value of each header. It is asked for no
# health: that would be a request every few seconds, without a certificate.
resource "aws_lb_target_group" "gateway" {
  count                              = length(local.balancer)
  name                               = local.function
  target_type                        = "lambda"
  lambda_multi_value_headers_enabled = false
  tags                               = var.tags
}

resource "aws_lb_target_group_attachment" "gateway" {
  count            = length(local.balancer)
  target_group_arn = aws_lb_target_group.gateway[0].arn
  target_id        = aws_lambda_alias.live.arn
  depends_on       = [aws_lambda_permission.balancer]
}

resource "aws_lambda_permission" "balancer" {
  count         = length(local.balancer)
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.gateway.function_name
  qualifier     = aws_lambda_alias.live.name
  principal     = "elasticloadbalancing.amazonaws.com"
  source_arn    = aws_lb_target_group.gateway[0].arn
}

# One record for either front, so that going from one to the other changes it.
resource "aws_route53_record" "gateway" {
  count   = length(local.zones)
  zone_id = local.zones[0]
  name    = local.domains[0]
  type    = "A"
  alias {
    name                   = concat([for d in aws_apigatewayv2_domain_name.gateway : d.domain_name_configuration[0].target_domain_name], aws_lb.gateway[*].dns_name)[0]
    zone_id                = concat([for d in aws_apigatewayv2_domain_name.gateway : d.domain_name_configuration[0].hosted_zone_id], aws_lb.gateway[*].zone_id)[0]
    evaluate_target_health = false
  }
}
