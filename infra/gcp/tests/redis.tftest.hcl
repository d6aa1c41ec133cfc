# A Redis server that the functions log in to as themselves.
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
  config_file         = "tests/testdata/redis.yaml"
  deletion_protection = false
  network             = { subnets = ["projects/host/regions/europe-west4/subnetworks/s"] }
  platform            = { region = "europe-west4" }
}

run "a_server_without_a_password" {
  assert {
    condition     = google_memorystore_instance.redis[0].authorization_mode == "IAM_AUTH" && google_memorystore_instance.redis[0].transit_encryption_mode == "SERVER_AUTHENTICATION" && google_memorystore_instance.redis[0].server_ca_mode == "GOOGLE_MANAGED_PER_INSTANCE_CA"
    error_message = "who connects shows a token, over TLS, to an instance with an authority of its own"
  }
  assert {
    condition     = data.google_compute_subnetwork.redis[0].project == "host" && google_network_connectivity_service_connection_policy.redis[0].project == "host" && google_network_connectivity_service_connection_policy.redis[0].network == "projects/p/global/networks/n" && google_memorystore_instance.redis[0].desired_auto_created_endpoints[0].network == "projects/p/global/networks/n"
    error_message = "its address is in the network of the subnet"
  }
  assert {
    condition     = keys(google_project_iam_member.redis) == ["gateway", "rotate"] && alltrue([for m in google_project_iam_member.redis : m.role == "roles/memorystore.dbConnectionUser" && m.condition[0].expression == "resource.name == \"projects/my-project/locations/europe-west4/instances/postern-redis\""])
    error_message = "both functions may log in to this server and to no other"
  }
  assert {
    condition = alltrue([for s in [google_cloud_run_v2_service.gateway, google_cloud_run_v2_service.rotate[0]] :
    { for e in s.template[0].containers[0].env : e.name => e.value if startswith(e.name, "POSTERN_REDIS") } == { POSTERN_REDIS_URL = "rediss://10.0.0.3:6379", POSTERN_REDIS_CA = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nMIJ\n-----END CERTIFICATE-----" }])
    error_message = "both functions are told where the server is, and by whose certificate they know it"
  }
  assert {
    condition     = contains(keys(google_project_service.this), "memorystore")
    error_message = "the API is enabled"
  }
}

run "a_network_with_a_policy_of_its_own" {
  variables {
    platform = { region = "europe-west4", redis = { node_type = "STANDARD_SMALL", replicas = 1, service_connection_policy = false } }
  }
  assert {
    condition     = length(google_network_connectivity_service_connection_policy.redis) == 0 && google_memorystore_instance.redis[0].node_type == "STANDARD_SMALL" && google_memorystore_instance.redis[0].replica_count == 1
    error_message = "there is no second policy, and the server is as large as is asked for"
  }
}

run "a_server_without_a_network_is_refused" {
  command = plan
  variables {
    network = null
  }
  expect_failures = [google_memorystore_instance.redis]
}

run "without_it_in_the_document_there_is_none" {
  variables {
    config_file = "tests/testdata/minimal.yaml"
  }
  assert {
    condition     = length(google_memorystore_instance.redis) + length(google_project_iam_member.redis) + length(data.google_compute_subnetwork.redis) == 0
    error_message = "a document without such a server has none made"
  }
}
