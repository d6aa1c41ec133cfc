mock_provider "google" {
  mock_data "google_client_config" {
    defaults = { project = "my-project", region = "europe-west4" }
  }
  mock_resource "google_service_account" {
    defaults = { email = "postern-gw@my-project.iam.gserviceaccount.com" }
  }
  mock_resource "google_cloud_run_v2_service" {
    defaults = { uri = "https://postern-gateway-abc-ez.a.run.app" }
  }
}

run "the_example_applies_as_it_is" {
  variables {
    package = "../../gcp/tests/testdata/package.zip"
  }
  assert {
    condition     = output.gateway_url == "https://postern-gateway-abc-ez.a.run.app/v1" && output.gateway_identity == "postern-gw@my-project.iam.gserviceaccount.com"
    error_message = "the outputs are the module's"
  }
  assert {
    condition     = strcontains(output.invoke_command, "\"model\":\"gemini-flash\"")
    error_message = "the command asks for the document's model"
  }
}
