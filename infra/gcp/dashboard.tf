# One page: how requests fare, and how the keys are.

locals {
  panels = concat(
    [
      { title = "Requests by status", filter = "${local.on_gateway} AND metric.type=\"run.googleapis.com/request_count\"", by = "metric.label.response_code", reducer = "REDUCE_SUM", aligner = "ALIGN_RATE" },
      { title = "Time to the whole answer, ms", filter = "${local.on_gateway} AND metric.type=\"run.googleapis.com/request_latencies\"", by = "resource.label.service_name", reducer = "REDUCE_PERCENTILE_95", aligner = "ALIGN_DELTA" },
      { title = "Instances", filter = "${local.on_gateway} AND metric.type=\"run.googleapis.com/container/instance_count\"", by = "metric.label.state", reducer = "REDUCE_SUM", aligner = "ALIGN_MAX" },
      { title = "Failed requests", logs = "${local.on_gateway} AND jsonPayload.message=\"request\" AND jsonPayload.status>=400" },
    ],
    [for panel in [
      { title = "Runs of the rotation by status", filter = "${local.on_rotate} AND metric.type=\"run.googleapis.com/request_count\"", by = "metric.label.response_code", reducer = "REDUCE_SUM", aligner = "ALIGN_DELTA" },
      { title = "Where each rotation stands", logs = "${local.on_rotate} AND jsonPayload.message=\"rotation\"" },
    ] : panel if local.rotates],
    [{ title = "Events", logs = "${local.logs} AND jsonPayload.specversion=\"1.0\"" }],
  )
}

resource "google_monitoring_dashboard" "this" {
  project = local.project
  dashboard_json = jsonencode({
    displayName = var.name
    mosaicLayout = {
      columns = 48
      # The API tells of no position that is 0, so each plan would show one.
      tiles = [for i, p in local.panels : merge({ for name, at in { xPos = (i % 2) * 24, yPos = floor(i / 2) * 16 } : name => at if at > 0 }, {
        width  = 24
        height = 16
        widget = merge({ title = p.title }, try({ logsPanel = { filter = p.logs } }, {
          xyChart = { dataSets = [{
            plotType = "LINE"
            timeSeriesQuery = { timeSeriesFilter = {
              filter      = p.filter
              aggregation = { alignmentPeriod = "300s", perSeriesAligner = p.aligner, crossSeriesReducer = p.reducer, groupByFields = [p.by] }
            } }
          }] }
        }))
      })]
    }
  })
  depends_on = [google_project_service.this]
}
