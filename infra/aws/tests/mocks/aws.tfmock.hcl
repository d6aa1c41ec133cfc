# What the tests of this module and of its example take AWS to answer.

mock_data "aws_caller_identity" {
  defaults = { account_id = "111122223333" }
}
mock_data "aws_partition" {
  defaults = { partition = "aws" }
}
mock_data "aws_region" {
  defaults = { id = "eu-west-1" }
}
mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::111122223333:role/postern-gateway" }
}
mock_resource "aws_cloudwatch_event_bus" {
  defaults = { arn = "arn:aws:events:eu-west-1:111122223333:event-bus/postern" }
}
mock_resource "aws_dynamodb_table" {
  defaults = { arn = "arn:aws:dynamodb:eu-west-1:111122223333:table/postern-rotation" }
}
mock_resource "aws_sqs_queue" {
  defaults = { arn = "arn:aws:sqs:eu-west-1:111122223333:postern-rotate-failed" }
}
mock_resource "aws_lambda_alias" {
  defaults = { arn = "arn:aws:lambda:eu-west-1:111122223333:function:postern-rotate:live" }
}
mock_resource "aws_scheduler_schedule_group" {
  defaults = { arn = "arn:aws:scheduler:eu-west-1:111122223333:schedule-group/postern-rotate" }
}
mock_resource "aws_lambda_function" {
  defaults = { version = "7" }
}
mock_resource "aws_lambda_function_url" {
  defaults = { function_url = "https://abc.lambda-url.eu-west-1.on.aws/" }
}
