# What the tests of this module and of its example take Google Cloud to answer.

mock_data "google_project" {
  defaults = { number = "123456789", id = "projects/my-project" }
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
mock_data "google_compute_subnetwork" {
  defaults = {
    network   = "https://www.googleapis.com/compute/v1/projects/p/global/networks/n"
    self_link = "https://www.googleapis.com/compute/v1/projects/p/regions/europe-west4/subnetworks/s"
  }
}
mock_resource "google_memorystore_instance" {
  defaults = {
    endpoints = [{ connections = [
      { psc_auto_connection = [{ connection_type = "CONNECTION_TYPE_READER", ip_address = "10.0.0.4" }] },
      { psc_auto_connection = [{ connection_type = "CONNECTION_TYPE_PRIMARY", ip_address = "10.0.0.3" }] },
    ] }]
    managed_server_ca = [{ ca_certs = [{ certificates = ["-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMIJ\n-----END CERTIFICATE-----"] }] }]
  }
}
