# The function that renews stored keys, and tokens before anybody asks for them;
# what it remembers, and who starts it. Without anything to renew there is none.

locals {
  rotation_service     = "${var.name}-rotate"
  rotation_image       = "${local.region}-docker.pkg.dev/${local.project}/${google_artifact_registry_repository.gateway.repository_id}/rotate"
  rotation_environment = merge(local.environment, local.redis_environment, { POSTERN_LEDGER = join("", [for b in google_storage_bucket.ledger : "gs://${b.name}"]) }, local.audit_environment)
}

resource "google_storage_bucket_object" "rotate" {
  count  = local.rotates ? 1 : 0
  bucket = google_storage_bucket.source.name
  # Another package is another object, and so another build.
  name   = "rotate-${try(filesha256(var.packages.rotate), "")}.zip"
  source = var.packages.rotate

  lifecycle {
    create_before_destroy = true
  }
}

module "rotation_image" {
  count           = local.rotates ? 1 : 0
  source          = "./image"
  place           = "projects/${local.project}/locations/${local.region}"
  archive         = { bucket = google_storage_bucket.source.name, object = google_storage_bucket_object.rotate[0].name }
  function        = "Rotate"
  image           = local.rotation_image
  service_account = google_service_account.build.id
  environment     = local.build_environment
  depends_on = [
    google_project_service.this,
    google_storage_bucket_iam_member.build,
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build,
  ]
}

resource "google_cloud_run_v2_service" "rotate" {
  count       = local.rotates ? 1 : 0
  project     = local.project
  location    = local.region
  name        = local.rotation_service
  description = "Renews the stored keys of ${var.name}"
  # The invoker check keeps out all but those who are named below.
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = false
  labels              = var.tags

  build_config {
    source_location       = "gs://${google_storage_bucket.source.name}/${google_storage_bucket_object.rotate[0].name}"
    function_target       = "Rotate"
    image_uri             = local.rotation_image
    service_account       = google_service_account.build.id
    environment_variables = local.build_environment
  }

  template {
    service_account = google_service_account.rotate[0].email
    # A run does what can be done now; the next one goes on.
    timeout                          = "600s"
    max_instance_request_concurrency = 10
    labels                           = var.tags
    annotations                      = { "postern.ai/source" = google_storage_bucket_object.rotate[0].name }

    scaling {
      min_instance_count = 0
      max_instance_count = 1
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
      image = module.rotation_image[0].image
      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }
      dynamic "env" {
        for_each = local.rotation_environment
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.rotated,
    google_secret_manager_secret_iam_member.rotate,
    google_storage_bucket_iam_member.ledger,
    google_pubsub_topic_iam_member.rotate,
    google_kms_crypto_key_iam_member.audit,
    google_project_iam_member.redis,
  ]
}

# Who starts it: an account that may call this service and do nothing else.
resource "google_service_account" "schedule" {
  count        = local.rotates ? 1 : 0
  project      = local.project
  account_id   = "${var.name}-cron"
  display_name = "Starts the rotation of ${var.name}"
  depends_on   = [google_project_service.this]
}

resource "google_cloud_run_v2_service_iam_member" "schedule" {
  count    = local.rotates ? 1 : 0
  project  = local.project
  location = local.region
  name     = google_cloud_run_v2_service.rotate[0].name
  role     = "roles/run.invoker"
  member   = "serviceAccount:${google_service_account.schedule[0].email}"
}

resource "google_cloud_scheduler_job" "rotate" {
  count            = local.rotates ? 1 : 0
  project          = local.project
  region           = local.region
  name             = local.rotation_service
  description      = "Has the rotation look for what is due"
  schedule         = var.rotation_schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "620s"
  depends_on       = [google_project_service.this, google_cloud_run_v2_service_iam_member.schedule]

  retry_config {
    retry_count          = 3
    min_backoff_duration = "30s"
    max_backoff_duration = "300s"
  }

  http_target {
    uri         = "${google_cloud_run_v2_service.rotate[0].uri}/"
    http_method = "POST"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode({ postern = "rotate" }))
    oidc_token {
      service_account_email = google_service_account.schedule[0].email
      audience              = google_cloud_run_v2_service.rotate[0].uri
    }
  }
}

# Secret Manager may start a rotation too, where a secret's own rotation names the
# topic of these notices.
data "google_project" "this" {
  count      = local.notices > 0 || local.iap ? 1 : 0
  project_id = local.project
}

