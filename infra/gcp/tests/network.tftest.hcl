# Functions in a network of one's own.
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
  config_file         = "tests/testdata/proactive.yaml"
  deletion_protection = false
  platform            = { region = "europe-west4" }
}

run "services_that_send_by_way_of_a_subnet" {
  variables {
    network = { subnets = ["projects/p/regions/europe-west4/subnetworks/s"], security_groups = ["gateway"] }
  }
  assert {
    condition = alltrue([for s in [google_cloud_run_v2_service.gateway, google_cloud_run_v2_service.rotate[0]] :
    s.template[0].vpc_access[0].egress == "ALL_TRAFFIC" && s.template[0].vpc_access[0].network_interfaces[0].subnetwork == "projects/p/regions/europe-west4/subnetworks/s" && s.template[0].vpc_access[0].network_interfaces[0].tags == tolist(["gateway"])])
    error_message = "both services send all by way of the subnet, with the network tags"
  }
}

run "endpoints_that_the_platform_does_not_have_are_refused" {
  command = plan
  variables {
    network = { subnets = ["s"], endpoints = ["e"] }
  }
  expect_failures = [google_cloud_run_v2_service.gateway]
}
