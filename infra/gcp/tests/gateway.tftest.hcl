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
  packages    = { gateway = "tests/testdata/package.zip" }
  config_file = "tests/testdata/minimal.yaml"
  platform    = { region = "europe-west4" }
}

run "a_document_with_token_callers" {
  assert {
    condition     = { for e in google_cloud_run_v2_service.gateway.template[0].containers[0].env : e.name => e.value } == { GOOGLE_CLOUD_PROJECT = "my-project", POSTERN_CONFIG = file("tests/testdata/minimal.yaml"), POSTERN_EVENT_BUS = "projects/my-project/topics/postern", POSTERN_DEPLOYMENT = "postern" }
    error_message = "the function gets the document to the letter, its project, the topic, the deployment's name and nothing else"
  }
  assert {
    condition     = !google_cloud_run_v2_service.gateway.invoker_iam_disabled && [for m in google_cloud_run_v2_service_iam_member.invoker : "${m.role} ${m.member}"] == ["roles/run.invoker allUsers"]
    error_message = "the platform admits everybody and leaves callers to the gateway"
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.build_config[0].function_target == "Gateway" && google_cloud_run_v2_service.gateway.build_config[0].source_location == "gs://my-project-postern-gateway-source/gateway-${filesha256("tests/testdata/package.zip")}.zip"
    error_message = "the function is built from the package, and another package is another build"
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.template[0].containers[0].image == module.image.image && google_cloud_run_v2_service.gateway.template[0].annotations["postern.ai/source"] == "gateway-${filesha256("tests/testdata/package.zip")}.zip"
    error_message = "the function runs what was built, and another build is another revision"
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.template[0].timeout == "305s" && google_cloud_run_v2_service.gateway.template[0].max_instance_request_concurrency == 80 && google_cloud_run_v2_service.gateway.template[0].scaling[0].max_instance_count == 100
    error_message = "the function has a little more time than a request, many requests per instance, and a limit"
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.template[0].containers[0].resources[0].startup_cpu_boost && google_cloud_run_v2_service.gateway.template[0].containers[0].resources[0].cpu_idle
    error_message = "starts have more processor, and what is idle costs nothing"
  }
  assert {
    condition     = [for r in google_project_iam_custom_role.models : "${r.project} ${join(",", r.permissions)}"] == ["my-project aiplatform.endpoints.predict"]
    error_message = "the role may call models and nothing else"
  }
  assert {
    condition     = [for m in google_project_iam_member.models : "${m.project} ${m.role} ${m.member}"] == ["my-project projects/my-project/roles/postern_gateway serviceAccount:postern-gw@my-project.iam.gserviceaccount.com"]
    error_message = "the gateway has that role in the project of its upstream"
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.gateway) == 0 && length(google_service_account_iam_member.acted_as) == 0
    error_message = "a document without secrets and other accounts grants none"
  }
  assert {
    condition     = sort(keys(google_project_service.this)) == sort(["aiplatform", "artifactregistry", "cloudbuild", "cloudresourcemanager", "iam", "logging", "monitoring", "pubsub", "run", "storage"])
    error_message = "the interfaces that are used are enabled, and no others"
  }
  assert {
    condition     = google_logging_project_bucket_config.gateway.retention_days == 30 && google_logging_project_sink.gateway.filter == google_logging_project_exclusion.gateway.filter
    error_message = "logs are kept for 30 days, and in one place"
  }
  assert {
    condition     = google_monitoring_alert_policy.this["server-errors"].conditions[0].condition_threshold[0].threshold_value == 4
    error_message = "five server errors are an alarm"
  }
  assert {
    condition     = google_pubsub_topic.events.message_retention_duration == "2592000s" && google_pubsub_topic_iam_member.gateway.role == "roles/pubsub.publisher" && google_pubsub_topic_iam_member.gateway.topic == "postern"
    error_message = "the gateway may put events on its own topic, which keeps them as long as logs"
  }
  assert {
    condition     = length(google_cloud_run_v2_service.rotate) + length(google_storage_bucket.ledger) + length(google_cloud_scheduler_job.rotate) + length(google_service_account.rotate) + length(google_service_account.schedule) == 0 && output.rotation_identity == null && output.rotation_command == null
    error_message = "without anything to renew there is no rotation function"
  }
  assert {
    condition     = keys(google_monitoring_alert_policy.this) == ["server-errors", "throttles"] && length(google_monitoring_alert_policy.idle) + length(google_project_iam_audit_config.reads) == 0
    error_message = "there are alarms for server errors and throttles, and without secrets and rotations no others"
  }
  assert {
    condition     = [for t in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles : t.widget.title] == ["Requests by status", "Time to the whole answer, ms", "Instances", "Failed requests", "Events"]
    error_message = "there is a dashboard of requests and events"
  }
  assert {
    condition     = [for t in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles : [try(t.xPos, ""), try(t.yPos, "")]] == [["", ""], [24, ""], ["", 16], [24, 16], ["", 32]]
    error_message = "two panels are beside each other, and a position of 0 is not given, since the API does not tell of it"
  }
  assert {
    condition     = output.gateway_token == { cloud = "gcp", issuer = "https://accounts.google.com", subject = google_service_account.gateway.unique_id }
    error_message = "other clouds are told whose token they get"
  }
  assert {
    condition     = output.event_bus == "projects/my-project/topics/postern"
    error_message = "the bus is the topic"
  }
  assert {
    condition     = output.gateway_url == "https://postern-gateway-abc-ez.a.run.app/v1" && output.gateway_identity == "postern-gw@my-project.iam.gserviceaccount.com"
    error_message = "the outputs are the base URL for clients and the service account"
  }
  assert {
    condition     = strcontains(output.invoke_command, "Bearer $TOKEN") && strcontains(output.invoke_command, "\"model\":\"gemini-flash\"")
    error_message = "the command asks for a model of the document with the caller's token"
  }
}

