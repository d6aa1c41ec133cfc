# A gateway in another cloud is let in by the pool of its document, and nobody
# else is.
mock_provider "google" {
  source = "../tests/mocks"
}

variables {
  config_file = "tests/testdata/foreign.yaml"
  gateway     = { cloud = "aws", issuer = null, subject = "arn:aws:iam::111122223333:role/postern-gateway" }
}

run "a_gateway_on_aws" {
  assert {
    condition     = keys(google_iam_workload_identity_pool.gateway) == ["postern"] && one(google_iam_workload_identity_pool_provider.gateway["//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/postern/providers/gateway"].aws).account_id == "111122223333"
    error_message = "the pool and the provider of the document are made, and take signed requests of the role's account"
  }
  assert {
    condition     = one(values(google_iam_workload_identity_pool_provider.gateway)).attribute_condition == "attribute.aws_role == 'postern-gateway'" && one(values(google_iam_workload_identity_pool_provider.gateway)).attribute_mapping["attribute.aws_role"] == "assertion.arn.extract('assumed-role/{role}/')"
    error_message = "the one role is let in"
  }
  assert {
    condition     = [for m in google_project_iam_member.models : "${m.project} ${m.member}"] == ["my-project principalSet://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/postern/attribute.aws_role/postern-gateway"] && one(values(google_project_iam_custom_role.models)).permissions == toset(["aiplatform.endpoints.predict"])
    error_message = "it may call models where the document calls them as itself"
  }
  assert {
    condition     = google_project_iam_custom_role.models["my-project"].role_id == "postern_federated_postern"
    error_message = "a gateway by way of another pool has another role in the same project"
  }
  assert {
    condition     = [for m in google_service_account_iam_member.gateway : "${m.service_account_id} ${m.role}"] == ["projects/-/serviceAccounts/models@other-project.iam.gserviceaccount.com roles/iam.workloadIdentityUser"]
    error_message = "it may act as the account of the document"
  }
  assert {
    condition     = keys(google_project_service.this) == ["aiplatform", "iam", "iamcredentials", "sts"]
    error_message = "the interfaces by which it gets and uses a token are on"
  }
}

run "a_gateway_on_azure" {
  variables {
    gateway = { cloud = "azure", issuer = "https://sts.windows.net/22222222-2222-2222-2222-222222222222/", subject = "00000000-0000-0000-0000-000000000003" }
  }
  assert {
    condition     = one(one(values(google_iam_workload_identity_pool_provider.gateway)).oidc).issuer_uri == "https://sts.windows.net/22222222-2222-2222-2222-222222222222/" && contains(one(one(values(google_iam_workload_identity_pool_provider.gateway)).oidc).allowed_audiences, "api://AzureADTokenExchange")
    error_message = "the provider takes tokens of the tenant"
  }
  assert {
    condition     = one(values(google_iam_workload_identity_pool_provider.gateway)).attribute_condition == "assertion.sub == '00000000-0000-0000-0000-000000000003'" && one(values(output.principals)) == "principal://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/postern/subject/00000000-0000-0000-0000-000000000003"
    error_message = "the one managed identity is let in"
  }
}

run "a_gateway_on_google_cloud_is_refused" {
  command = plan
  variables {
    gateway = { cloud = "gcp", issuer = "https://accounts.google.com", subject = "1" }
  }
  expect_failures = [var.gateway]
}