locals {
  notices = length(local.rotated_secret_names) > 0 ? 1 : 0
  agents = { for name in ["secretmanager", "pubsub"] :
    name => join("", [for p in data.google_project.this : "serviceAccount:service-${p.number}@gcp-sa-${name}.iam.gserviceaccount.com"])
  }
}

resource "google_pubsub_topic" "notices" {
  count      = local.notices
  project    = local.project
  name       = "${var.name}-secrets"
  labels     = var.tags
  depends_on = [google_project_service.this]
}

resource "google_pubsub_topic_iam_member" "notices" {
  count   = local.notices
  project = local.project
  topic   = google_pubsub_topic.notices[0].name
  role    = "roles/pubsub.publisher"
  member  = local.agents.secretmanager
}

# An agent that somebody has had made, rather than the platform, has no right to
# anything, and the service wants a token with each notice.
resource "google_service_account_iam_member" "notices" {
  count              = local.notices
  service_account_id = google_service_account.schedule[0].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.agents.pubsub
}

resource "google_pubsub_subscription" "notices" {
  count                = local.notices
  project              = local.project
  name                 = "${var.name}-secrets"
  topic                = google_pubsub_topic.notices[0].id
  filter               = "attributes.eventType = \"SECRET_ROTATE\""
  ack_deadline_seconds = 600
  labels               = var.tags

  push_config {
    push_endpoint = "${google_cloud_run_v2_service.rotate[0].uri}/"
    oidc_token {
      service_account_email = google_service_account.schedule[0].email
      audience              = google_cloud_run_v2_service.rotate[0].uri
    }
  }
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.failed[0].id
    max_delivery_attempts = 10
  }
  expiration_policy {
    ttl = ""
  }
}

# Notices that could not be delivered.
resource "google_pubsub_topic" "failed" {
  count      = local.notices
  project    = local.project
  name       = "${local.rotation_service}-failed"
  labels     = var.tags
  depends_on = [google_project_service.this]
}

resource "google_pubsub_subscription" "failed" {
  count                      = local.notices
  project                    = local.project
  name                       = "${local.rotation_service}-failed"
  topic                      = google_pubsub_topic.failed[0].id
  message_retention_duration = "1209600s"
  labels                     = var.tags
  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "failed" {
  count   = local.notices
  project = local.project
  topic   = google_pubsub_topic.failed[0].name
  role    = "roles/pubsub.publisher"
  member  = local.agents.pubsub
}

resource "google_pubsub_subscription_iam_member" "failed" {
  count        = local.notices
  project      = local.project
  subscription = google_pubsub_subscription.notices[0].name
  role         = "roles/pubsub.subscriber"
  member       = local.agents.pubsub
}

# What rotations remember: an object for each record, which goes by itself when
# its time has come. Old states are not kept.
resource "google_storage_bucket" "ledger" {
  count                       = local.rotates ? 1 : 0
  project                     = local.project
  name                        = local.buckets.ledger
  location                    = local.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection
  labels                      = var.tags
  depends_on                  = [google_project_service.this]

  versioning {
    enabled = false
  }
  soft_delete_policy {
    retention_duration_seconds = 0
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_custom_time = 1
    }
  }
}

# It goes before everything that it depends on, or refuses to, and so keeps that.
resource "terraform_data" "rotation" {
  count = local.rotates ? 1 : 0
  input = {
    end = var.deletion_protection ? "echo 'The rotation of stored keys may be under way. End it as the README says, and apply with deletion_protection = false first.' >&2 && exit 1" : "exit 0"
  }

  provisioner "local-exec" {
    when    = destroy
    command = self.output.end
  }

  # Another name is another deployment, and the end of this one.
  lifecycle {
    replace_triggered_by = [google_storage_bucket.ledger[0].name]
  }

  depends_on = [
    google_cloud_run_v2_service.gateway, google_cloud_run_v2_service_iam_member.invoker, google_cloud_run_v2_service.rotate,
    google_cloud_scheduler_job.rotate, google_pubsub_subscription.notices, google_pubsub_subscription_iam_member.failed,
    google_service_account_iam_member.notices,
    google_pubsub_topic_iam_member.failed, google_pubsub_topic_iam_member.notices, google_pubsub_subscription.failed,
    google_storage_bucket.ledger, google_project_iam_member.models, google_service_account_iam_member.acted_as,
    google_service_account_iam_member.rotation_acted_as, google_service_account_iam_member.account_keys, google_project_iam_member.api_keys,
  ]
}
