# What the rotation function may do: renew the keys that the document names, as
# the document says, and nothing else. It may call no model.

locals {
  rotated_secret_arns  = sort([for name in local.rotated_secret_names : local.arn_of[name]])
  rotation_secret_arns = sort([for name in setsubtract(local.rotation_secret_names, local.rotated_secret_names) : local.arn_of[name]])

  # Issuers at AWS work with a role of the key's own, or as the function itself
  # with exactly the user.
  aws_keys = [for k in local.keys : k if contains(["aws-iam", "bedrock-api-key"], k.issuer)]
  users = { for issuer in ["aws-iam", "bedrock-api-key"] : issuer => sort(distinct([
    for k in local.aws_keys : data.aws_iam_user.rotated[k.options.user_name].arn if k.issuer == issuer && !can(k.options.aws_roles)
  ])) }
  rotation_roles = [for k in local.aws_keys : {
    arn  = try(k.options.aws_roles[0].role_arn, k.options.aws_roles[0])
    tags = can(k.options.aws_roles[0].session_tags)
    id   = can(k.options.aws_roles[0].source_identity)
  } if can(k.options.aws_roles)]
  # Issuers at Azure take the platform's own token; Google takes a signed request,
  # which needs no permission.
  rotation_audiences = sort(distinct([for k in local.keys : local.entra_audiences[try(k.options.azure_cloud, "public")] if contains(["azure-openai", "entra"], k.issuer)]))

  rotation_statements = concat(
    [for arns in [local.rotated_secret_arns] : {
      Sid    = "Rotated", Effect = "Allow", Resource = arns
      Action = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
    } if length(arns) > 0],
    [for arns in [local.rotation_secret_arns] : { Sid = "Secrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = arns } if length(arns) > 0],
    local.decrypt.replaced,
    local.decrypt.read,
    [for arns in [local.users["aws-iam"]] : {
      Sid    = "AccessKeys", Effect = "Allow", Resource = arns
      Action = ["iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:GetAccessKeyLastUsed", "iam:ListAccessKeys", "iam:UpdateAccessKey"]
    } if length(arns) > 0],
    [for arns in [local.users["bedrock-api-key"]] : {
      Sid = "BedrockKeys", Effect = "Allow", Resource = arns
      Action = [
        "iam:CreateServiceSpecificCredential", "iam:DeleteServiceSpecificCredential", "iam:ListServiceSpecificCredentials",
        "iam:ResetServiceSpecificCredential", "iam:UpdateServiceSpecificCredential",
      ]
    } if length(arns) > 0],
    local.assume.rotate,
    lookup(local.platform_token, "rotate", []),
    [for key in data.aws_kms_key.audit : { Sid = "Signatures", Effect = "Allow", Action = ["kms:GetPublicKey", "kms:Sign"], Resource = [key.arn] }],
    [
      { Sid = "Ledger", Effect = "Allow", Action = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem"], Resource = aws_dynamodb_table.ledger[*].arn },
      { Sid = "Failed", Effect = "Allow", Action = ["sqs:SendMessage"], Resource = aws_sqs_queue.rotate[*].arn },
      { Sid = "NoModels", Effect = "Deny", Action = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream", "bedrock:InvokeModelWithBidirectionalStream"], Resource = ["*"] },
    ],
    local.redis_login.rotate,
    local.every_function.rotate,
    local.in_network.rotate,
  )
}

# The ARN of a user has its path, which the document does not.
data "aws_iam_user" "rotated" {
  for_each  = toset([for k in local.aws_keys : k.options.user_name if !can(k.options.aws_roles)])
  user_name = each.value
}

# The key that signs events may be named by an alias, and is granted itself.
data "aws_kms_key" "audit" {
  count  = local.signs_events ? 1 : 0
  key_id = var.audit_key
}

resource "aws_iam_role" "rotate" {
  count              = local.rotates ? 1 : 0
  name               = local.rotation_function
  description        = "The rotation function of ${var.name}"
  assume_role_policy = local.lambda_only
  tags               = var.tags
}

resource "aws_iam_role_policy" "rotate" {
  count  = local.rotates ? 1 : 0
  name   = "what-the-document-names"
  role   = aws_iam_role.rotate[0].name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.rotation_statements })

  lifecycle {
    precondition {
      condition     = local.policy_lengths.rotate <= 10240
      error_message = "A role of IAM has 10240 characters of policy, and the keys that are rotated take more: deploy two gateways with a part of them each."
    }
  }
}

# The scheduler starts the function, and nothing else.
resource "aws_iam_role" "schedule" {
  count       = local.rotates ? 1 : 0
  name        = "${var.name}-schedule"
  description = "Starts the rotation of ${var.name}"
  tags        = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account, "aws:SourceArn" = aws_scheduler_schedule_group.rotate[0].arn } }
    }]
  })
}

resource "aws_iam_role_policy" "schedule" {
  count = local.rotates ? 1 : 0
  name  = "start-the-rotation"
  role  = aws_iam_role.schedule[0].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "Start", Effect = "Allow", Action = ["lambda:InvokeFunction"], Resource = [aws_lambda_alias.rotate[0].arn] },
      { Sid = "Failed", Effect = "Allow", Action = ["sqs:SendMessage"], Resource = [aws_sqs_queue.rotate[0].arn] },
    ]
  })
}
