terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source = "hashicorp/google"
      # 6.11 builds functions from source as Cloud Run services.
      version = ">= 6.11, < 8"
    }
  }
}
