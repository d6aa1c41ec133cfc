locals {
  service = "${var.name}-gateway"
  apis = toset(concat(
    ["artifactregistry", "cloudbuild", "cloudresourcemanager", "iam", "logging", "monitoring", "pubsub", "run", "storage"],
    length(local.vertex) > 0 ? ["aiplatform"] : [],
    length(local.acted_as) + length(local.rotation_acted_as) > 0 ? ["iamcredentials"] : [],
    length(local.path_of) > 0 ? ["secretmanager"] : [],
    # Wherever the key is, it is this project that calls.
    local.signs_events ? ["cloudkms"] : [],
    local.rotates ? ["cloudscheduler"] : [],
    local.iap ? ["iap"] : [],
    length(local.api_key_projects) > 0 ? ["apikeys"] : [],
    local.redis ? ["compute", "memorystore", "networkconnectivity"] : [],
  ))
  image = "${local.region}-docker.pkg.dev/${local.project}/${google_artifact_registry_repository.gateway.repository_id}/gateway"
  # The Go release is the one that the functions are tested with: that of a builder may
  # be too old for the source, and there is no other for source with a vendor folder.
  # Without the symbol table, as everywhere else.
  build_environment = { GOOGLE_GO_VERSION = "1.26.8", GOOGLE_GOLDFLAGS = "-s -w" }
  # Names of buckets are taken worldwide, and have 63 characters at most.
  buckets = { for use, name in { source = "${local.project}-${local.service}-source", ledger = "${local.project}-${var.name}-ledger" } :
    use => length(name) <= 63 ? name : "${trimsuffix(substr(name, 0, 54), "-")}-${substr(sha256(name), 0, 8)}"
  }
  environment = merge(
    { POSTERN_CONFIG = local.text, POSTERN_EVENT_BUS = google_pubsub_topic.events.id, POSTERN_DEPLOYMENT = var.name, GOOGLE_CLOUD_PROJECT = local.project },
    # The invoker check below is on for these callers and nobody else.
    length(var.callers) > 0 && !local.iap ? { POSTERN_PLATFORM_IAM = "true" } : {},
  )
  gateway_environment = merge(local.environment, local.redis_environment)
}

resource "google_project_service" "this" {
  for_each           = local.apis
  project            = local.project
  service            = "${each.value}.googleapis.com"
  disable_on_destroy = false
}

# The source, from which Cloud Build makes an image.
resource "google_storage_bucket" "source" {
  project                     = local.project
  name                        = local.buckets.source
  location                    = local.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  labels                      = var.tags
  depends_on                  = [google_project_service.this]
}

resource "google_storage_bucket_object" "source" {
  bucket = google_storage_bucket.source.name
  # Another package is another object, and so another build.
  name   = "gateway-${filesha256(var.packages.gateway)}.zip"
  source = var.packages.gateway

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_artifact_registry_repository" "gateway" {
  project       = local.project
  location      = local.region
  repository_id = local.service
  format        = "DOCKER"
  description   = "Images of the gateway function ${var.name}"
  labels        = var.tags
  depends_on    = [google_project_service.this]

  cleanup_policies {
    id     = "keep-the-last-ten"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }
  cleanup_policies {
    id     = "delete-others"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "2592000s"
    }
  }
}

# Who builds: an identity that may read the source, write the image and log.
resource "google_service_account" "build" {
  project      = local.project
  account_id   = "${var.name}-build"
  display_name = "Builds the gateway function ${var.name}"
  depends_on   = [google_project_service.this]
}

resource "google_storage_bucket_iam_member" "build" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_service_account.build.email}"
}

resource "google_artifact_registry_repository_iam_member" "build" {
  project    = local.project
  location   = local.region
  repository = google_artifact_registry_repository.gateway.repository_id
  role       = "roles/artifactregistry.writer"
  member     = "serviceAccount:${google_service_account.build.email}"
}

resource "google_project_iam_member" "build" {
  project = local.project
  role    = "roles/logging.logWriter"
  member  = "serviceAccount:${google_service_account.build.email}"
}

module "image" {
  source          = "./image"
  place           = "projects/${local.project}/locations/${local.region}"
  archive         = { bucket = google_storage_bucket.source.name, object = google_storage_bucket_object.source.name }
  function        = "Gateway"
  image           = local.image
  service_account = google_service_account.build.id
  environment     = local.build_environment
  depends_on = [
    google_project_service.this,
    google_storage_bucket_iam_member.build,
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build,
  ]
}

