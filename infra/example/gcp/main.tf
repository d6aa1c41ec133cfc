# The smallest deployment: change postern.yaml and apply.

terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.45, < 8"
    }
  }
}

variable "packages" {
  description = "The packages, from `make package`. The second is deployed once the document has keys to rotate."
  type        = object({ gateway = string, rotate = string })
  default = {
    gateway = "../../../dist/package/gateway-gcp.zip"
    rotate  = "../../../dist/package/rotate-gcp.zip"
  }
}

# The project and the region are those of GOOGLE_PROJECT and GOOGLE_REGION.
provider "google" {}

module "postern" {
  source      = "../../gcp"
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
