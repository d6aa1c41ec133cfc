mock_provider "aws" {
  source = "../../aws/tests/mocks"
}

run "the_example_applies_as_it_is" {
  variables {
    packages = { gateway = "../../aws/tests/testdata/package.zip", rotate = "../../aws/tests/testdata/package.zip" }
  }
  override_module {
    target = module.postern.module.profiles
    outputs = {
      profiles = {
        "eu-west-1 global.anthropic.claude-sonnet-4-5-20250929-v1:0" = {
          arn    = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/global.anthropic.claude-sonnet-4-5-20250929-v1:0"
          models = ["arn:aws:bedrock:::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0", "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"]
        }
      }
    }
  }
  assert {
    condition     = output.gateway_url == "https://abc.lambda-url.eu-west-1.on.aws/v1" && output.gateway_identity == "arn:aws:iam::111122223333:role/postern-gateway"
    error_message = "the outputs are the module's"
  }
  assert {
    condition     = output.event_bus != "" && output.rotation_identity == null
    error_message = "there is a bus, and nothing to rotate"
  }
  assert {
    condition     = strcontains(output.invoke_command, "\"model\":\"claude-sonnet\"")
    error_message = "the command asks for the document's model"
  }
}
