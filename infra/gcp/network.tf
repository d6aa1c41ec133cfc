# A network of one's own: both services send all that they send by way of a subnet,
# where network tags say what is let out. Google's own services are reached from
# there with Private Google Access, which is the subnet's.

locals {
  network = var.network == null ? [] : [var.network]
}
