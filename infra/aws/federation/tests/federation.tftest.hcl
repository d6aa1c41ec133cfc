# A gateway in another cloud gets the roles of its document, and nobody else does.
mock_provider "aws" {
  source = "../tests/mocks"
}

variables {
  config_file = "tests/testdata/foreign.yaml"
  gateway     = { cloud = "gcp", issuer = "https://accounts.google.com", subject = "112233445566778899001" }
}

run "a_gateway_on_google_cloud" {
  override_module {
    target = module.profiles
    outputs = {
      profiles = {
        "arn:aws:iam::111122223333:role/apps/gateway eu-west-1 eu.anthropic.claude-sonnet-4-5-20250929-v1:0" = {
          arn    = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
          models = ["arn:aws:bedrock:eu-north-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"]
        }
      }
    }
  }
  assert {
    condition     = jsondecode(aws_iam_role.gateway["arn:aws:iam::111122223333:role/apps/gateway"].assume_role_policy).Statement[0].Principal == { Federated = "accounts.google.com" } && length(aws_iam_openid_connect_provider.gateway) == 0
    error_message = "AWS knows Google's issuer by itself"
  }
  assert {
    condition = jsondecode(aws_iam_role.gateway["arn:aws:iam::111122223333:role/apps/gateway"].assume_role_policy).Statement[0].Condition == {
      StringEquals = { "accounts.google.com:oaud" = ["sts.amazonaws.com"], "accounts.google.com:sub" = ["112233445566778899001"] }
    }
    error_message = "the one service account is trusted, for this audience"
  }
  assert {
    condition     = aws_iam_role.gateway["arn:aws:iam::111122223333:role/apps/gateway"].name == "gateway" && aws_iam_role.gateway["arn:aws:iam::111122223333:role/apps/gateway"].path == "/apps/"
    error_message = "the role is the one that the document names"
  }
  assert {
    condition = [for s in jsondecode(aws_iam_role_policy.gateway["arn:aws:iam::111122223333:role/apps/gateway"].policy).Statement : [s.Sid, s.Resource]] == [
      ["Models", ["arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0"]],
      ["Profile0", ["arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"]],
      ["Behind0", ["arn:aws:bedrock:eu-north-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"]],
    ]
    error_message = "it may call the models of the document, and what is behind profiles by way of those alone"
  }
  assert {
    condition = [for s in jsondecode(aws_iam_role_policy.gateway["arn:aws:iam::111122223333:role/door"].policy).Statement : [s.Action, s.Resource]] == [
      [["sts:AssumeRole"], ["arn:aws:iam::444455556666:role/hall", "arn:aws:iam::444455556666:role/room"]],
      [["sts:TagSession"], ["arn:aws:iam::444455556666:role/hall", "arn:aws:iam::444455556666:role/room"]],
      [["sts:SetSourceIdentity"], ["arn:aws:iam::444455556666:role/hall"]],
    ]
    error_message = "a role on the way to others may assume those as the document says, and call nothing"
  }
  assert {
    condition     = keys(output.roles) == ["arn:aws:iam::111122223333:role/apps/gateway", "arn:aws:iam::111122223333:role/door"]
    error_message = "no role is made of which nothing is known that it may do"
  }
}

run "a_gateway_on_azure" {
  variables {
    gateway = { cloud = "azure", issuer = "https://sts.windows.net/22222222-2222-2222-2222-222222222222/", subject = "00000000-0000-0000-0000-000000000003" }
  }
  override_resource {
    target = aws_iam_openid_connect_provider.gateway
    values = { arn = "arn:aws:iam::111122223333:oidc-provider/sts.windows.net/22222222-2222-2222-2222-222222222222/" }
  }
  override_module {
    target = module.profiles
    outputs = {
      profiles = {
        "arn:aws:iam::111122223333:role/apps/gateway eu-west-1 eu.anthropic.claude-sonnet-4-5-20250929-v1:0" = { arn = "arn:p", models = ["arn:m"] }
      }
    }
  }
  assert {
    condition     = aws_iam_openid_connect_provider.gateway[0].url == "https://sts.windows.net/22222222-2222-2222-2222-222222222222/" && contains(aws_iam_openid_connect_provider.gateway[0].client_id_list, "api://AzureADTokenExchange")
    error_message = "the tenant's issuer is one that AWS has to be told of"
  }
  assert {
    condition     = jsondecode(aws_iam_role.gateway["arn:aws:iam::111122223333:role/door"].assume_role_policy).Statement[0].Condition.StringEquals["sts.windows.net/22222222-2222-2222-2222-222222222222/:sub"] == ["00000000-0000-0000-0000-000000000003"]
    error_message = "the one managed identity is trusted"
  }
}

run "a_role_of_another_account_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/elsewhere.yaml"
  }
  expect_failures = [aws_iam_role.gateway]
}

run "a_role_for_models_that_are_not_listed_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/unlisted.yaml"
  }
  expect_failures = [aws_iam_role.gateway]
}

run "a_gateway_on_aws_is_refused" {
  command = plan
  variables {
    gateway = { cloud = "aws", issuer = "https://x.tokens.sts.global.api.aws", subject = "arn:aws:iam::111122223333:role/gateway" }
  }
  expect_failures = [var.gateway]
}
