package check

import (
	"cmp"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// google explains an access token of Google's.
func (w *writer) google() {
	u := w.u
	if w.cloud != config.GCP && u.ProjectID == "" {
		w.impossible = "project_id: a function here is in no Google project; give the one that is to be used"
		return
	}
	who := w.identity()
	if w.impossible != "" {
		return
	}
	for _, next := range append(append([]string{}, u.GCPDelegates...), u.GCPServiceAccount) {
		if next == "" {
			continue
		}
		role := "roles/iam.serviceAccountTokenCreator"
		if strings.HasPrefix(who, "principal") {
			role = "roles/iam.workloadIdentityUser"
		}
		w.need("%s: %s on %s", who, role, next)
		who = next
	}
	if u.GCPServiceAccount != "" {
		by := ""
		if len(u.GCPDelegates) > 0 {
			by = " by way of " + list(u.GCPDelegates, "and")
		}
		w.step("With it iamcredentials.googleapis.com gives an access token of the service account %s%s.", u.GCPServiceAccount, by)
	}
	w.step("The access token is sent in the header Authorization.")
	w.need("%s: aiplatform.endpoints.predict on the project %s, in a custom role or in roles/aiplatform.user, which has much more", who, cmp.Or(u.ProjectID, "of the function"))
	w.need("that project: the API aiplatform.googleapis.com, and for models of partners their activation in Model Garden")
}

// identity explains the first token of Google's, and names whose it is.
func (w *writer) identity() string {
	u := w.u
	pool := u.GCPWorkloadIdentityProvider
	switch {
	case u.Issuer != "" || u.TokenEndpoint != "":
		if !w.client() {
			return ""
		}
		w.step("Google's STS (sts.googleapis.com) exchanges it for an access token of Google's, by the pool's provider %s.", pool)
		w.need("the workload identity pool: the provider %s for OpenID Connect, with that issuer, the token's aud among the allowed audiences, and google.subject mapped", pool)
		return principal(pool, "the subject of the issuer's token")
	case u.CredentialRef != "":
		if !w.read(u.CredentialRef, "credential_ref", u.Holds()) {
			return ""
		}
		w.step("Google gives an access token for it: for a service account's key by a signed assertion, for an external account by way of its pool. Addresses in it that are not Google's own are refused.")
		return "the identity of the credentials"
	case w.cloud == config.GCP:
		w.step("The metadata server gives an access token of the function's service account.")
		return "the function's service account"
	case pool == "":
		w.impossible = "a function here has no Google identity; give gcp_workload_identity_provider, or credential_ref"
		return ""
	case w.cloud == config.AWS && u.TokenAudience == "":
		w.step("The function's role signs a request to sts:GetCallerIdentity, for which it needs no permission.")
		w.step("Google's STS (sts.googleapis.com) has AWS confirm it and gives an access token of Google's, by the pool's provider %s.", pool)
		w.need("the workload identity pool: the provider %s of the kind AWS with the account's id, and an attribute condition that lets in no role but the function's", pool)
		return "principalSet://iam.googleapis.com/" + poolOf(pool) + "/attribute.aws_role/ROLE (the function's role, by an attribute that is mapped from the assumed role's ARN; google.subject changes with the session)"
	}
	t := w.platform(u.TokenAudience, entraAudience)
	w.step("Google's STS (sts.googleapis.com) exchanges it for an access token of Google's, by the pool's provider %s.", pool)
	w.need("the workload identity pool: the provider %s for OpenID Connect with issuer = %s, allowed audience = %s and google.subject = assertion.sub", pool, t.issuer, t.audience)
	return principal(pool, t.subject)
}

// principal is how IAM names an identity of a pool.
func principal(provider, subject string) string {
	return "principal://iam.googleapis.com/" + poolOf(provider) + "/subject/SUBJECT (" + subject + ")"
}

func poolOf(provider string) string {
	pool, _, _ := strings.Cut(strings.TrimPrefix(provider, "//iam.googleapis.com/"), "/providers/")
	return pool
}
