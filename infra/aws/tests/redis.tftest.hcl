# A Redis server that the functions log in to as themselves.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  packages            = { gateway = "tests/testdata/package.zip", rotate = "tests/testdata/package.zip" }
  config_file         = "tests/testdata/redis.yaml"
  deletion_protection = false
  network             = { subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"] }
}

run "a_server_without_a_password" {
  override_data {
    target = data.aws_secretsmanager_secret.this
    values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:s-000001", kms_key_id = "" }
  }
  override_module {
    target  = module.redis_vpc
    outputs = { id = "vpc-1" }
  }
  assert {
    condition     = alltrue([for u in aws_elasticache_user.redis : u.authentication_mode[0].type == "iam" && u.user_id == u.user_name && u.passwords == null && startswith(u.access_string, "on ~postern:")])
    error_message = "each function is a user who logs in with IAM, and sees what is Postern's"
  }
  assert {
    condition     = aws_elasticache_user_group.redis[0].user_ids == toset(["postern-gateway", "postern-rotate"]) && aws_elasticache_serverless_cache.redis[0].user_group_id == "postern-redis"
    error_message = "nobody else is a user of the server"
  }
  assert {
    condition = { for name, policy in { gateway = aws_iam_role_policy.gateway.policy, rotate = aws_iam_role_policy.rotate[0].policy } :
      name => one([for s in jsondecode(policy).Statement : s.Resource if s.Sid == "Redis" && s.Action == ["elasticache:Connect"]])
      } == { for name in ["gateway", "rotate"] :
      name => ["arn:aws:elasticache:eu-west-1:111122223333:serverlesscache:postern-redis", "arn:aws:elasticache:eu-west-1:111122223333:user:postern-${name}"]
    }
    error_message = "each function may connect to this server, as its own user"
  }
  assert {
    # The address is a list of objects, which a mock cannot give.
    condition = { for name, f in { gateway = aws_lambda_function.gateway, rotate = aws_lambda_function.rotate[0] } : name => [f.environment[0].variables.POSTERN_REDIS_URL, f.environment[0].variables.POSTERN_REDIS_USERNAME] } == {
      for name in ["gateway", "rotate"] : name => ["rediss://:6379", "postern-${name}"]
    }
    error_message = "each function is told where the server is, and as whom to log in"
  }
  assert {
    condition     = aws_security_group.redis[0].vpc_id == "vpc-1" && keys(aws_vpc_security_group_ingress_rule.redis) == ["sg-1"] && aws_vpc_security_group_ingress_rule.redis["sg-1"].to_port == 6379
    error_message = "the functions reach it and nobody else"
  }
  assert {
    condition     = aws_elasticache_serverless_cache.redis[0].cache_usage_limits[0].data_storage[0].maximum == 1
    error_message = "its bill has a bound"
  }
}

run "a_server_without_a_network_is_refused" {
  command = plan
  variables {
    network = null
  }
  override_data {
    target = data.aws_secretsmanager_secret.this
    values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:s-000001", kms_key_id = "" }
  }
  override_module {
    target  = module.redis_vpc
    outputs = { id = null }
  }
  expect_failures = [aws_elasticache_serverless_cache.redis]
}

run "a_name_that_elasticache_does_not_take_is_refused" {
  command = plan
  variables {
    name = "our--postern"
  }
  override_data {
    target = data.aws_secretsmanager_secret.this
    values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:s-000001", kms_key_id = "" }
  }
  override_module {
    target  = module.redis_vpc
    outputs = { id = "vpc-1" }
  }
  expect_failures = [aws_elasticache_serverless_cache.redis]
}

run "without_it_in_the_document_there_is_none" {
  variables {
    config_file = "tests/testdata/minimal.yaml"
  }
  assert {
    condition     = length(aws_elasticache_serverless_cache.redis) + length(aws_elasticache_user.redis) + length(aws_security_group.redis) == 0 && !contains(keys(aws_lambda_function.gateway.environment[0].variables), "POSTERN_REDIS_URL")
    error_message = "a document without such a server has none made"
  }
}
