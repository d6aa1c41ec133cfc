locals {
  url  = "${trimsuffix(aws_lambda_function_url.gateway.function_url, "/")}/v1"
  auth = local.authorization == "NONE" ? "-H \"Authorization: Bearer $TOKEN\"" : "--aws-sigv4 aws:amz:${local.region}:lambda --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -H \"X-Amz-Security-Token: $AWS_SESSION_TOKEN\""
}

output "gateway_url" {
  description = "The base URL for OpenAI clients."
  value       = local.url
}

output "gateway_identity" {
  description = "Whom the gateway is to model services and in other clouds' trust."
  value       = aws_iam_role.gateway.arn
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = "curl -N ${local.url}/chat/completions ${local.auth} -H 'Content-Type: application/json' -d '{\"model\":\"${local.example_model}\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
}
