# What the gateway may do: what the document names, and nothing else.

locals {
  store   = "gcp-sm"
  project = var.platform.project != null ? var.platform.project : trimprefix(data.google_project.default[0].id, "projects/")
  # The linter reads this without a region, and so without the validation of it.
  region = var.platform.region == null ? "" : var.platform.region

  # Upstreams on Vertex AI that are called as the function's service account,
  # and those that it calls as another one.
  vertex = [for u in local.upstreams : u if u.provider == "vertex" && !u.stored && !can(u.options.gcp_workload_identity_provider)]
  # Vertex AI grants by project: its models are no resources of one's own.
  projects = toset([for u in local.vertex : try(u.options.project_id, local.project) if !can(u.options.gcp_service_account)])
  # The first delegate is acted as by the function, the others by the one before.
  acted_as = toset([for u in local.vertex : concat(try(u.options.gcp_delegates, []), [u.options.gcp_service_account])[0] if can(u.options.gcp_service_account)])

  # projects/PROJECT/secrets/NAME, with or without /versions/VERSION.
  path_of = { for name in setunion(local.secret_names, local.rotated_secret_names, local.rotation_secret_names) :
    name => startswith(name, "projects/") ? split("/versions/", name)[0] : "projects/${local.project}/secrets/${split("/versions/", name)[0]}"
  }
  regional = distinct([for path in local.path_of : path if strcontains(path, "/locations/")])
  # Readers of secrets, each with what it reads.
  readers = {
    gateway = toset([for name in local.secret_names : local.path_of[name]])
    rotate  = setsubtract([for name in local.rotation_secret_names : local.path_of[name]], [for name in local.rotated_secret_names : local.path_of[name]])
  }
  secret_roles = { for function, paths in local.readers : function => {
    for pair in setproduct(paths, ["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"]) : "${pair[0]} ${pair[1]}" => {
      project = split("/", pair[0])[1]
      secret  = reverse(split("/", pair[0]))[0]
      role    = pair[1]
    }
  } }
}

# The provider's project. What tells its region too, google_client_config, would
# leave a token of whoever applies in the state.
data "google_project" "default" {
  count = var.platform.project == null ? 1 : 0
}

resource "google_service_account" "gateway" {
  project      = local.project
  account_id   = "${var.name}-gw"
  display_name = "The gateway function ${var.name}"
  depends_on   = [google_project_service.this]

  lifecycle {
    precondition {
      condition     = length(local.foreign_secrets) == 0 && length(local.regional) == 0
      error_message = "The function reads global secrets of Google Secret Manager alone; these are elsewhere: ${join(", ", concat(local.foreign_secrets, local.regional))}."
    }
  }
}

resource "google_project_iam_custom_role" "models" {
  for_each    = local.projects
  project     = each.value
  role_id     = "${replace(var.name, "-", "_")}_gateway"
  title       = "Call models for the gateway ${var.name}"
  permissions = ["aiplatform.endpoints.predict"]
  depends_on  = [google_project_service.this]
}

resource "google_project_iam_member" "models" {
  for_each = local.projects
  project  = each.value
  role     = google_project_iam_custom_role.models[each.value].name
  member   = "serviceAccount:${google_service_account.gateway.email}"
}

resource "google_service_account_iam_member" "acted_as" {
  for_each           = local.acted_as
  service_account_id = "projects/-/serviceAccounts/${each.value}"
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = "serviceAccount:${google_service_account.gateway.email}"
}

# Secrets are made elsewhere, so that their values never come near the state. The
# viewer lists versions and reads none of them: a secret that nobody rotates has
# no alias that says which one is in use.
resource "google_secret_manager_secret_iam_member" "gateway" {
  for_each  = local.secret_roles.gateway
  project   = each.value.project
  secret_id = each.value.secret
  role      = each.value.role
  member    = "serviceAccount:${google_service_account.gateway.email}"
}
