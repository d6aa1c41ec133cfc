# The rotation function renews the keys of the document, and can do nothing else.
mock_provider "google" {
  source = "./tests/mocks"
}

# What builds and waits reaches Google Cloud.
override_module {
  target = module.metrics
}
override_module {
  target  = module.image
  outputs = { image = "europe-west1-docker.pkg.dev/my-project/postern-gateway/gateway" }
}
override_module {
  target  = module.rotation_image
  outputs = { image = "europe-west1-docker.pkg.dev/my-project/postern-gateway/rotate" }
}

variables {
  packages            = { gateway = "tests/testdata/package.zip", rotate = "tests/testdata/package.zip" }
  config_file         = "tests/testdata/rotation.yaml"
  deletion_protection = false
  audit_key           = "projects/keys-project/locations/europe/keyRings/audit/cryptoKeys/events/cryptoKeyVersions/1"
  platform            = { region = "europe-west4" }
}

override_resource {
  target = google_service_account.rotate
  values = { email = "postern-rot@my-project.iam.gserviceaccount.com" }
}
override_resource {
  target = google_service_account.schedule
  values = { email = "postern-cron@my-project.iam.gserviceaccount.com", name = "projects/my-project/serviceAccounts/postern-cron@my-project.iam.gserviceaccount.com" }
}
override_resource {
  target = google_cloud_run_v2_service.rotate
  values = { uri = "https://postern-rotate-abc-ez.a.run.app" }
}
override_resource {
  target = google_project_iam_custom_role.secrets
  values = { name = "projects/p/roles/postern_rotate_secrets" }
}
override_resource {
  target = google_project_iam_custom_role.account_keys
  values = { name = "projects/p/roles/postern_rotate_account_keys" }
}
override_resource {
  target = google_project_iam_custom_role.api_keys
  values = { name = "projects/p/roles/postern_rotate_api_keys" }
}

