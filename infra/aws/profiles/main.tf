# Which models stand behind inference profiles. It is a module of its own so that
# tests can say what Bedrock would answer.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29, < 7"
    }
  }
}

variable "profiles" {
  description = "Inference profiles: their ids or ARNs, and the region that they are called in."
  type        = map(object({ id = string, region = string }))
}

data "aws_bedrock_inference_profile" "this" {
  for_each             = var.profiles
  region               = each.value.region
  inference_profile_id = each.value.id
}

output "profiles" {
  description = "The profiles' ARNs, and those of their models in every region that they may forward to."
  value = { for key, p in data.aws_bedrock_inference_profile.this : key => {
    arn    = p.inference_profile_arn
    models = sort(distinct(p.models[*].model_arn))
  } }
}
