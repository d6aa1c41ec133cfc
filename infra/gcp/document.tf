# What the modules of all clouds read in the document. This file is the same in
# each of them.

locals {
  # This module's cloud, as the record of a document calls it.
  cloud = { aws-sm = "aws", gcp-sm = "gcp", azure-kv = "azure" }[local.store]

  text   = file(var.config_file)
  parsed = yamldecode(local.text)

  # A document may be one upstream by itself, whose callers the platform admits.
  single           = can(local.parsed.provider)
  platform_callers = local.single || try(local.parsed.platform_callers, false)
  token_callers = (
    try(length(local.parsed.callers), 0) > 0 || can(local.parsed.api_tokens.credential_ref) ||
    can(local.parsed.fronts.iap.audience) || can(local.parsed.fronts.iap.audiences) ||
    anytrue([for front in try(values(local.parsed.fronts), []) : try(front.admit, false)])
  )
  # What the document says is in front of the function. Identity-Aware Proxy is
  # what lets callers in then.
  fronts = try(keys(local.parsed.fronts), [])
  iap    = local.cloud == "gcp" && contains(local.fronts, "iap")

  # The first expression that has a value: [1] takes the list, and fails without
  # a provider.
  entries = try([local.parsed.provider, [local.parsed]][1], local.parsed.upstreams, [])

  upstreams = [for u in local.entries : {
    provider = u.provider
    name     = try(u.name, u.provider)
    auth     = try(u.auth_type, "native")
    stored   = can(u.credential_ref)
    # The ids at the upstream.
    models  = distinct([for m in try(u.models, []) : tostring(try(m.model, m.name, m))])
    options = u
  }]

  public_models = flatten([for u in local.entries : [for m in try(u.models, []) : tostring(try(m.name, m))]])
  example_model = concat(local.public_models, ["MODEL"])[0]

  # Stored keys that are renewed, the upstreams whose stored credential that is,
  # and the upstreams whose tokens are renewed before anybody asks. There is a
  # rotation function if there is any of them.
  keys = [for k in try(local.parsed.rotation.keys, []) : {
    name      = try(k.name, k.upstream)
    reference = try(k.credential_ref, one([for u in local.entries : u.credential_ref if try(u.name, u.provider) == k.upstream]), "")
    # As shared/config says it of a document that names none.
    issuer = try(k.issuer, one([for u in local.upstreams : (
      u.auth == "api_key" ? u.provider :
      u.auth == "azure_ad" ? "entra" :
      u.auth == "aws_sigv4" ? "aws-iam" :
      u.provider == "vertex" ? "gcp-service-account" : "oauth-client"
    ) if u.name == k.upstream]), "")
    options = k
  }]
  rotated   = [for u in local.upstreams : u if contains([for k in local.keys : try(k.options.upstream, "")], u.name)]
  proactive = [for u in local.upstreams : u if try(u.options.refresh_policy, "") == "proactive"]
  rotates   = length(local.keys) + length(local.proactive) > 0

  # References to secrets: what the gateway reads, what the rotation function
  # replaces, and what it reads besides.
  redis_references = [try(local.parsed.cache.redis.credential_ref, ""), try(local.parsed.cache.redis.key_ref, "")]
  gateway_references = distinct(compact(concat(
    flatten([for u in local.entries : [try(u.credential_ref, ""), try(u.client_certificate_ref, "")]]),
    local.redis_references,
    [try(local.parsed.api_tokens.credential_ref, ""), try(local.parsed.api_tokens.key_ref, "")],
  )))
  rotated_references = distinct(compact(local.keys[*].reference))
  rotation_references = distinct(compact(concat(
    [for k in local.keys : try(k.options.admin_ref, "")],
    # A new key is tried as the gateway uses it.
    [for u in local.rotated : try(u.options.client_certificate_ref, "")],
    flatten([for u in local.proactive : [try(u.options.credential_ref, ""), try(u.options.client_certificate_ref, "")]]),
    length(local.proactive) > 0 ? local.redis_references : [],
  )))

  # Where each of them is, without version and field: {store, name}.
  references = distinct(concat(local.gateway_references, local.rotated_references, local.rotation_references))
  braced     = { for r in local.references : r => regex("^\\{vault://([a-z]+)/([^#}]+)", r) if startswith(r, "{") }
  plain      = { for r in local.references : r => split("?", split("#", r)[0])[0] if !startswith(r, "{") }
  places = merge(
    # {vault://STORE/NAME/FIELD}
    { for r, parts in local.braced : r => {
      store = lookup({ aws = "aws-sm", gcp = "gcp-sm", azure = "azure-kv" }, parts[0], parts[0])
      name  = can(regex("/", parts[1])) ? join("/", slice(split("/", parts[1]), 0, length(split("/", parts[1])) - 1)) : parts[1]
    } },
    { for r, text in local.plain : r => {
      store = can(regex("://", text)) ? split("://", text)[0] : local.store
      name  = reverse(split("://", text))[0]
    } },
  )
  foreign_secrets       = distinct([for p in local.places : "${p.store}://${p.name}" if p.store != local.store || strcontains(p.name, "%")])
  own                   = { for r, p in local.places : r => p.name if p.store == local.store }
  secret_names          = toset([for r in local.gateway_references : local.own[r] if contains(keys(local.own), r)])
  rotated_secret_names  = toset([for r in local.rotated_references : local.own[r] if contains(keys(local.own), r)])
  rotation_secret_names = toset([for r in local.rotation_references : local.own[r] if contains(keys(local.own), r)])

  # A Redis server that the functions log in to as themselves, and that the
  # document gives no address of, is made here. The rotation function is there
  # where it renews tokens ahead.
  redis       = try(local.parsed.cache.redis.auth_type, "") == "native" && !can(local.parsed.cache.redis.url)
  redis_users = toset(!local.redis ? [] : concat(["gateway"], length(local.proactive) > 0 ? ["rotate"] : []))

  # Durations are numbers with units, such as 1h30m.
  timeout = try(local.parsed.limits.request_timeout, "5m")
  # Azure alone is not told how long a request may take.
  # tflint-ignore: terraform_unused_declarations
  request_seconds = ceil(sum(concat([0], [
    for part in regexall("([0-9.]+)(h|ms|m|s)", local.timeout) : tonumber(part[0]) * { h = 3600, m = 60, s = 1, ms = 0.001 }[part[1]]
  ])))

  # Why a document cannot be deployed, whichever the cloud.
  admission = (
    local.iap && local.platform_callers ? "Identity-Aware Proxy is the only one that may call this gateway: remove platform_callers or fronts.iap." :
    length(var.callers) == 0 && local.iap ? "The document has fronts.iap, so the variable callers has to say whom Identity-Aware Proxy lets in." :
    length(var.callers) > 0 && !local.platform_callers && !local.iap ? "The variable callers has an effect only with platform_callers: true in the document." :
    length(var.callers) == 0 && local.platform_callers ? "The document has platform_callers: true, so the variable callers has to say whom the platform admits." :
    length(var.callers) == 0 && !local.token_callers ? "Nobody could call this gateway: describe callers in the document, or set platform_callers: true there and the variable callers." :
    local.rotates && var.packages.rotate == null ? "The document has stored keys or tokens to renew: give packages.rotate, which `make package` has made, too." : ""
  )

  # Events about stored keys are signed where somebody has given a key for that.
  signs_events      = local.rotates && var.audit_key != null
  audit_environment = { for name in ["POSTERN_AUDIT_KEY"] : name => var.audit_key if local.signs_events }
}
