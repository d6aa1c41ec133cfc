locals {
  on_gateway = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${local.service}\""
  on_rotate  = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${local.rotation_service}\""

  # What is counted in the log, and by that is an alarm.
  counted = merge(
    { throttles = { filter = "${local.on_gateway} AND textPayload:\"no available instance\"", what = "The gateway has no instance left for a request." } },
    { for name, sign in local.signs : name => { filter = "${local.on_rotate} AND jsonPayload.type=\"${sign.type}\"", what = sign.what } },
    { for name in ["outbox-stuck"] : name => { filter = "${local.on_rotate} AND jsonPayload.error:\"${local.outbox}\"", what = local.outbox_what } if local.rotates },
    { for name in ["stranger"] : name => { filter = local.stranger, what = local.stranger_what } if local.watched },
  )
  alarms = merge(
    {
      server-errors = { filter = "${local.on_gateway} AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\"", threshold = var.alarms.server_errors, what = "The gateway answers requests with server errors." }
    },
    { for name, c in local.counted : name => { filter = "metric.type=\"logging.googleapis.com/user/${var.name}/${name}\" AND resource.type=\"${name == "stranger" ? "audited_resource" : "cloud_run_revision"}\"", what = c.what } },
    { for name, alarm in {
      rotation-crashes = { filter = "${local.on_rotate} AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\"", what = "Runs of the rotation fail." }
    } : name => alarm if local.rotates },
    { for name in ["undelivered"] : name => {
      filter = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${local.rotation_service}-failed\" AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\"", gauge = true
      what   = "Notices of Secret Manager were given up."
    } if local.notices > 0 },
  )
}

resource "google_logging_metric" "counted" {
  for_each    = local.counted
  project     = local.project
  name        = "${var.name}/${each.key}"
  description = each.value.what
  filter      = each.value.filter
  depends_on  = [google_project_service.this]
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

module "metrics" {
  source     = "./metrics"
  project    = local.project
  types      = [for name in keys(local.counted) : "logging.googleapis.com/user/${var.name}/${name}"]
  depends_on = [google_logging_metric.counted]
}

resource "google_monitoring_alert_policy" "this" {
  for_each              = local.alarms
  project               = local.project
  display_name          = "${var.name} ${each.key}"
  combiner              = "OR"
  notification_channels = var.alarms.notify
  user_labels           = var.tags
  depends_on            = [google_project_service.this, module.metrics]

  conditions {
    display_name = each.value.what
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = try(each.value.threshold, 1) - 1
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = try(each.value.gauge, false) ? "ALIGN_MAX" : "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }
}

# Nothing is heard of the rotation for as long as this alarm can wait, a little
# less than a day. One that runs at one hour a day would raise it every day.
resource "google_monitoring_alert_policy" "idle" {
  count                 = local.rotates && can(regex("[*/,-]", split(" ", var.rotation_schedule)[1])) ? 1 : 0
  project               = local.project
  display_name          = "${var.name} rotation-idle"
  combiner              = "OR"
  notification_channels = var.alarms.notify
  user_labels           = var.tags
  depends_on            = [google_project_service.this]

  conditions {
    display_name = "The rotation has not run for a day."
    condition_absent {
      filter   = "${local.on_rotate} AND metric.type=\"run.googleapis.com/request_count\""
      duration = "84600s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }
}

# Who else reads the secrets is in the audit log, once it has reads.
locals {
  # The log has the number of a secret's project, so secrets go by their names.
  watched_names = sort(distinct([for path in local.path_of : reverse(split("/", path))[0]]))
  unheard       = local.watched ? sort(distinct([for path in local.path_of : path if split("/", path)[1] != local.project])) : []
  known_readers = sort(distinct(concat([google_service_account.gateway.email], google_service_account.rotate[*].email, tolist(var.alarms.readers == null ? [] : var.alarms.readers))))
  stranger = join(" AND ", [
    "protoPayload.methodName=\"google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion\"",
    "(${join(" OR ", [for name in local.watched_names : "protoPayload.resourceName:\"/secrets/${name}/\""])})",
    "NOT protoPayload.authenticationInfo.principalEmail=(${join(" OR ", [for r in local.known_readers : "\"${r}\""])})",
  ])
}

# A metric of the log hears of its own project alone.
check "strangers" {
  assert {
    condition     = length(local.unheard) == 0
    error_message = "The alarm \"stranger\" does not hear who reads secrets of another project, which is in that project's log: ${join(", ", local.unheard)}."
  }
}

resource "google_project_iam_audit_config" "reads" {
  for_each = local.watched ? toset([for path in local.path_of : split("/", path)[1]]) : []
  project  = each.value
  service  = "secretmanager.googleapis.com"
  audit_log_config {
    log_type = "DATA_READ"
  }
  depends_on = [google_project_service.this]
}