run "a_document_with_every_issuer" {
  assert {
    condition     = contains(keys(google_project_service.this), "cloudkms")
    error_message = "the project may call Cloud KMS, though the key is another one's"
  }
  assert {
    condition     = output.rotation_identity == "postern-rot@my-project.iam.gserviceaccount.com" && output.rotation_identity != output.gateway_identity && google_cloud_run_v2_service.rotate[0].template[0].service_account == output.rotation_identity
    error_message = "the rotation function has an identity of its own"
  }
  assert {
    condition = { for e in google_cloud_run_v2_service.rotate[0].template[0].containers[0].env : e.name => e.value } == {
      POSTERN_CONFIG    = file("tests/testdata/rotation.yaml"), POSTERN_EVENT_BUS = "projects/my-project/topics/postern", GOOGLE_CLOUD_PROJECT = "my-project",
      POSTERN_LEDGER    = "gs://my-project-postern-ledger", POSTERN_DEPLOYMENT = "postern",
      POSTERN_AUDIT_KEY = "projects/keys-project/locations/europe/keyRings/audit/cryptoKeys/events/cryptoKeyVersions/1",
    }
    error_message = "it gets the gateway's document, the bus, the ledger and the deployment's name"
  }
  assert {
    condition = { for m in google_secret_manager_secret_iam_member.rotated : "${m.project} ${m.secret_id}" => "${m.role} ${m.member}" } == {
      for s in ["my-project openai", "keys-project anthropic", "my-project google", "my-project google-2", "my-project gemini"] :
      s => "projects/p/roles/postern_rotate_secrets serviceAccount:postern-rot@my-project.iam.gserviceaccount.com"
    }
    error_message = "it may replace exactly the secrets that are rotated"
  }
  assert {
    condition = alltrue([for r in google_project_iam_custom_role.secrets : r.permissions == toset([
      "secretmanager.secrets.get", "secretmanager.secrets.update", "secretmanager.versions.access", "secretmanager.versions.add",
      "secretmanager.versions.destroy", "secretmanager.versions.get", "secretmanager.versions.list",
    ])]) && keys(google_project_iam_custom_role.secrets) == ["keys-project", "my-project"]
    error_message = "replacing takes reading, adding, promoting and destroying versions, and no more"
  }
  assert {
    condition     = toset([for m in google_secret_manager_secret_iam_member.rotate : m.secret_id]) == toset(["openai-admin", "client", "redis-password", "redis-key"]) && toset([for m in google_secret_manager_secret_iam_member.rotate : m.role]) == toset(["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"])
    error_message = "it may read the issuers' admin credentials and what the tokens take that it renews, and replace none of them"
  }
  assert {
    condition = { for m in google_service_account_iam_member.account_keys : m.service_account_id => m.role } == {
      "projects/fourth-project/serviceAccounts/keys@fourth-project.iam.gserviceaccount.com" = "projects/p/roles/postern_rotate_account_keys"
    }
    error_message = "it may change the keys of exactly the account that the document names"
  }
  assert {
    condition     = toset([for m in google_service_account_iam_member.rotation_acted_as : m.service_account_id]) == toset(["projects/-/serviceAccounts/rotator@fourth-project.iam.gserviceaccount.com"])
    error_message = "it may act as the account that renews a key, and as none that calls models"
  }
  assert {
    condition     = [for m in google_project_iam_member.api_keys : "${m.project} ${m.role}"] == ["gemini-project projects/p/roles/postern_rotate_api_keys"]
    error_message = "it may renew API keys in the project that the document names"
  }
  assert {
    condition     = !contains(flatten([for roles in [google_project_iam_custom_role.secrets, google_project_iam_custom_role.account_keys, google_project_iam_custom_role.api_keys] : [for r in roles : [for p in r.permissions : split(".", p)[0]]]]), "aiplatform") && alltrue([for m in google_project_iam_member.models : m.member == "serviceAccount:postern-gw@my-project.iam.gserviceaccount.com"])
    error_message = "the rotation function cannot call a model"
  }
  assert {
    condition     = alltrue([for m in google_secret_manager_secret_iam_member.gateway : m.member == "serviceAccount:postern-gw@my-project.iam.gserviceaccount.com" && contains(["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"], m.role)])
    error_message = "the gateway replaces no secret"
  }
  assert {
    condition     = google_storage_bucket_iam_member.ledger[0].bucket == "my-project-postern-ledger" && google_storage_bucket_iam_member.ledger[0].role == "roles/storage.objectUser" && google_storage_bucket_iam_member.ledger[0].member == "serviceAccount:postern-rot@my-project.iam.gserviceaccount.com"
    error_message = "it may read and write records of its ledger"
  }
  assert {
    condition     = !google_storage_bucket.ledger[0].versioning[0].enabled && google_storage_bucket.ledger[0].soft_delete_policy[0].retention_duration_seconds == 0 && one(one(google_storage_bucket.ledger[0].lifecycle_rule).condition).days_since_custom_time == 1
    error_message = "records go when their time has come, and old states are not kept"
  }
  assert {
    condition     = toset([for m in google_kms_crypto_key_iam_member.audit : "${m.crypto_key_id} ${m.role} ${m.member}"]) == toset([for role in ["signer", "publicKeyViewer"] : "projects/keys-project/locations/europe/keyRings/audit/cryptoKeys/events roles/cloudkms.${role} serviceAccount:postern-rot@my-project.iam.gserviceaccount.com"])
    error_message = "it may sign with the key of the variable"
  }
  assert {
    condition     = toset([for m in [google_pubsub_topic_iam_member.gateway, google_pubsub_topic_iam_member.rotate[0]] : "${m.topic} ${m.role}"]) == toset(["postern roles/pubsub.publisher"])
    error_message = "both functions may put events on the topic"
  }
  assert {
    condition     = google_cloud_scheduler_job.rotate[0].schedule == "*/15 * * * *" && base64decode(google_cloud_scheduler_job.rotate[0].http_target[0].body) == "{\"postern\":\"rotate\"}" && google_cloud_scheduler_job.rotate[0].http_target[0].uri == "https://postern-rotate-abc-ez.a.run.app/" && google_cloud_scheduler_job.rotate[0].http_target[0].oidc_token[0].audience == "https://postern-rotate-abc-ez.a.run.app" && google_cloud_scheduler_job.rotate[0].retry_config[0].retry_count == 3
    error_message = "the scheduler has it look for what is due every quarter of an hour, and tries again"
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.schedule[0].member == "serviceAccount:postern-cron@my-project.iam.gserviceaccount.com" && google_cloud_run_v2_service_iam_member.schedule[0].name == "postern-rotate"
    error_message = "the scheduler's account may call the rotation function, and nobody else"
  }
  assert {
    condition     = google_pubsub_subscription.notices[0].filter == "attributes.eventType = \"SECRET_ROTATE\"" && google_pubsub_subscription.notices[0].push_config[0].push_endpoint == "https://postern-rotate-abc-ez.a.run.app/" && google_pubsub_topic_iam_member.notices[0].member == "serviceAccount:service-123456789@gcp-sa-secretmanager.iam.gserviceaccount.com"
    error_message = "notices of Secret Manager that a rotation is due reach the function, and no others"
  }
  assert {
    condition     = google_pubsub_subscription.notices[0].push_config[0].oidc_token[0].service_account_email == "postern-cron@my-project.iam.gserviceaccount.com" && google_service_account_iam_member.notices[0].member == "serviceAccount:service-123456789@gcp-sa-pubsub.iam.gserviceaccount.com" && google_service_account_iam_member.notices[0].role == "roles/iam.serviceAccountOpenIdTokenCreator" && endswith(google_service_account_iam_member.notices[0].service_account_id, "postern-cron@my-project.iam.gserviceaccount.com")
    error_message = "Pub/Sub may show the token that the function wants to see, and no access token"
  }
  assert {
    condition     = google_pubsub_subscription.notices[0].dead_letter_policy[0].max_delivery_attempts == 10 && google_pubsub_topic_iam_member.failed[0].member == "serviceAccount:service-123456789@gcp-sa-pubsub.iam.gserviceaccount.com" && google_pubsub_subscription.failed[0].message_retention_duration == "1209600s"
    error_message = "notices that cannot be delivered are kept"
  }
  assert {
    condition     = strcontains(google_logging_project_sink.gateway.filter, "resource.labels.service_name=(\"postern-gateway\" OR \"postern-rotate\")")
    error_message = "the logs of both functions are kept in one place"
  }
  assert {
    condition = { for name, m in google_logging_metric.counted : name => trimprefix(m.filter, "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"postern-rotate\" AND ") if name != "throttles" } == {
      rotation-failed = "jsonPayload.type=\"AI_PROVIDER_TOKEN_ROTATION_FAILED\""
      orphaned        = "jsonPayload.type=\"AI_PROVIDER_TOKEN_ORPHANED\""
      operator-due    = "jsonPayload.type=\"AI_PROVIDER_TOKEN_OPERATOR_DUE\""
      outbox-stuck    = "jsonPayload.error:\"the bus has not accepted its audit events\""
    }
    error_message = "rotations that fail, stop, wait for somebody or cannot tell are counted in the function's log"
  }
  assert {
    condition     = keys(google_monitoring_alert_policy.this) == ["operator-due", "orphaned", "outbox-stuck", "rotation-crashes", "rotation-failed", "server-errors", "throttles", "undelivered"] && strcontains(google_monitoring_alert_policy.this["orphaned"].conditions[0].condition_threshold[0].filter, "\"logging.googleapis.com/user/postern/orphaned\"")
    error_message = "each of these is an alarm, and so are runs that fail and notices that are given up"
  }
  assert {
    condition     = google_monitoring_alert_policy.idle[0].conditions[0].condition_absent[0].duration == "84600s"
    error_message = "that nothing is heard of the rotation is an alarm"
  }
  assert {
    condition     = contains([for t in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles : t.widget.title], "Where each rotation stands")
    error_message = "the dashboard shows the keys"
  }
  assert {
    condition     = strcontains(output.rotation_command, "curl -X POST https://postern-rotate-abc-ez.a.run.app ") && strcontains(output.rotation_command, "{\"postern\":\"status\"}")
    error_message = "the command asks how the keys are"
  }
}

