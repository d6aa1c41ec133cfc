# Identity-Aware Proxy in front of the service, where the document has fronts.iap:
# the proxy may call it and nobody else, and lets the callers of the variable in.

locals {
  iap_audience = local.iap ? "/projects/${data.google_project.this[0].number}/locations/${local.region}/services/${local.service}" : ""
  iap_agent    = join("", [for p in data.google_project.this : "serviceAccount:service-${p.number}@gcp-sa-iap.iam.gserviceaccount.com"])
  # Whom the invoker check lets in, by names that are known before the plan.
  invokers = local.iap ? toset(["iap"]) : length(var.callers) > 0 ? var.callers : var.platform.invoker_check ? toset(["allUsers"]) : toset([])
}

resource "google_iap_web_cloud_run_service_iam_member" "caller" {
  for_each               = local.iap ? var.callers : []
  project                = local.project
  location               = local.region
  cloud_run_service_name = google_cloud_run_v2_service.gateway.name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value
}
