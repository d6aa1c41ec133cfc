terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source = "hashicorp/google"
      # 7.0 has Identity-Aware Proxy on Cloud Run services.
      version = ">= 7.0, < 8"
    }
  }
}