run "a_document_that_is_one_upstream_with_iam_callers" {
  variables {
    config_file        = "tests/testdata/single.yaml"
    callers            = ["group:apps@example.com", "serviceAccount:batch@my-project.iam.gserviceaccount.com"]
    max_instances      = 20
    log_retention_days = 90
    platform           = { project = "named-project", region = "us-central1" }
    alarms             = { notify = ["projects/named-project/notificationChannels/1"], server_errors = 50 }
    tags               = { team = "platform" }
  }
  assert {
    condition     = !google_cloud_run_v2_service.gateway.invoker_iam_disabled && toset([for m in google_cloud_run_v2_service_iam_member.invoker : m.member]) == var.callers
    error_message = "the callers may invoke the service, and nobody else"
  }
  assert {
    condition     = one([for e in google_cloud_run_v2_service.gateway.template[0].containers[0].env : e.value if e.name == "POSTERN_PLATFORM_IAM"]) == "true"
    error_message = "the function knows that the platform's check is on"
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.project == "named-project" && google_cloud_run_v2_service.gateway.location == "us-central1" && google_cloud_run_v2_service.gateway.template[0].scaling[0].max_instance_count == 20
    error_message = "project, region and the number of instances are what the variables say"
  }
  assert {
    condition     = google_logging_project_bucket_config.gateway.retention_days == 90 && google_monitoring_alert_policy.this["server-errors"].conditions[0].condition_threshold[0].threshold_value == 49 && google_monitoring_alert_policy.this["server-errors"].notification_channels == tolist(["projects/named-project/notificationChannels/1"])
    error_message = "retention and alarms are what the variables say"
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.labels == tomap({ team = "platform" })
    error_message = "what is made has the labels"
  }
  assert {
    condition     = strcontains(output.invoke_command, "$(gcloud auth print-identity-token)")
    error_message = "the command shows Google's own token"
  }
}

run "a_document_with_everything" {
  variables {
    config_file = "tests/testdata/everything.yaml"
  }
  assert {
    condition     = toset(keys(google_project_iam_member.models)) == toset(["my-project", "other-project"])
    error_message = "models may be called in the projects whose models the function calls as itself"
  }
  assert {
    condition = { for m in google_service_account_iam_member.acted_as : m.service_account_id => m.role } == {
      "projects/-/serviceAccounts/between@third-project.iam.gserviceaccount.com" = "roles/iam.serviceAccountTokenCreator"
      "projects/-/serviceAccounts/models@third-project.iam.gserviceaccount.com"  = "roles/iam.serviceAccountTokenCreator"
    }
    error_message = "the function may act as the account of the document, or as the first one on the way to it"
  }
  assert {
    condition = toset([for m in google_secret_manager_secret_iam_member.gateway : "${m.project} ${m.secret_id}"]) == toset([
      "my-project google", "keys-project openai", "my-project anthropic", "my-project client",
    ])
    error_message = "each secret of the document is granted by its name, however the document spells it"
  }
  assert {
    condition = toset([for m in google_secret_manager_secret_iam_member.gateway : m.role]) == toset([
      "roles/secretmanager.secretAccessor", "roles/secretmanager.viewer",
    ])
    error_message = "the gateway can write no secret"
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.template[0].timeout == "3600s"
    error_message = "the function has no more time than the platform gives"
  }
  assert {
    condition     = length(setsubtract(["aiplatform", "iamcredentials", "secretmanager"], keys(google_project_service.this))) == 0
    error_message = "the interfaces that the document needs are enabled"
  }
}

