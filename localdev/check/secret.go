package check

import (
	"strings"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// read explains where a secret is read, and reports whether a function on this cloud can do that.
func (w *writer) read(reference config.Reference, field, holds string) bool {
	ref, err := secrets.ParseRef(reference.String())
	if err != nil {
		w.impossible = field + ": " + err.Error()
		return false
	}
	own := map[config.Cloud]string{config.AWS: secrets.StoreAWS, config.GCP: secrets.StoreGCP, config.Azure: secrets.StoreKeyVault}[w.cloud]
	store := ref.Store
	if store == secrets.StoreOwn {
		store = own
	}
	version := ""
	if ref.Version != "" {
		version = ", version " + ref.Version
	}
	if ref.Field != "" {
		holds += ", in the field " + ref.Field + " of a JSON object"
	}
	switch {
	case store == secrets.StoreEnv:
		w.step("The variable %s of the function holds %s. It is read for each request.", ref.Name, holds)
		return true
	case store == secrets.StoreFile:
		where := ref.Name
		if ref.Field != "" {
			where += " (its field " + ref.Field + ", or the file of that name in the directory)"
			holds, _, _ = strings.Cut(holds, ", in the field")
		}
		w.step("The file %s holds %s. It is read for each request.", where, holds)
		return true
	case store != own:
		names := map[string]string{secrets.StoreAWS: "AWS Secrets Manager", secrets.StoreGCP: "Google Secret Manager", secrets.StoreKeyVault: "Azure Key Vault"}
		w.impossible = field + ": " + names[store] + " is another cloud's store; keep the secret in this cloud's own and give its name, or use env:// or file://"
		return false
	}
	switch store {
	case secrets.StoreAWS:
		w.step("The secret %s%s of AWS Secrets Manager holds %s.", ref.Name, version, holds)
		arn := ref.Name
		if !strings.HasPrefix(arn, "arn:") {
			arn = "arn:aws:secretsmanager:REGION:ACCOUNT:secret:" + ref.Name + "-??????"
		}
		w.need("the function's role: secretsmanager:GetSecretValue on %s, and kms:Decrypt on its key unless that is aws/secretsmanager", arn)
	case secrets.StoreGCP:
		w.step("The secret %s%s of Google Secret Manager holds %s.", ref.Name, version, holds)
		name := ref.Name
		if !strings.HasPrefix(name, "projects/") {
			name = "projects/PROJECT/secrets/" + name
		}
		w.need("the function's service account: secretmanager.versions.access on %s (roles/secretmanager.secretAccessor)", name)
	default:
		vault, name, named := strings.Cut(ref.Name, "/")
		if !named {
			vault, name = "of the variable POSTERN_KEY_VAULT_URL", ref.Name
		}
		w.step("The secret %s%s of the Azure Key Vault %s holds %s.", name, version, vault, holds)
		w.need("the function's managed identity: the role Key Vault Secrets User on that secret")
	}
	return true
}
