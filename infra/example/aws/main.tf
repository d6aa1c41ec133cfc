# The smallest deployment: change postern.yaml and apply.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29, < 7"
    }
  }
}

variable "package" {
  description = "The gateway's package, from `make package`."
  type        = string
  default     = "../../../dist/package/gateway-aws-arm64.zip"
}

# The region is that of AWS_REGION or of your profile.
provider "aws" {}

module "postern" {
  source      = "../../aws"
  config_file = "${path.module}/postern.yaml"
  packages    = { gateway = var.package }
}

output "gateway_url" {
  value = module.postern.gateway_url
}

output "gateway_identity" {
  value = module.postern.gateway_identity
}

output "invoke_command" {
  value = module.postern.invoke_command
}
