# A network of one's own: both functions in its subnets, and the services that the
# document needs by addresses there, so that no request to them leaves it.

locals {
  network = var.network == null ? [] : [var.network]

  # Lambda itself makes the interfaces, with the function's role; none of these
  # actions is for the function's own code.
  interfaces = ["ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses"]
  in_network = { for function, name in { gateway = local.function, rotate = local.rotation_function } : function => flatten([for n in local.network : [
    { Sid = "Interfaces", Effect = "Allow", Action = local.interfaces, Resource = ["*"] },
    {
      Sid       = "NoInterfacesByCode", Effect = "Deny", Action = local.interfaces, Resource = ["*"]
      Condition = { ArnEquals = { "lambda:SourceFunctionArn" = ["arn:${local.partition}:lambda:${local.region}:${local.account}:function:${name}"] } }
    },
  ]]) }

  # What is asked in this region.
  services = toset(!local.endpoints ? [] : concat(
    ["events", "sts"],
    anytrue([for u in local.upstreams : u.provider == "bedrock" && try(u.options.aws_region, local.region) == local.region]) ? ["bedrock-runtime"] : [],
    length(local.arn_of) > 0 ? ["secretsmanager"] : [],
    local.signs_events ? ["kms"] : [],
  ))
  endpoints = try(length(var.network.endpoints) > 0, false)
}

module "vpc" {
  source  = "./vpc"
  subnets = toset(flatten([for n in local.network : tolist(n.endpoints)]))
}

# The rotation's ledger is reached by a route, in the table of each subnet. One
# that has none of its own has the main one of its VPC.
data "aws_route_tables" "functions" {
  for_each = toset(flatten([for n in local.network : tolist(n.subnets) if local.endpoints && local.rotates]))
  filter {
    name   = "association.subnet-id"
    values = [each.value]
  }
}

data "aws_route_tables" "main" {
  count  = local.endpoints && local.rotates ? 1 : 0
  vpc_id = module.vpc.id
  filter {
    name   = "association.main"
    values = ["true"]
  }
}

resource "aws_security_group" "endpoints" {
  count       = local.endpoints ? 1 : 0
  name        = "${var.name}-endpoints"
  description = "Who reaches the services that ${var.name} uses"
  vpc_id      = module.vpc.id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each                     = toset(flatten([for n in local.network : tolist(n.security_groups) if local.endpoints]))
  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "The functions"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  tags                         = var.tags
}

resource "aws_vpc_endpoint" "service" {
  for_each            = local.services
  vpc_id              = module.vpc.id
  service_name        = "com.amazonaws.${local.region}.${each.value}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = var.network.endpoints
  security_group_ids  = aws_security_group.endpoints[*].id
  private_dns_enabled = true
  tags                = merge({ Name = "${var.name}-${each.value}" }, var.tags)
}

resource "aws_vpc_endpoint" "ledger" {
  count             = local.endpoints && local.rotates ? 1 : 0
  vpc_id            = module.vpc.id
  service_name      = "com.amazonaws.${local.region}.dynamodb"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = distinct(flatten([for t in data.aws_route_tables.functions : length(t.ids) > 0 ? t.ids : data.aws_route_tables.main[0].ids]))
  tags              = merge({ Name = "${var.name}-ledger" }, var.tags)
}
