terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 6.29 knows permissions for calls by way of a function URL.
      version = ">= 6.29, < 7"
    }
  }
}
