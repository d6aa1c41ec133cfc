# Metrics of the log that alarms can use: Cloud Monitoring knows a new one a while
# after Cloud Logging does, and the provider does not wait. It is a module of its
# own so that tests reach no cloud.

terraform {
  required_version = ">= 1.9"
}

variable "project" {
  description = "The project of the metrics."
  type        = string
}

variable "types" {
  description = "The metrics, as Cloud Monitoring calls them."
  type        = set(string)
}

# One more metric is waited for.
resource "terraform_data" "known" {
  triggers_replace = [var.project, sort(var.types)]

  provisioner "local-exec" {
    interpreter = ["sh"]
    command     = "${path.module}/await.sh"
    environment = {
      DESCRIPTORS = "https://monitoring.googleapis.com/v3/projects/${var.project}/metricDescriptors"
      TYPES       = join(" ", sort(var.types))
      PAUSE       = "10"
    }
  }
}