run "callers_by_way_of_identity_aware_proxy" {
  variables {
    config_file = "tests/testdata/front.yaml"
    callers     = ["group:apps@example.com"]
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.iap_enabled && !google_cloud_run_v2_service.gateway.invoker_iam_disabled && [for m in google_cloud_run_v2_service_iam_member.invoker : m.member] == ["serviceAccount:service-123456789@gcp-sa-iap.iam.gserviceaccount.com"]
    error_message = "the proxy may call the service, and nobody gets past it"
  }
  assert {
    condition     = [for m in google_iap_web_cloud_run_service_iam_member.caller : "${m.role} ${m.member}"] == ["roles/iap.httpsResourceAccessor group:apps@example.com"]
    error_message = "the proxy lets the callers in"
  }
  assert {
    condition     = !contains([for e in google_cloud_run_v2_service.gateway.template[0].containers[0].env : e.name], "POSTERN_PLATFORM_IAM") && contains(keys(google_project_service.this), "iap")
    error_message = "callers are those of the proxy's assertions"
  }
}

run "assertions_for_another_service_are_refused" {
  command = plan
  variables {
    name        = "other"
    config_file = "tests/testdata/front.yaml"
    callers     = ["group:apps@example.com"]
  }
  expect_failures = [google_cloud_run_v2_service.gateway]
}

run "a_proxy_that_lets_nobody_in_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/front.yaml"
  }
  expect_failures = [google_cloud_run_v2_service.gateway]
}

run "a_secret_that_the_function_cannot_read_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/foreign.yaml"
  }
  expect_failures = [google_service_account.gateway]
}

run "iam_callers_that_the_document_does_not_trust_are_refused" {
  command = plan
  variables {
    callers = ["group:apps@example.com"]
  }
  expect_failures = [google_cloud_run_v2_service.gateway]
}

run "a_promise_of_the_document_that_nothing_keeps_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/single.yaml"
  }
  expect_failures = [google_cloud_run_v2_service.gateway]
}

run "names_and_choices_that_the_platform_does_not_have_are_refused" {
  command = plan
  variables {
    name               = "No Name"
    max_instances      = 0
    log_retention_days = 31
  }
  expect_failures = [var.name, var.max_instances, var.log_retention_days]
}

run "a_function_runs_in_a_region_that_is_named" {
  command = plan
  variables {
    platform = {}
  }
  expect_failures = [var.platform]
}

run "a_document_that_no_function_would_load_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/rejected.yaml"
  }
  expect_failures = [var.config_file]
}

run "a_document_that_nobody_has_checked_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/unchecked.yaml"
  }
  expect_failures = [var.config_file]
}

run "a_document_that_has_changed_since_it_was_checked_is_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/changed.yaml"
  }
  expect_failures = [var.config_file]
}

run "names_that_are_long_together" {
  variables {
    name     = "a-name-of-24-characters1"
    platform = { project = "a-project-of-30-characters-123", region = "europe-west4" }
  }
  assert {
    condition     = length(google_storage_bucket.source.name) <= 63 && startswith(google_storage_bucket.source.name, "a-project-of-30-characters-123-a-name-of-24-characters") && can(regex("^[a-z0-9][a-z0-9-]+[a-z0-9]$", google_storage_bucket.source.name))
    error_message = "the bucket's name is one that Cloud Storage takes"
  }
}

run "everybody_where_an_organization_forbids_allUsers" {
  variables {
    platform = { region = "europe-west4", invoker_check = false }
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.invoker_iam_disabled && length(google_cloud_run_v2_service_iam_member.invoker) == 0
    error_message = "the platform asks nobody, and leaves callers to the gateway"
  }
}

run "callers_whom_the_platform_would_not_check_are_refused" {
  command = plan
  variables {
    config_file = "tests/testdata/single.yaml"
    callers     = ["group:apps@example.com"]
    platform    = { region = "europe-west4", invoker_check = false }
  }
  expect_failures = [google_cloud_run_v2_service.gateway]
}
