# Functions in a network of one's own.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  packages            = { gateway = "tests/testdata/package.zip", rotate = "tests/testdata/package.zip" }
  deletion_protection = false
}

run "functions_in_subnets_with_endpoints" {
  variables {
    config_file = "tests/testdata/proactive.yaml"
    network     = { subnets = ["subnet-a", "subnet-b"], security_groups = ["sg-1"], endpoints = ["subnet-c"] }
  }
  override_data {
    target = data.aws_secretsmanager_secret.this
    values = { id = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:s-000001", kms_key_id = "" }
  }
  override_module {
    target  = module.vpc
    outputs = { id = "vpc-1" }
  }
  override_data {
    target = data.aws_route_tables.functions["subnet-a"]
    values = { ids = ["rtb-1"] }
  }
  override_data {
    target = data.aws_route_tables.functions["subnet-b"]
    values = { ids = [] }
  }
  override_data {
    target = data.aws_route_tables.main
    values = { ids = ["rtb-main"] }
  }
  assert {
    condition     = alltrue([for f in [aws_lambda_function.gateway, aws_lambda_function.rotate[0]] : f.vpc_config[0].subnet_ids == toset(["subnet-a", "subnet-b"]) && f.vpc_config[0].security_group_ids == toset(["sg-1"])])
    error_message = "both functions are in the subnets, with the security groups"
  }
  assert {
    condition     = keys(aws_vpc_endpoint.service) == ["events", "secretsmanager", "sts"] && alltrue([for e in aws_vpc_endpoint.service : e.vpc_id == "vpc-1" && e.private_dns_enabled && e.subnet_ids == toset(["subnet-c"])])
    error_message = "the services that the document needs have addresses there, and no others"
  }
  assert {
    condition     = aws_vpc_endpoint.ledger[0].vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.ledger[0].route_table_ids == toset(["rtb-1", "rtb-main"])
    error_message = "the ledger is reached by a route, also from a subnet without a route table of its own"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.endpoints["sg-1"].from_port == 443 && aws_vpc_security_group_ingress_rule.endpoints["sg-1"].referenced_security_group_id == "sg-1"
    error_message = "the functions reach these addresses, by TLS"
  }
  assert {
    condition = alltrue([for policy in [aws_iam_role_policy.gateway.policy, aws_iam_role_policy.rotate[0].policy] :
    one([for s in jsondecode(policy).Statement : s.Action if s.Sid == "Interfaces"]) == one([for s in jsondecode(policy).Statement : s.Action if s.Sid == "NoInterfacesByCode" && s.Effect == "Deny"])])
    error_message = "Lambda may make interfaces, and the functions' own code may not"
  }
}

run "functions_in_subnets_with_a_way_out" {
  variables {
    config_file = "tests/testdata/minimal.yaml"
    network     = { subnets = ["subnet-a"], security_groups = ["sg-1"] }
  }
  assert {
    condition     = length(aws_vpc_endpoint.service) + length(aws_vpc_endpoint.ledger) + length(aws_security_group.endpoints) == 0 && length(aws_lambda_function.gateway.vpc_config) == 1
    error_message = "without endpoints the subnets have a way out of their own"
  }
}

run "a_model_that_another_role_calls_has_an_address_too" {
  variables {
    config_file = "tests/testdata/roles.yaml"
    network     = { subnets = ["subnet-a"], security_groups = ["sg-1"], endpoints = ["subnet-c"] }
  }
  override_module {
    target  = module.vpc
    outputs = { id = "vpc-1" }
  }
  assert {
    condition     = keys(aws_vpc_endpoint.service) == ["bedrock-runtime", "events", "sts"]
    error_message = "whoever calls a model in this region, it is this function that sends the request"
  }
}

run "a_network_without_a_security_group_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/minimal.yaml"
    network     = { subnets = ["subnet-a"] }
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "a_network_without_subnets_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/minimal.yaml"
    network     = { subnets = [] }
  }
  expect_failures = [var.network]
}
