# What Google Cloud has to trust for a gateway in another cloud: the workload
# identity pool and the provider that the gateway's document names, which let in
# that one identity. It may call models of the document's projects.

terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.45, < 8"
    }
  }
}

variable "config_file" {
  description = "The document of the gateway in the other cloud."
  type        = string
}

variable "gateway" {
  description = "Whose token is trusted: the output gateway_token of the gateway's module. A role of AWS needs no issuer, unless the document has a token_audience."
  type        = object({ cloud = string, issuer = string, subject = string })
  validation {
    condition     = contains(["aws", "azure"], var.gateway.cloud)
    error_message = "The token is that of a gateway on aws or azure; one on Google Cloud needs no federation."
  }
}

locals {
  own     = trimprefix(data.google_project.this.id, "projects/")
  entries = try(yamldecode(file(var.config_file)).upstreams, [])
  reached = [for u in local.entries : {
    name     = try(u.name, u.provider)
    project  = try(u.project_id, local.own)
    account  = try(u.gcp_service_account, "")
    provider = u.gcp_workload_identity_provider
    # A role of AWS shows a signed request where no audience is named.
    signed   = var.gateway.cloud == "aws" && !can(u.token_audience)
    audience = try(u.token_audience, "api://AzureADTokenExchange")
  } if u.provider == "vertex" && can(u.gcp_workload_identity_provider) && !can(u.credential_ref) && !can(u.issuer) && !can(u.token_endpoint)]

  # //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER
  providers = { for u in local.reached : u.provider => {
    number   = split("/", u.provider)[4]
    pool     = split("/", u.provider)[8]
    name     = split("/", u.provider)[10]
    signed   = u.signed
    audience = u.audience
  }... }
  first = { for path, all in local.providers : path => all[0] }
  pools = toset([for p in local.first : p.pool])

  # A role's sessions have names of their own, so it is known by its own name.
  role = reverse(split("/", var.gateway.subject))[0]
  principals = { for path, p in local.first : path => p.signed ? "principalSet://iam.googleapis.com/projects/${p.number}/locations/global/workloadIdentityPools/${p.pool}/attribute.aws_role/${local.role}" :
  "principal://iam.googleapis.com/projects/${p.number}/locations/global/workloadIdentityPools/${p.pool}/subject/${var.gateway.subject}" }

  accounts = { for u in local.reached : "${u.provider} ${u.account}" => u... if u.account != "" }
  projects = { for u in local.reached : "${u.provider} ${u.project}" => u... if u.account == "" }
}

# The provider's project, without a token in the state.
data "google_project" "this" {}

# The interfaces of an exchange are those of the pool's project.
resource "google_project_service" "this" {
  for_each = toset(concat(
    ["iam", "sts"],
    length(local.accounts) > 0 ? ["iamcredentials"] : [],
    contains([for all in local.projects : all[0].project], local.own) ? ["aiplatform"] : [],
  ))
  project            = local.own
  service            = "${each.value}.googleapis.com"
  disable_on_destroy = false
}

resource "google_iam_workload_identity_pool" "gateway" {
  for_each                  = local.pools
  project                   = local.own
  workload_identity_pool_id = each.value
  description               = "Gateways in other clouds"
  depends_on                = [google_project_service.this]
}

resource "google_iam_workload_identity_pool_provider" "gateway" {
  for_each                           = local.first
  project                            = local.own
  workload_identity_pool_id          = google_iam_workload_identity_pool.gateway[each.value.pool].workload_identity_pool_id
  workload_identity_pool_provider_id = each.value.name
  description                        = "The gateway on ${var.gateway.cloud}"
  # Nobody else gets in, whatever is granted to the pool later.
  attribute_condition = each.value.signed ? "attribute.aws_role == '${local.role}'" : "assertion.sub == '${var.gateway.subject}'"
  attribute_mapping = each.value.signed ? {
    "google.subject"     = "assertion.arn"
    "attribute.aws_role" = "assertion.arn.extract('assumed-role/{role}/')"
  } : { "google.subject" = "assertion.sub" }

  dynamic "aws" {
    for_each = each.value.signed ? [split(":", var.gateway.subject)[4]] : []
    content {
      account_id = aws.value
    }
  }
  dynamic "oidc" {
    for_each = each.value.signed ? [] : [each.value.audience]
    content {
      issuer_uri = var.gateway.issuer
      # The application of the exchange is the audience in tokens of version 2.
      allowed_audiences = oidc.value == "api://AzureADTokenExchange" ? [oidc.value, "fb60f99c-7a34-4190-8149-302f77469936"] : [oidc.value]
    }
  }

  lifecycle {
    precondition {
      condition     = each.value.signed || var.gateway.issuer != null
      error_message = "A token has an issuer: give gateway.issuer."
    }
  }
}

# With an account of the document's the identity may act as that account, which
# has the right to call models.
resource "google_service_account_iam_member" "gateway" {
  for_each           = local.accounts
  service_account_id = "projects/-/serviceAccounts/${each.value[0].account}"
  role               = "roles/iam.workloadIdentityUser"
  member             = local.principals[each.value[0].provider]
}

resource "google_project_iam_custom_role" "models" {
  for_each = toset([for all in local.projects : all[0].project])
  project  = each.value
  # A pool is that of one gateway, and a project may be reached by several.
  role_id     = "postern_federated_${replace(sort(local.pools)[0], "-", "_")}"
  title       = "Call models for a gateway in another cloud"
  permissions = ["aiplatform.endpoints.predict"]
  depends_on  = [google_project_service.this]
}

resource "google_project_iam_member" "models" {
  for_each = local.projects
  project  = each.value[0].project
  role     = google_project_iam_custom_role.models[each.value[0].project].name
  member   = local.principals[each.value[0].provider]
}

output "principals" {
  description = "Whom the gateway is here, by the provider in the document."
  value       = local.principals
}
