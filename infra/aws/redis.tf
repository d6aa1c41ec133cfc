# A Redis server where the document has cache.redis with auth_type native and no
# url: the functions log in to it with IAM, and it has no password.

locals {
  redis_name = "${var.name}-redis"
  redis_arn  = "arn:${local.partition}:elasticache:${local.region}:${local.account}:serverlesscache:${local.redis_name}"
  # Each function is a user, which sees what it keeps there and no more.
  redis_rights = {
    gateway = "~postern:* -@all +getrange +pttl +set +get +del +eval +time +incrby +pexpire +zadd +zcard +zrem +zremrangebyscore"
    rotate  = "~postern:token:* -@all +getrange +pttl +set +get +del +eval"
  }
  redis_login = { for user in ["gateway", "rotate"] : user => [
    for name in local.redis_users : {
      Sid      = "Redis", Effect = "Allow", Action = ["elasticache:Connect"]
      Resource = [local.redis_arn, "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:${var.name}-${name}"]
    } if name == user
  ] }
  redis_environment = { for user in ["gateway", "rotate"] : user => !local.redis ? {} : {
    POSTERN_REDIS_URL      = "rediss://${join("", flatten(aws_elasticache_serverless_cache.redis[*].endpoint[*].address))}:6379"
    POSTERN_REDIS_USERNAME = "${var.name}-${user}"
  } }
}

# For users who log in with IAM the name is the id.
resource "aws_elasticache_user" "redis" {
  for_each      = local.redis_users
  user_id       = "${var.name}-${each.key}"
  user_name     = "${var.name}-${each.key}"
  engine        = "valkey"
  access_string = "on ${local.redis_rights[each.key]}"
  tags          = var.tags

  authentication_mode {
    type = "iam"
  }

  # It leaves the group before it goes.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_user_group" "redis" {
  count         = local.redis ? 1 : 0
  user_group_id = local.redis_name
  engine        = "valkey"
  user_ids      = sort([for u in aws_elasticache_user.redis : u.user_id])
  tags          = var.tags
}

resource "aws_security_group" "redis" {
  count       = local.redis ? 1 : 0
  name        = local.redis_name
  description = "Who reaches the Redis server of ${var.name}"
  vpc_id      = module.redis_vpc.id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  for_each                     = toset(flatten([for n in local.network : tolist(n.security_groups) if local.redis]))
  security_group_id            = aws_security_group.redis[0].id
  description                  = "The functions"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
  tags                         = var.tags
}

module "redis_vpc" {
  source  = "./vpc"
  subnets = toset(flatten([for n in local.network : tolist(n.subnets) if local.redis]))
}

resource "aws_elasticache_serverless_cache" "redis" {
  count                = local.redis ? 1 : 0
  name                 = local.redis_name
  description          = "What the instances of ${var.name} share"
  engine               = "valkey"
  major_engine_version = "8"
  user_group_id        = aws_elasticache_user_group.redis[0].user_group_id
  subnet_ids           = try(var.network.subnets, [])
  security_group_ids   = aws_security_group.redis[*].id
  tags                 = var.tags

  # Bounds of the bill; what it keeps are kilobytes.
  cache_usage_limits {
    data_storage {
      maximum = 1
      unit    = "GB"
    }
    ecpu_per_second {
      maximum = 5000
    }
  }

  lifecycle {
    precondition {
      condition     = anytrue([for n in local.network : length(n.security_groups) > 0])
      error_message = "ElastiCache is reached from a network alone: give network.subnets and network.security_groups, or a url in cache.redis."
    }
    precondition {
      condition     = !strcontains(var.name, "--")
      error_message = "ElastiCache takes no name with two dashes in a row: choose another name, or give a url in cache.redis."
    }
  }
}
