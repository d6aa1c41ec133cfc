terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source = "hashicorp/azurerm"
      # 4.21 knows apps on Flex Consumption plans.
      version = ">= 4.21, < 6"
    }
  }
}
