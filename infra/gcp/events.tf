# Where events go: a topic, which keeps them for as long as logs are kept, and for
# 31 days at most. A subscription that is made later can begin in the past.

resource "google_pubsub_topic" "events" {
  project                    = local.project
  name                       = var.name
  message_retention_duration = "${min(31, var.log_retention_days) * 86400}s"
  labels                     = var.tags
  depends_on                 = [google_project_service.this]
}

resource "google_pubsub_topic_iam_member" "gateway" {
  project = local.project
  topic   = google_pubsub_topic.events.name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:${google_service_account.gateway.email}"
}