run "a_document_with_tokens_to_renew_and_no_keys" {
  variables {
    config_file       = "tests/testdata/proactive.yaml"
    rotation_schedule = "5 */2 * * *"
    alarms            = { readers = ["backup@my-project.iam.gserviceaccount.com"] }
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.rotated) + length(google_pubsub_topic.notices) + length(google_project_iam_custom_role.secrets) == 0
    error_message = "no secret is replaced, and Secret Manager starts nothing"
  }
  assert {
    condition     = toset([for m in google_secret_manager_secret_iam_member.rotate : m.secret_id]) == toset(["client", "redis-password", "redis-key"])
    error_message = "tokens that are renewed take the client's and the cache's secrets"
  }
  assert {
    condition = google_logging_metric.counted["stranger"].filter == join(" AND ", [
      "protoPayload.methodName=\"google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion\"",
      "(protoPayload.resourceName:\"/secrets/client/\" OR protoPayload.resourceName:\"/secrets/redis-key/\" OR protoPayload.resourceName:\"/secrets/redis-password/\")",
      "NOT protoPayload.authenticationInfo.principalEmail=(\"backup@my-project.iam.gserviceaccount.com\" OR \"postern-gw@my-project.iam.gserviceaccount.com\" OR \"postern-rot@my-project.iam.gserviceaccount.com\")",
    ])
    error_message = "whoever reads a secret of the document is a stranger, but for the functions and the readers of the variable"
  }
  assert {
    condition     = one(google_project_iam_audit_config.reads["my-project"].audit_log_config).log_type == "DATA_READ" && contains(keys(google_monitoring_alert_policy.this), "stranger")
    error_message = "reads are heard of, and an alarm"
  }
  assert {
    condition     = google_cloud_scheduler_job.rotate[0].schedule == "5 */2 * * *"
    error_message = "the schedule is what the variable says"
  }
}

run "a_watch_that_does_not_hear_of_every_secret_says_so" {
  command = plan
  variables {
    alarms = { readers = [] }
  }
  expect_failures = [check.strangers]
}

run "a_rotation_that_runs_once_a_day" {
  command = plan
  variables {
    rotation_schedule = "0 3 * * *"
  }
  assert {
    condition     = length(google_monitoring_alert_policy.idle) == 0
    error_message = "that it has not run for most of a day is no alarm"
  }
}

run "by_default_the_ledger_stays_when_everything_else_is_destroyed" {
  command = plan
  variables {
    deletion_protection = true
  }
  assert {
    condition     = !google_storage_bucket.ledger[0].force_destroy && strcontains(terraform_data.rotation[0].input.end, "exit 1")
    error_message = "destroying is refused while rotations may be under way"
  }
}

run "keys_to_rotate_without_the_package_that_does_it_are_refused" {
  command = plan
  variables {
    packages = { gateway = "tests/testdata/package.zip" }
  }
  expect_failures = [google_cloud_run_v2_service.gateway]
}

run "a_schedule_that_the_platforms_do_not_share_is_refused" {
  command = plan
  variables {
    rotation_schedule = "every 5 minutes"
  }
  expect_failures = [var.rotation_schedule]
}
