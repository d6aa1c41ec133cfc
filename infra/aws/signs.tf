# What alarms listen for in the functions' log. This file is the same in each
# module.

locals {
  # Events of these types, each of which is a line of the log.
  signs = { for name, sign in {
    rotation-failed = { type = "AI_PROVIDER_TOKEN_ROTATION_FAILED", what = "A step of a rotation failed. The key in use is as valid as before." }
    orphaned        = { type = "AI_PROVIDER_TOKEN_ORPHANED", what = "The rotation of a key has stopped after too many failures, and somebody has to act." }
    operator-due    = { type = "AI_PROVIDER_TOKEN_OPERATOR_DUE", what = "A rotation waits for somebody to do what no program can." }
  } : name => sign if local.rotates }
  # How a run says that the bus does not take what it has to tell. It is kept, and
  # the key's rotation goes no further.
  outbox      = "the bus has not accepted its audit events"
  outbox_what = "The bus does not accept events of the rotation, which waits for it."
  # Who may read the document's secrets without anybody being told.
  watched       = var.alarms.readers != null && length(local.own) > 0
  stranger_what = "Somebody who is neither function nor a known reader has read a secret of the document."
}
