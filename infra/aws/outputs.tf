locals {
  url  = length(local.domains) > 0 ? "https://${local.domains[0]}/v1" : "${trimsuffix(one(aws_lambda_function_url.gateway[*].function_url), "/")}/v1"
  auth = length(local.domains) > 0 ? "--cert client.pem --key client-key.pem -H \"Authorization: Bearer $TOKEN\"" : local.authorization == "NONE" ? "-H \"Authorization: Bearer $TOKEN\"" : "--aws-sigv4 aws:amz:${local.region}:lambda --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -H \"X-Amz-Security-Token: $AWS_SESSION_TOKEN\""
}

output "gateway_url" {
  description = "The base URL for OpenAI clients."
  value       = local.url
}

output "gateway_identity" {
  description = "Whom the gateway is to model services and in other clouds' trust."
  value       = aws_iam_role.gateway.arn
}

output "gateway_token" {
  description = "Whose token the gateway shows to other clouds, for their federation modules."
  value       = { cloud = "aws", issuer = null, subject = aws_iam_role.gateway.arn }
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = "curl -N ${local.url}/chat/completions ${local.auth} -H 'Content-Type: application/json' -d '{\"model\":\"${local.example_model}\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
}

output "rotation_identity" {
  description = "Whom the rotation function is to issuers of keys and in other clouds' trust. Null when there is nothing to rotate."
  value       = one(aws_iam_role.rotate[*].arn)
}

output "event_bus" {
  description = "Where events are, as POSTERN_EVENT_BUS names it."
  value       = aws_cloudwatch_event_bus.this.name
}

output "rotation_command" {
  description = "Asks the rotation function from the command line how its keys are. Null when there is nothing to rotate."
  value       = local.rotates ? "aws lambda invoke --function-name ${local.rotation_function}:live --cli-binary-format raw-in-base64-out --payload '{\"postern\":\"status\"}' /dev/stdout" : null
}
