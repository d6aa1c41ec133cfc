# What the rotation function may do: renew the keys that the document names, as
# the document says, and nothing else. It may call no model.

locals {
  rotated_paths = toset([for name in local.rotated_secret_names : local.path_of[name]])
  # Roles of one's own are those of a project.
  rotated_projects = toset([for path in local.rotated_paths : split("/", path)[1]])

  # Issuers at Google work with an account of the key's own, or as the function
  # itself with exactly the account or the project.
  google_keys       = [for k in local.keys : k if contains(["gcp-service-account", "gcp-api-key"], k.issuer) && !can(k.options.gcp_workload_identity_provider)]
  accounts          = toset([for k in local.google_keys : k.options.service_account_email if k.issuer == "gcp-service-account" && !can(k.options.gcp_service_account)])
  account_project   = { for a in local.accounts : a => try(regex("@([a-z0-9-]+)\\.iam\\.gserviceaccount\\.com$", a)[0], local.project) }
  api_key_projects  = toset([for k in local.google_keys : k.options.project_id if k.issuer == "gcp-api-key" && !can(k.options.gcp_service_account)])
  rotation_acted_as = toset([for k in local.google_keys : k.options.gcp_service_account if can(k.options.gcp_service_account)])
  rotation_member   = join("", [for a in google_service_account.rotate : "serviceAccount:${a.email}"])
  role_prefix       = replace(var.name, "-", "_")
}

resource "google_service_account" "rotate" {
  count        = local.rotates ? 1 : 0
  project      = local.project
  account_id   = "${var.name}-rot"
  display_name = "The rotation function of ${var.name}"
  depends_on   = [google_project_service.this]
}

resource "google_project_iam_custom_role" "secrets" {
  for_each = local.rotated_projects
  project  = each.value
  role_id  = "${local.role_prefix}_rotate_secrets"
  title    = "Replace secrets for ${var.name}"
  permissions = [
    "secretmanager.secrets.get", "secretmanager.secrets.update", "secretmanager.versions.access", "secretmanager.versions.add",
    "secretmanager.versions.destroy", "secretmanager.versions.get", "secretmanager.versions.list",
  ]
  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret_iam_member" "rotated" {
  for_each  = local.rotated_paths
  project   = split("/", each.value)[1]
  secret_id = reverse(split("/", each.value))[0]
  role      = google_project_iam_custom_role.secrets[split("/", each.value)[1]].name
  member    = local.rotation_member
}

resource "google_secret_manager_secret_iam_member" "rotate" {
  for_each  = local.secret_roles.rotate
  project   = each.value.project
  secret_id = each.value.secret
  role      = each.value.role
  member    = local.rotation_member
}

resource "google_project_iam_custom_role" "account_keys" {
  for_each = toset(values(local.account_project))
  project  = each.value
  role_id  = "${local.role_prefix}_rotate_account_keys"
  title    = "Renew keys of service accounts for ${var.name}"
  permissions = [
    "iam.serviceAccountKeys.create", "iam.serviceAccountKeys.delete", "iam.serviceAccountKeys.disable", "iam.serviceAccountKeys.enable", "iam.serviceAccountKeys.list",
  ]
  depends_on = [google_project_service.this]
}

resource "google_service_account_iam_member" "account_keys" {
  for_each           = local.accounts
  service_account_id = "projects/${local.account_project[each.value]}/serviceAccounts/${each.value}"
  role               = google_project_iam_custom_role.account_keys[local.account_project[each.value]].name
  member             = local.rotation_member
}

# API keys are granted by project: they are no resources of their own.
resource "google_project_iam_custom_role" "api_keys" {
  for_each = local.api_key_projects
  project  = each.value
  role_id  = "${local.role_prefix}_rotate_api_keys"
  title    = "Renew API keys for ${var.name}"
  permissions = [
    "apikeys.keys.create", "apikeys.keys.delete", "apikeys.keys.get", "apikeys.keys.getKeyString", "apikeys.keys.list",
    "serviceusage.operations.get",
  ]
  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "api_keys" {
  for_each = local.api_key_projects
  project  = each.value
  role     = google_project_iam_custom_role.api_keys[each.value].name
  member   = local.rotation_member
}

resource "google_service_account_iam_member" "rotation_acted_as" {
  for_each           = local.rotation_acted_as
  service_account_id = "projects/-/serviceAccounts/${each.value}"
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.rotation_member
}

resource "google_storage_bucket_iam_member" "ledger" {
  count  = local.rotates ? 1 : 0
  bucket = google_storage_bucket.ledger[0].name
  role   = "roles/storage.objectUser"
  member = local.rotation_member
}

resource "google_pubsub_topic_iam_member" "rotate" {
  count   = local.rotates ? 1 : 0
  project = local.project
  topic   = google_pubsub_topic.events.name
  role    = "roles/pubsub.publisher"
  member  = local.rotation_member
}

# projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N
resource "google_kms_crypto_key_iam_member" "audit" {
  for_each      = local.signs_events ? toset(["roles/cloudkms.publicKeyViewer", "roles/cloudkms.signer"]) : []
  crypto_key_id = split("/cryptoKeyVersions/", var.audit_key)[0]
  role          = each.value
  member        = local.rotation_member
}
