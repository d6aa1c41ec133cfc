mock_provider "google" {
  source = "../../gcp/tests/mocks"
}

# What builds and waits reaches Google Cloud.
override_module {
  target = module.postern.module.metrics
}
override_module {
  target  = module.postern.module.image
  outputs = { image = "europe-west1-docker.pkg.dev/my-project/postern-gateway/gateway" }
}
override_module {
  target  = module.postern.module.rotation_image
  outputs = { image = "europe-west1-docker.pkg.dev/my-project/postern-gateway/rotate" }
}

run "the_example_applies_as_it_is" {
  variables {
    packages = { gateway = "../../gcp/tests/testdata/package.zip", rotate = "../../gcp/tests/testdata/package.zip" }
  }
  assert {
    condition     = output.gateway_url == "https://postern-gateway-abc-ez.a.run.app/v1" && output.gateway_identity == "postern-gw@my-project.iam.gserviceaccount.com"
    error_message = "the outputs are the module's"
  }
  assert {
    condition     = output.event_bus != "" && output.rotation_identity == null
    error_message = "there is a bus, and nothing to rotate"
  }
  assert {
    condition     = strcontains(output.invoke_command, "\"model\":\"gemini-flash\"")
    error_message = "the command asks for the document's model"
  }
}
