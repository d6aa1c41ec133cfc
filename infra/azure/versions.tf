terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source = "hashicorp/azurerm"
      # 5.0 has the system topics of Event Grid by their present names.
      version = ">= 5.0, < 6"
    }
  }
}
