terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source = "hashicorp/google"
      # The tests know this one, which has Identity-Aware Proxy on Cloud Run services.
      version = ">= 7.45, < 8"
    }
  }
}
