# A Redis server where the document has cache.redis with auth_type native and no
# url: the services log in to it with IAM, and it has no password.

locals {
  redis_name = "${var.name}-redis"
  redis_path = "projects/${local.project}/locations/${local.region}/instances/${local.redis_name}"
  redis_members = { for user, email in {
    gateway = google_service_account.gateway.email
    rotate  = one(google_service_account.rotate[*].email)
  } : user => "serviceAccount:${coalesce(email, "nobody")}" if contains(local.redis_users, user) }
  redis_connections = flatten([for r in google_memorystore_instance.redis : r.endpoints[*].connections[*].psc_auto_connection])
  redis_environment = !local.redis ? {} : {
    POSTERN_REDIS_URL = "rediss://${[for c in local.redis_connections : c.ip_address if c.connection_type == "CONNECTION_TYPE_PRIMARY"][0]}:6379"
    POSTERN_REDIS_CA  = join("\n", flatten([for r in google_memorystore_instance.redis : r.managed_server_ca[*].ca_certs[*].certificates]))
  }
  # A subnet is named by itself, or with its project.
  redis_subnet = one([for n in local.network : one(n.subnets)])
  redis_host   = try(regex("projects/([^/]+)/", local.redis_subnet)[0], local.project)
}

data "google_compute_subnetwork" "redis" {
  count   = local.redis && length(local.network) > 0 ? 1 : 0
  project = local.redis_host
  region  = local.region
  name    = reverse(split("/", local.redis_subnet))[0]
}

# Memorystore may have addresses in the subnet. A network has one of these in each
# region.
resource "google_network_connectivity_service_connection_policy" "redis" {
  count         = local.redis && var.platform.redis.service_connection_policy ? 1 : 0
  project       = local.redis_host
  location      = local.region
  name          = local.redis_name
  service_class = "gcp-memorystore"
  description   = "The Redis server of ${var.name}"
  network       = local.redis_network.id
  labels        = var.tags
  depends_on    = [google_project_service.this]

  psc_config {
    subnetworks = [local.redis_network.subnet]
  }
}

locals {
  redis_network = {
    id     = join("", [for s in data.google_compute_subnetwork.redis : replace(s.network, "https://www.googleapis.com/compute/v1/", "")])
    subnet = join("", [for s in data.google_compute_subnetwork.redis : replace(s.self_link, "https://www.googleapis.com/compute/v1/", "")])
  }
}

resource "google_memorystore_instance" "redis" {
  count                       = local.redis ? 1 : 0
  project                     = local.project
  location                    = local.region
  instance_id                 = local.redis_name
  engine_version              = "VALKEY_8_0"
  mode                        = "CLUSTER_DISABLED"
  node_type                   = var.platform.redis.node_type
  shard_count                 = 1
  replica_count               = var.platform.redis.replicas
  authorization_mode          = "IAM_AUTH"
  transit_encryption_mode     = "SERVER_AUTHENTICATION"
  server_ca_mode              = "GOOGLE_MANAGED_PER_INSTANCE_CA"
  deletion_protection_enabled = false
  engine_configs              = { maxmemory-policy = "volatile-lru" }
  labels                      = var.tags
  depends_on                  = [google_project_service.this, google_network_connectivity_service_connection_policy.redis]

  desired_auto_created_endpoints {
    network    = local.redis_network.id
    project_id = local.project
  }

  lifecycle {
    precondition {
      condition     = length(local.network) > 0
      error_message = "Memorystore is reached from a network alone: give network.subnets, or a url in cache.redis."
    }
  }
}

# Who may log in: to this server, and to no other of the project.
resource "google_project_iam_member" "redis" {
  for_each = local.redis_users
  project  = local.project
  role     = "roles/memorystore.dbConnectionUser"
  member   = local.redis_members[each.key]

  condition {
    title      = "${local.redis_name} alone"
    expression = "resource.name == \"${local.redis_path}\""
  }
}
