# What the gateway may do: what the document names, and nothing else.

locals {
  store     = "aws-sm"
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id

  # Upstreams that are called as the role itself. One with roles is called as
  # the last of them, and one with a stored credential as whoever that is.
  direct  = [for u in local.upstreams : u if contains(["native", "aws_sigv4"], u.auth) && !u.stored && !can(u.options.aws_roles)]
  bedrock = [for u in local.direct : u if u.provider == "bedrock"]

  # Bedrock models by id and region. An inference profile is called by its own
  # name and forwards to a model in one of its regions, so both are granted, the
  # model by way of the profile alone.
  geographies = ["af", "apac", "au", "ca", "eu", "global", "in", "jp", "me", "sa", "us", "us-gov"]
  models = merge([for u in local.bedrock : {
    for m in u.models : "${try(u.options.aws_region, local.region)} ${m}" => {
      id      = m
      region  = startswith(m, "arn:") ? split(":", m)[3] : try(u.options.aws_region, local.region)
      profile = can(regex(":(application-)?inference-profile/", m)) || can(regex("^(${join("|", local.geographies)})\\.[a-z0-9-]+\\.", m))
    }
  }]...)
  profiles = { for key, m in local.models : key => m if m.profile }
  # A global profile forwards to the model of no region, too.
  behind = { for key, p in module.profiles.profiles : key => sort(distinct(concat(
    p.models, [for arn in p.models : replace(arn, "/:bedrock:[^:]*:/", ":bedrock::") if can(regex(":inference-profile/global\\.", p.arn))]
  ))) }
  foundation = sort(distinct([
    for m in local.models : startswith(m.id, "arn:") ? m.id : "arn:${local.partition}:bedrock:${m.region}::foundation-model/${m.id}" if !m.profile
  ]))

  # Roles: the first of each chain is assumed by the function, the others by the
  # role before them.
  first_roles = [for u in local.upstreams : {
    arn  = try(u.options.aws_roles[0].role_arn, u.options.aws_roles[0])
    tags = can(u.options.aws_roles[0].session_tags) || try(tobool(u.options.aws_roles[0].per_caller), false)
    id   = can(u.options.aws_roles[0].source_identity) || try(tobool(u.options.aws_roles[0].per_caller), false)
  } if can(u.options.aws_roles) && !u.stored]

  # Other parties that take the platform's own token, by the token's audience.
  entra_audiences = { public = "api://AzureADTokenExchange", usgovernment = "api://AzureADTokenExchangeUSGov", china = "api://AzureADTokenExchangeChina" }
  audiences = sort(distinct(compact([for u in local.upstreams : (
    u.auth == "native" && u.provider == "openai" ? try(u.options.token_audience, "https://api.openai.com/v1") :
    u.auth == "native" && u.provider == "anthropic" ? try(u.options.token_audience, "https://api.anthropic.com") :
    u.stored || can(u.options.azure_federated_token_file) ? "" :
    u.auth == "azure_ad" || u.provider == "azure-openai" && u.auth == "native" ? local.entra_audiences[try(u.options.azure_cloud, "public")] :
    # Google takes a signed request in place of a token where no audience is named.
    contains(["oauth2", "oidc"], u.auth) || u.provider == "vertex" ? try(u.options.token_audience, "") : ""
  )])))

  # API Gateway behind a custom-openai upstream, when the address shows which.
  apis = sort(distinct(flatten([for u in local.direct : [
    for parts in regexall("^https://([a-z0-9]+)\\.execute-api\\.([a-z0-9-]+)\\.[a-z.]+/([^/]+)(/.*)?$", trimsuffix(u.options.base_url, "/")) :
    "arn:${local.partition}:execute-api:${parts[1]}:${local.account}:${parts[0]}/${parts[2]}/POST${parts[3] == null ? "" : parts[3]}/chat/completions"
  ] if u.provider == "custom-openai" && u.auth == "aws_sigv4" && try(u.options.aws_service, "execute-api") == "execute-api"])))

  # Secrets by their names, and their keys by their ARNs. The key
  # aws/secretsmanager needs no permission.
  arn_of    = { for name, s in data.aws_secretsmanager_secret.this : name => s.id }
  encrypted = { for name, s in data.aws_secretsmanager_secret.this : name => s if try(s.kms_key_id, "") != "" && !endswith(try(s.kms_key_id, ""), "alias/aws/secretsmanager") }
  aliased   = { for name, s in local.encrypted : name => s if strcontains(s.kms_key_id, "alias/") }
  key_of = { for name, s in local.encrypted : s.id =>
    can(local.aliased[name]) ? data.aws_kms_key.secret[name].arn :
    startswith(s.kms_key_id, "arn:") ? s.kms_key_id : "arn:${local.partition}:kms:${split(":", s.id)[3]}:${local.account}:key/${s.kms_key_id}"
  }
  secret_arns = sort([for name in local.secret_names : local.arn_of[name]])

  invoke = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
  statements = concat(
    [for arns in [local.foundation] : { Sid = "Models", Effect = "Allow", Action = local.invoke, Resource = arns } if length(arns) > 0],
    length(local.profiles) == 0 ? [] : [
      { Sid = "Profiles", Effect = "Allow", Action = local.invoke, Resource = sort([for p in module.profiles.profiles : p.arn]) },
    ],
    [for i, key in sort(keys(local.profiles)) : {
      Sid       = "Profile${i}", Effect = "Allow", Action = local.invoke
      Resource  = local.behind[key]
      Condition = { StringEquals = { "bedrock:InferenceProfileArn" = module.profiles.profiles[key].arn } }
    }],
    [for arns in [local.secret_arns] : { Sid = "Secrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = arns } if length(arns) > 0],
    local.decrypt.gateway,
    local.assume.gateway,
    lookup(local.platform_token, "gateway", []),
    [for arns in [local.apis] : { Sid = "APIs", Effect = "Allow", Action = ["execute-api:Invoke"], Resource = arns } if length(arns) > 0],
    local.redis_login.gateway,
    local.every_function.gateway,
    local.in_network.gateway,
  )
  # A role has 10240 characters of policy. Statements about what is made here are
  # not known in a first plan, and have less than 800.
  policy_lengths = { for function, statements in { gateway = local.statements, rotate = local.rotation_statements } :
    function => 800 + length(jsonencode([for s in statements : s if !contains(["Events", "Ledger", "Failed"], s.Sid)]))
  }

  # What both functions are granted in the same way, each for what it needs.
  decrypt = { for function, of in {
    gateway  = { arns = local.secret_arns, actions = ["kms:Decrypt"], sid = "SecretKeys" }
    read     = { arns = local.rotation_secret_arns, actions = ["kms:Decrypt"], sid = "SecretKeys" }
    replaced = { arns = local.rotated_secret_arns, actions = ["kms:Decrypt", "kms:GenerateDataKey"], sid = "RotatedKeys" }
    } : function => [for keys in [sort(distinct([for arn in of.arns : local.key_of[arn] if contains(keys(local.key_of), arn)]))] : {
      Sid       = of.sid, Effect = "Allow", Action = of.actions, Resource = keys
      Condition = { StringEquals = { "kms:ViaService" = sort(distinct([for arn in of.arns : "secretsmanager.${split(":", arn)[3]}.amazonaws.com"])) } }
  } if length(keys) > 0] }

  assume = { for function, roles in { gateway = local.first_roles, rotate = local.rotation_roles } : function => concat(
    [for arns in [sort(distinct(roles[*].arn))] : { Sid = "Roles", Effect = "Allow", Action = ["sts:AssumeRole"], Resource = arns } if length(arns) > 0],
    [for arns in [sort(distinct([for r in roles : r.arn if r.tags]))] : { Sid = "RoleTags", Effect = "Allow", Action = ["sts:TagSession"], Resource = arns } if length(arns) > 0],
    [for arns in [sort(distinct([for r in roles : r.arn if r.id]))] : { Sid = "RoleSource", Effect = "Allow", Action = ["sts:SetSourceIdentity"], Resource = arns } if length(arns) > 0],
  ) }

  # This action knows no resources; its audience is what bounds it.
  platform_token = { for function, audiences in { gateway = local.audiences, rotate = local.rotation_audiences } : function => [{
    Sid       = "PlatformToken", Effect = "Allow", Action = ["sts:GetWebIdentityToken"], Resource = ["*"]
    Condition = { "ForAllValues:StringEquals" = { "sts:IdentityTokenAudience" = audiences }, Null = { "sts:IdentityTokenAudience" = "false" } }
  }] if length(audiences) > 0 }

  lambda_only = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })

  every_function = { for function, of in { gateway = local.function, rotate = local.rotation_function } : function => [
    # Whoever publishes says who it is, and as nobody else.
    {
      Sid       = "Events", Effect = "Allow", Action = ["events:PutEvents"], Resource = [aws_cloudwatch_event_bus.this.arn]
      Condition = { StringEquals = { "events:source" = "ai.postern.${of}" } }
    },
    { Sid = "Logs", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/lambda/${of}:log-stream:*"] },
    # Bedrock's own API keys are never of use here.
    { Sid = "NoBearerTokens", Effect = "Deny", Action = ["bedrock:CallWithBearerToken", "bedrock-mantle:CallWithBearerToken"], Resource = ["*"] },
  ] }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

module "profiles" {
  source   = "./profiles"
  profiles = { for key, p in local.profiles : key => { id = p.id, region = p.region } }
}

# Secrets are made elsewhere, so that their values never come near the state. The
# id of one is its ARN.
data "aws_secretsmanager_secret" "this" {
  for_each = setunion(local.secret_names, local.rotated_secret_names, local.rotation_secret_names)
  region   = startswith(each.value, "arn:") ? split(":", each.value)[3] : null
  arn      = startswith(each.value, "arn:") ? each.value : null
  name     = startswith(each.value, "arn:") ? null : each.value
}

# A secret names its key as whoever made it did. A permission is for the key
# itself.
data "aws_kms_key" "secret" {
  for_each = local.aliased
  region   = split(":", each.value.id)[3]
  key_id   = each.value.kms_key_id
}

resource "aws_iam_role" "gateway" {
  name               = "${var.name}-gateway"
  description        = "The gateway function ${var.name}"
  assume_role_policy = local.lambda_only
  tags               = var.tags
}

resource "aws_iam_role_policy" "gateway" {
  name   = "what-the-document-names"
  role   = aws_iam_role.gateway.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })

  lifecycle {
    precondition {
      condition     = alltrue([for u in local.bedrock : length(u.models) > 0])
      error_message = "Each bedrock upstream has to list its models, because each model is granted by name."
    }
    precondition {
      condition     = local.policy_lengths.gateway <= 10240
      error_message = "A role of IAM has 10240 characters of policy, and what the document names takes more: deploy two gateways with a part of its upstreams each. An inference profile takes most, since the model behind it is granted in all of its regions."
    }
    precondition {
      condition     = length(local.foreign_secrets) == 0
      error_message = "The function reads secrets of AWS Secrets Manager alone; these are elsewhere, or have a % in their name: ${join(", ", local.foreign_secrets)}."
    }
  }
}
