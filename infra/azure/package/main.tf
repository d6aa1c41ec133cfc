# The package of an app, which is published as the Azure CLI does it: the host
# takes it, and keeps it in the app's container. The provider's zip_deploy_file asks
# a service that Flex Consumption does not have, with a password that is switched
# off here. It is a module of its own so that tests reach no cloud.

terraform {
  required_version = ">= 1.9"
}

variable "file" {
  description = "The package."
  type        = string
}

variable "app" {
  description = "The app's host name and id."
  type        = object({ host = string, id = string })
}

variable "function" {
  description = "A function of the package that Azure has to know in the end. None is waited for where it is empty."
  type        = string
  default     = ""
}

# Another package is published, and the same one to another app.
resource "terraform_data" "package" {
  triggers_replace = [filesha256(var.file), var.app.id]

  provisioner "local-exec" {
    interpreter = ["sh"]
    command     = "${path.module}/publish.sh"
    environment = {
      PACKAGE = var.file
      # APP.azurewebsites.net has APP.scm.azurewebsites.net for this.
      HOST     = "https://${replace(var.app.host, "/^([^.]+)\\./", "$1.scm.")}"
      FUNCTION = var.function == "" ? "" : "https://management.azure.com${var.app.id}/functions/${var.function}?api-version=2024-04-01"
      PAUSE    = "10"
    }
  }
}
