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

variable "region" {
  description = "Where everything is made."
  type        = string
  default     = "europe-west4"
}

# The project is that of GOOGLE_PROJECT.
provider "google" {}

module "postern" {
  source      = "../../gcp"
  config_file = "${path.module}/postern.yaml"
  packages    = var.packages
  platform    = { region = var.region }
}

output "gateway_url" {
  description = "The base URL for OpenAI clients."
  value       = module.postern.gateway_url
}

output "gateway_identity" {
  description = "Whom the gateway is to model services and in other clouds' trust."
  value       = module.postern.gateway_identity
}

output "gateway_token" {
  description = "Whose token the gateway shows to other clouds, for their federation modules."
  value       = module.postern.gateway_token
}

output "invoke_command" {
  description = "A chat from the command line."
  value       = module.postern.invoke_command
}

output "rotation_identity" {
  description = "Whom the rotation function is to issuers of keys and in other clouds' trust. Null when there is nothing to rotate."
  value       = module.postern.rotation_identity
}

output "event_bus" {
  description = "Where events are, as POSTERN_EVENT_BUS names it."
  value       = module.postern.event_bus
}

output "rotation_command" {
  description = "Asks the rotation function from the command line how its keys are. Null when there is nothing to rotate."
  value       = module.postern.rotation_command
}
