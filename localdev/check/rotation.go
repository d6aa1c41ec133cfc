package check

import (
	"cmp"
	"fmt"
	"time"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// rotation says which stored keys the rotation functions renew, and what their identities have to be allowed for that.
func (p *page) rotation(d *config.Document) {
	if len(d.Rotation.Keys) == 0 {
		return
	}
	p.WriteString("\nRotation, by a function and an identity of its own\n")
	for i := range d.Rotation.Keys {
		p.rotatedKey(&d.Rotation.Keys[i])
	}
}

func (p *page) rotatedKey(k *config.RotatedKey) {
	how := string(k.Issuer)
	for _, m := range config.Issuers() {
		if m.Issuer == k.Issuer {
			how = m.How
		}
	}
	p.line("  - ", fmt.Sprintf("%s, stored at %s: %s", k.Name, k.CredentialRef, how))
	grace := "for as long as gateways may still hold on to it"
	if k.Grace > 0 {
		grace = "for " + days(k.Grace)
	}
	p.line("    ", fmt.Sprintf("renewed every %s; then the old one stays valid %s, and while it is still used for up to %s", days(k.Every), grace, days(k.MaxGrace)))
	switch {
	case k.InitialKeyID != "":
		p.line("    ", fmt.Sprintf("the key that is there now is %s at its issuer, and is revoked too when it has been replaced", k.InitialKeyID))
	case k.Issuer != config.IssuerAzureOpenAI && k.Issuer != config.IssuerOAuthClient:
		p.line("    ", "the key that is there now is not revoked when it has been replaced: an event tells an operator to do that, unless initial_key_id names it")
	}
	p.line("    needs: ", "to read and replace that secret: "+replacing(k.CredentialRef))
	if k.AdminRef != "" {
		p.line("    needs: ", fmt.Sprintf("to read the secret %s", k.AdminRef))
	}
	if need := issuing(k); need != "" {
		p.line("    needs: ", need)
	}
}

// days writes a length of time as people do.
func days(d time.Duration) string {
	if day := 24 * time.Hour; d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// replacing is what a store asks of whoever replaces a secret in it.
func replacing(reference config.Reference) string {
	aws := "secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue and UpdateSecretVersionStage"
	google := "roles/secretmanager.secretAccessor, roles/secretmanager.secretVersionManager and secretmanager.secrets.get and update"
	azure := "the role Key Vault Secrets Officer on it and on the secret NAME--pending beside it"
	ref, err := secrets.ParseRef(reference.String())
	if err != nil {
		return ""
	}
	switch ref.Store {
	case secrets.StoreAWS:
		return aws
	case secrets.StoreGCP:
		return google
	case secrets.StoreKeyVault:
		return azure
	}
	return fmt.Sprintf("on AWS %s; on Google Cloud %s; on Azure %s", aws, google, azure)
}

// issuing is what an issuer's own cloud asks of whoever makes and revokes keys there.
func issuing(k *config.RotatedKey) string {
	switch k.Issuer {
	case config.IssuerAWSIAM:
		return fmt.Sprintf("iam:CreateAccessKey, ListAccessKeys, UpdateAccessKey, DeleteAccessKey and GetAccessKeyLastUsed on the user %s, who is used for nothing else", k.UserName)
	case config.IssuerBedrockAPIKey:
		return fmt.Sprintf("iam:CreateServiceSpecificCredential, List-, Update-, Reset- and DeleteServiceSpecificCredential on the user %s, who is used for nothing else", k.UserName)
	case config.IssuerAzureOpenAI:
		return fmt.Sprintf("Microsoft.CognitiveServices/accounts/listKeys/action and regenerateKey/action on the account %s, whose two keys are used for nothing else", k.AccountName)
	case config.IssuerEntra:
		return fmt.Sprintf("Microsoft Graph's Application.ReadWrite.OwnedBy, as an owner of the app registration %s", k.ApplicationObjectID)
	case config.IssuerGCPServiceAccount:
		return fmt.Sprintf("roles/iam.serviceAccountKeyAdmin on %s", k.ServiceAccountEmail)
	case config.IssuerGCPAPIKey:
		return fmt.Sprintf("roles/serviceusage.apiKeysAdmin in the project %s", k.ProjectID)
	case config.IssuerOpenAIAdmin:
		return "nothing else: the admin key makes its successor itself"
	case config.IssuerAnthropic:
		return cmp.Or(map[bool]string{true: "an operator, who makes each new key and ends each old one"}[k.AdminRef == ""],
			"an operator, who makes each new key and stages it in the secret store")
	case config.IssuerOAuthClient:
		return "the members registration_client_uri and registration_access_token in the stored JSON"
	case config.IssuerWebhook:
		return "a service at " + k.WebhookURL + " that answers signed requests"
	}
	return ""
}
