# What the tests of this module and of its example take Google Cloud to answer.

mock_data "google_client_config" {
  defaults = { project = "my-project", region = "europe-west4" }
}
mock_data "google_project" {
  defaults = { number = "123456789" }
}
mock_resource "google_service_account" {
  defaults = { email = "postern-gw@my-project.iam.gserviceaccount.com", id = "projects/my-project/serviceAccounts/postern@my-project.iam.gserviceaccount.com" }
}
mock_resource "google_cloud_run_v2_service" {
  defaults = { uri = "https://postern-gateway-abc-ez.a.run.app" }
}
mock_resource "google_project_iam_custom_role" {
  defaults = { name = "projects/my-project/roles/postern_gateway" }
}
mock_resource "google_pubsub_topic" {
  defaults = { id = "projects/my-project/topics/postern" }
}
