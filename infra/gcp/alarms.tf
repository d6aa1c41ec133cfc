resource "google_monitoring_alert_policy" "server_errors" {
  project               = local.project
  display_name          = "${local.service} server-errors"
  combiner              = "OR"
  notification_channels = var.alarms.notify
  user_labels           = var.tags
  depends_on            = [google_project_service.this]

  conditions {
    display_name = "The gateway answers requests with server errors."
    condition_threshold {
      filter          = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.gateway.name}\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.alarms.server_errors - 1
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }
}
