# What the modules of all clouds read in the document. This file is the same in
# each of them.

locals {
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

  # References to secrets, without version and field: {store, name}.
  references = distinct(compact(concat(
    flatten([for u in local.entries : [try(u.credential_ref, ""), try(u.client_certificate_ref, "")]]),
    [try(local.parsed.cache.redis.credential_ref, ""), try(local.parsed.cache.redis.key_ref, "")],
    [try(local.parsed.api_tokens.credential_ref, ""), try(local.parsed.api_tokens.key_ref, "")],
  )))
  braced = { for r in local.references : r => regex("^\\{vault://([a-z]+)/([^#}]+)", r) if startswith(r, "{") }
  plain  = { for r in local.references : r => split("?", split("#", r)[0])[0] if !startswith(r, "{") }
  secrets = distinct(concat(
    # {vault://STORE/NAME/FIELD}
    [for r, parts in local.braced : {
      store = lookup({ aws = "aws-sm", gcp = "gcp-sm", azure = "azure-kv" }, parts[0], parts[0])
      name  = can(regex("/", parts[1])) ? join("/", slice(split("/", parts[1]), 0, length(split("/", parts[1])) - 1)) : parts[1]
    }],
    [for r, text in local.plain : {
      store = can(regex("://", text)) ? split("://", text)[0] : local.store
      name  = reverse(split("://", text))[0]
    }],
  ))
  secret_names    = toset([for s in local.secrets : s.name if s.store == local.store])
  foreign_secrets = [for s in local.secrets : "${s.store}://${s.name}" if s.store != local.store || strcontains(s.name, "%")]

  # Durations are numbers with units, such as 1h30m.
  timeout = try(local.parsed.limits.request_timeout, "5m")
  request_seconds = ceil(sum(concat([0], [
    for part in regexall("([0-9.]+)(h|ms|m|s)", local.timeout) : tonumber(part[0]) * { h = 3600, m = 60, s = 1, ms = 0.001 }[part[1]]
  ])))

  # Why a document cannot be deployed, whichever the cloud.
  admission = (
    length(var.callers) > 0 && !local.platform_callers ? "The variable callers has an effect only with platform_callers: true in the document." :
    length(var.callers) == 0 && local.platform_callers ? "The document has platform_callers: true, so the variable callers has to say whom the platform admits." :
    length(var.callers) == 0 && !local.token_callers ? "Nobody could call this gateway: describe callers in the document, or set platform_callers: true there and the variable callers." : ""
  )
}
