# The image of a function, which Cloud Build makes of its source in the way of
# `gcloud run deploy --function`. The provider has nothing that does so: a service
# of Cloud Run runs an image that is there, and its build_config is a note of where
# that came from. It is a module of its own so that tests reach no cloud.

terraform {
  required_version = ">= 1.9"
}

variable "place" {
  description = "Where it is built: projects/PROJECT/locations/REGION."
  type        = string
}

variable "archive" {
  description = "The source: an object in a bucket, whose name changes with its content."
  type        = object({ bucket = string, object = string })
}

variable "function" {
  description = "The name of the function in the source."
  type        = string
}

variable "image" {
  description = "What the image is called, without a tag."
  type        = string
}

variable "service_account" {
  description = "Who builds, as projects/PROJECT/serviceAccounts/EMAIL."
  type        = string
}

variable "environment" {
  description = "Variables of the build."
  type        = map(string)
  default     = {}
}

locals {
  build = {
    storageSource  = var.archive
    imageUri       = var.image
    serviceAccount = var.service_account
    buildpackBuild = { functionTarget = var.function, environmentVariables = var.environment }
  }
}

# Another package is another build.
resource "terraform_data" "build" {
  triggers_replace = local.build

  provisioner "local-exec" {
    interpreter = ["sh"]
    command     = "${path.module}/build.sh"
    environment = {
      SUBMIT = "https://run.googleapis.com/v2/${var.place}/builds:submit"
      BUILDS = "https://cloudbuild.googleapis.com/v1/${split("/locations/", var.place)[0]}/locations"
      BUILD  = jsonencode(local.build)
      PAUSE  = "10"
    }
  }
}

output "image" {
  description = "The image, once it is there."
  value       = var.image
  depends_on  = [terraform_data.build]
}
