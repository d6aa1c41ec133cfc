# The smallest deployment: change postern.yaml and apply.

terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.11, < 8"
    }
  }
}

variable "package" {
  description = "The gateway's package, from `make package`."
  type        = string
  default     = "../../../dist/package/gateway-gcp.zip"
}

# The project and the region are those of GOOGLE_PROJECT and GOOGLE_REGION.
provider "google" {}

module "postern" {
  source      = "../../gcp"
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
