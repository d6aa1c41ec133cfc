# What AWS has to trust for a gateway in another cloud: the first role of each
# upstream that the gateway's document reaches by roles. It may do what the
# document names, or assume the next role.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29, < 7"
    }
  }
}

variable "config_file" {
  description = "The document of the gateway in the other cloud."
  type        = string
}

variable "gateway" {
  description = "Whose token is trusted: the output gateway_token of the gateway's module."
  type        = object({ cloud = string, issuer = string, subject = string })
  validation {
    condition     = contains(["gcp", "azure"], var.gateway.cloud) && var.gateway.issuer != null
    error_message = "The token is that of a gateway on gcp or azure; one on AWS needs no federation."
  }
}

variable "tags" {
  description = "Tags of everything that can have them."
  type        = map(string)
  default     = {}
}

locals {
  google    = var.gateway.cloud == "gcp"
  entries   = try(yamldecode(file(var.config_file)).upstreams, [])
  partition = data.aws_partition.this.partition
  reached = [for u in local.entries : {
    provider = u.provider
    region   = try(u.aws_region, data.aws_region.this.id)
    models   = distinct([for m in try(u.models, []) : tostring(try(m.model, m.name, m))])
    chain    = [for r in u.aws_roles : try(r.role_arn, r)]
    audience = try(u.aws_web_identity_audience, local.google ? "sts.amazonaws.com" : "api://AzureADTokenExchange")
    # With what the second role is assumed.
    tags = can(u.aws_roles[1].session_tags) || try(tobool(u.aws_roles[1].per_caller), false)
    id   = can(u.aws_roles[1].source_identity) || try(tobool(u.aws_roles[1].per_caller), false)
  } if can(u.aws_roles) && !can(u.credential_ref) && (u.provider == "bedrock" || try(length(u.aws_roles), 0) > 1)]

  roles = { for arn in distinct([for u in local.reached : u.chain[0]]) : arn => {
    audiences = sort(distinct([for u in local.reached : u.audience if u.chain[0] == arn]))
    # The second role is assumed as the document says.
    next = [for next in [
      { sid = "Roles", action = "sts:AssumeRole", of = [for u in local.reached : u if length(u.chain) > 1] },
      { sid = "RoleTags", action = "sts:TagSession", of = [for u in local.reached : u if u.tags] },
      { sid = "RoleSource", action = "sts:SetSourceIdentity", of = [for u in local.reached : u if u.id] },
    ] : { Sid = next.sid, Effect = "Allow", Action = [next.action], Resource = sort(distinct([for u in next.of : u.chain[1] if u.chain[0] == arn])) }]
    upstreams = [for u in local.reached : u if u.chain == [arn] && u.provider == "bedrock"]
  } }

  # As in the gateway's own module: a profile by its name, and the models behind
  # it by way of it.
  models = merge([for arn, r in local.roles : merge([for u in r.upstreams : {
    for m in u.models : "${arn} ${u.region} ${m}" => {
      role    = arn
      id      = m
      region  = u.region
      arn     = startswith(m, "arn:") ? m : "arn:${local.partition}:bedrock:${u.region}::foundation-model/${m}"
      profile = can(regex(":(application-)?inference-profile/", m)) || can(regex("^(af|apac|au|ca|eu|global|in|jp|me|sa|us|us-gov)\\.[a-z0-9-]+\\.", m))
    }
  }]...)]...)
  behind = { for key, p in module.profiles.profiles : key => sort(distinct(concat(
    p.models, [for arn in p.models : replace(arn, "/:bedrock:[^:]*:/", ":bedrock::") if can(regex(":inference-profile/global\\.", p.arn))]
  ))) }
  invoke = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
  statements = { for arn, r in local.roles : arn => concat(
    [for next in r.next : next if length(next.Resource) > 0],
    [for models in [sort([for m in local.models : m.arn if m.role == arn && !m.profile])] : { Sid = "Models", Effect = "Allow", Action = local.invoke, Resource = models } if length(models) > 0],
    flatten([for i, key in sort([for key, m in local.models : key if m.role == arn && m.profile]) : [
      { Sid = "Profile${i}", Effect = "Allow", Action = local.invoke, Resource = [module.profiles.profiles[key].arn], Condition = {} },
      { Sid = "Behind${i}", Effect = "Allow", Action = local.invoke, Resource = local.behind[key], Condition = { StringEquals = { "bedrock:InferenceProfileArn" = module.profiles.profiles[key].arn } } },
    ]]),
  ) }

  # The application of this audience, which is the audience in tokens of version 2.
  exchange = "fb60f99c-7a34-4190-8149-302f77469936"
  host     = trimprefix(var.gateway.issuer, "https://")
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

module "profiles" {
  source   = "../profiles"
  profiles = { for key, m in local.models : key => { id = m.id, region = m.region } if m.profile }
}

# Google's issuer is built in.
resource "aws_iam_openid_connect_provider" "gateway" {
  count          = local.google || length(local.roles) == 0 ? 0 : 1
  url            = var.gateway.issuer
  client_id_list = concat(distinct(flatten([for r in local.roles : r.audiences])), [local.exchange])
  tags           = var.tags
}

resource "aws_iam_role" "gateway" {
  for_each             = local.roles
  name                 = reverse(split("/", each.key))[0]
  path                 = length(split("/", each.key)) > 2 ? "/${join("/", slice(split("/", each.key), 1, length(split("/", each.key)) - 1))}/" : "/"
  description          = "A gateway in another cloud"
  max_session_duration = 3600
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.google ? "accounts.google.com" : aws_iam_openid_connect_provider.gateway[0].arn }
      Condition = { StringEquals = local.google ? {
        "accounts.google.com:oaud" = each.value.audiences
        "accounts.google.com:sub"  = [var.gateway.subject]
        } : {
        "${local.host}:aud" = concat(each.value.audiences, [local.exchange])
        "${local.host}:sub" = [var.gateway.subject]
      } }
    }]
  })

  lifecycle {
    precondition {
      condition     = split(":", each.key)[4] == data.aws_caller_identity.this.account_id
      error_message = "The role ${each.key} is in another account than this; use this module there."
    }
    precondition {
      condition     = alltrue([for u in each.value.upstreams : length(u.models) > 0])
      error_message = "Each bedrock upstream has to list its models, because each model is granted by name."
    }
  }
}

resource "aws_iam_role_policy" "gateway" {
  for_each = local.roles
  name     = "what-the-document-names"
  role     = aws_iam_role.gateway[each.key].name
  policy   = jsonencode({ Version = "2012-10-17", Statement = [for s in local.statements[each.key] : { for k, v in s : k => v if k != "Condition" || length(v) > 0 }] })
}

output "roles" {
  description = "The roles that the gateway may assume, by their ARNs in the document."
  value       = { for arn, r in aws_iam_role.gateway : arn => r.arn }
}
