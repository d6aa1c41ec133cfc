terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source = "hashicorp/azurerm"
      # The tests know this one, which has the system topics of Event Grid by their present names.
      version = ">= 5.2, < 6"
    }
  }
}
