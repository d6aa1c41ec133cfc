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

variable "packages" {
  description = "The packages, from `make package`. The second is deployed once the document has keys to rotate."
  type        = object({ gateway = string, rotate = string })
  default = {
    gateway = "../../../dist/package/gateway-aws-arm64.zip"
    rotate  = "../../../dist/package/rotate-aws-arm64.zip"
  }
}

# The region is that of AWS_REGION or of your profile.
provider "aws" {}

module "postern" {
  source      = "../../aws"
  config_file = "${path.module}/postern.yaml"
  packages    = var.packages
}

output "gateway_url" {
  value = module.postern.gateway_url
}

output "gateway_identity" {
  value = module.postern.gateway_identity
}

output "gateway_token" {
  value = module.postern.gateway_token
}

output "invoke_command" {
  value = module.postern.invoke_command
}

output "rotation_identity" {
  value = module.postern.rotation_identity
}

output "event_bus" {
  value = module.postern.event_bus
}

output "rotation_command" {
  value = module.postern.rotation_command
}
