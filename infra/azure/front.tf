# Client certificates, where the document has fronts.app_service: the app wants
# one of each caller, and the gateway checks whose it is.

locals {
  certificates = contains(local.fronts, "app_service")
}