resource "google_cloud_run_v2_service" "gateway" {
  project     = local.project
  location    = local.region
  name        = local.service
  description = "OpenAI-compatible gateway without stored keys"
  ingress     = "INGRESS_TRAFFIC_ALL"
  iap_enabled = local.iap
  # Organizations forbid allUsers, as new ones do by themselves. A check goes off
  # before a revision is there that does without it, so nobody takes that for granted.
  invoker_iam_disabled = !var.platform.invoker_check
  deletion_protection  = false
  labels               = var.tags

  # What the image was made of.
  build_config {
    source_location       = "gs://${google_storage_bucket.source.name}/${google_storage_bucket_object.source.name}"
    function_target       = "Gateway"
    image_uri             = local.image
    service_account       = google_service_account.build.id
    environment_variables = local.build_environment
  }

  template {
    service_account = google_service_account.gateway.email
    # The function ends requests itself, a second before the platform would.
    timeout                          = "${min(3600, local.request_seconds + 5)}s"
    max_instance_request_concurrency = 80
    labels                           = var.tags
    # The image keeps its name, and a revision the image that it began with.
    annotations = { "postern.ai/source" = google_storage_bucket_object.source.name }

    scaling {
      min_instance_count = 0
      max_instance_count = var.max_instances == null ? 100 : var.max_instances
    }

    dynamic "vpc_access" {
      for_each = local.network
      content {
        egress = "ALL_TRAFFIC"
        network_interfaces {
          subnetwork = one(vpc_access.value.subnets)
          tags       = sort(vpc_access.value.security_groups)
        }
      }
    }

    containers {
      image = module.image.image
      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }
      dynamic "env" {
        for_each = local.gateway_environment
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = alltrue([for n in local.network : length(n.subnets) == 1 && length(n.endpoints) == 0])
      error_message = "A service sends by way of one subnet, and reaches Google's own services from there with Private Google Access: give one of network.subnets, and no network.endpoints."
    }
    precondition {
      condition     = var.platform.invoker_check || (length(var.callers) == 0 && !local.iap)
      error_message = "Who may call this gateway is for the invoker check to find out: remove platform.invoker_check, or the variable callers."
    }
    precondition {
      condition     = local.admission == ""
      error_message = local.admission
    }
    precondition {
      condition     = !local.iap || contains(try(local.parsed.fronts.iap.audiences, [local.parsed.fronts.iap.audience], []), local.iap_audience)
      error_message = "Assertions of Identity-Aware Proxy are for this service here: give fronts.iap the audience ${local.iap_audience}."
    }
    precondition {
      condition     = length(base64encode(local.text)) / 4 * 3 <= 32768
      error_message = "A variable of a Cloud Run service has 32 KB: shorten the document."
    }
  }

  depends_on = [
    google_project_iam_member.models,
    google_secret_manager_secret_iam_member.gateway,
    google_pubsub_topic_iam_member.gateway,
    google_project_iam_member.redis,
  ]
}

# Whom the invoker check lets in, where it is on.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = local.invokers
  project  = local.project
  location = local.region
  name     = google_cloud_run_v2_service.gateway.name
  role     = "roles/run.invoker"
  member   = local.iap ? local.iap_agent : each.value
}

# The services' logs have a bucket of their own, with a retention of their own.
resource "google_logging_project_bucket_config" "gateway" {
  project        = local.project
  location       = local.region
  bucket_id      = local.service
  retention_days = var.log_retention_days
  description    = "Logs of the gateway function ${var.name}"
  depends_on     = [google_project_service.this]
}

resource "google_logging_project_sink" "gateway" {
  project                = local.project
  name                   = local.service
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.gateway.id}"
  filter                 = local.logs
  unique_writer_identity = true
}

# Exclusions are those of the project's default bucket.
resource "google_logging_project_exclusion" "gateway" {
  project     = local.project
  name        = local.service
  description = "Kept in the bucket ${local.service}"
  filter      = local.logs
  depends_on  = [google_logging_project_sink.gateway]
}

locals {
  services = local.rotates ? "resource.labels.service_name=(\"${local.service}\" OR \"${local.rotation_service}\")" : "resource.labels.service_name=\"${local.service}\""
  logs     = "resource.type=\"cloud_run_revision\" AND ${local.services} AND resource.labels.location=\"${local.region}\""
}
