variable "name" {
  description = "What everything that is made is named after. Lower-case letters, digits and dashes, 3 to 24 of them."
  type        = string
  default     = "postern"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 24 lower-case letters, digits and dashes, begins with a letter and does not end in a dash."
  }
}

variable "config_file" {
  description = "The gateway's document, YAML or JSON. The function reads it, and what the function may do follows from it."
  type        = string
  validation {
    condition     = can(yamldecode(file(var.config_file)))
    error_message = "The document cannot be read as YAML or JSON. `go run ./localdev check FILE` says more."
  }
  # What the functions' own loader says of the document is in a record beside it,
  # since nothing that reads HCL can say the same.
  validation {
    condition     = try(jsondecode(file("${var.config_file}.checked")).sha256 == filesha256(var.config_file), false)
    error_message = "The document is new or has changed, and nobody knows whether a function would load it. Run this first: go run ./localdev check -record ${var.config_file}"
  }
  validation {
    condition     = length(try(jsondecode(file("${var.config_file}.checked"))[local.cloud], [])) == 0
    error_message = "A function would not load the document:\n${join("\n", try(jsondecode(file("${var.config_file}.checked"))[local.cloud], []))}"
  }
}

variable "packages" {
  description = "The packages that `make package` has made."
  type        = object({ gateway = string, rotate = optional(string) })
}

variable "callers" {
  description = "Whom the platform's own IAM admits, in its own words (see the README). When empty the platform admits everybody and the gateway checks each caller's token, as the document's callers say."
  type        = set(string)
  default     = []
}

variable "platform" {
  description = "What only this cloud asks for (see the README)."
  type = object({
    project = optional(string)
    region  = optional(string)
    # Without callers: whether everybody passes the service's invoker check, as
    # allUsers, or there is none.
    invoker_check = optional(bool, true)
    # The Redis server, where the document has one made.
    redis = optional(object({
      node_type = optional(string, "SHARED_CORE_NANO")
      replicas  = optional(number, 0)
      # Whether Memorystore is let into the network here. A network has one policy
      # for that in each region, and a second one is refused.
      service_connection_policy = optional(bool, true)
    }), {})
  })
  default = {}
  validation {
    condition     = var.platform.region != null
    error_message = "Give platform.region, where the functions run, such as europe-west4."
  }
}

variable "rotation_schedule" {
  description = "When the rotation function looks for what is due: the minutes and hours of a line of cron, in UTC."
  type        = string
  default     = "*/15 * * * *"
  validation {
    condition     = can(regex("^[0-9*/,-]+ [0-9*/,-]+ \\* \\* \\*$", var.rotation_schedule))
    error_message = "The schedule is a line of cron for every day, such as */15 * * * * or 0 3 * * *."
  }
}

variable "audit_key" {
  description = "The key that signs the events about stored keys, as POSTERN_AUDIT_KEY names it. Null leaves them unsigned."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Keeps `terraform destroy` from ending the rotation of stored keys, which would leave the old and the new key of one under way behind."
  type        = bool
  default     = true
}

variable "network" {
  description = "Subnets that the functions send their requests from, and what of the platform bounds those there; and subnets in which the platform's own services get addresses for them (see the README). Null leaves the network to the platform."
  type = object({
    subnets         = set(string)
    security_groups = optional(set(string), [])
    endpoints       = optional(set(string), [])
  })
  default = null
  validation {
    condition     = var.network == null ? true : length(var.network.subnets) > 0
    error_message = "A network has at least one subnet; null leaves it to the platform."
  }
}

variable "max_instances" {
  description = "How many instances may run at a time. Null leaves it to the platform."
  type        = number
  default     = null
  validation {
    condition     = var.max_instances == null ? true : var.max_instances >= 1
    error_message = "There is at least one instance; remove the gateway to have none."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([30, 60, 90, 180, 365], var.log_retention_days)
    error_message = "Each platform keeps logs for 30, 60, 90, 180 or 365 days."
  }
}

variable "alarms" {
  description = "Whom alarms notify and who else may read the document's secrets, in the platform's own words (see the README), and how many server errors in five minutes are an alarm. Without readers nobody watches who reads secrets."
  type = object({
    notify        = optional(set(string), [])
    server_errors = optional(number, 5)
    readers       = optional(set(string))
  })
  default = {}
}

variable "tags" {
  description = "Tags (on Google Cloud: labels) of everything that can have them."
  type        = map(string)
  default     = {}
}
