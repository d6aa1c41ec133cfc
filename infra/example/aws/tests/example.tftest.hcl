mock_provider "aws" {
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
  mock_resource "aws_lambda_function_url" {
    defaults = { function_url = "https://abc.lambda-url.eu-west-1.on.aws/" }
  }
}

run "the_example_applies_as_it_is" {
  variables {
    package = "../../aws/tests/testdata/package.zip"
  }
  assert {
    condition     = output.gateway_url == "https://abc.lambda-url.eu-west-1.on.aws/v1" && output.gateway_identity == "arn:aws:iam::111122223333:role/postern-gateway"
    error_message = "the outputs are the module's"
  }
  assert {
    condition     = strcontains(output.invoke_command, "\"model\":\"claude-sonnet\"")
    error_message = "the command asks for the document's model"
  }
}
