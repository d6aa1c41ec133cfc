package stage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/awskms"
	"github.com/postern-ai/postern/localdev/fake/cloudkms"
	"github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/shared/audit"
)

// Names of the services that keep keys. On Azure that is Key Vault.
const (
	awsKMS   = "AWS KMS"
	cloudKMS = "Cloud KMS"
)

// What the rotation functions call the keys that sign their events.
const (
	awsAuditKey   = "arn:aws:kms:" + Region + ":123456789012:alias/postern-audit"
	gcpAuditKey   = "projects/" + Project + "/locations/" + Location + "/keyRings/postern/cryptoKeys/audit/cryptoKeyVersions/1"
	azureAuditKey = "/keys/postern-audit/00000000000040008000000000000001"
)

// signers makes the key of each cloud that signs events, which the rotation
// alone may use, and returns the services that keep them.
func (s *Stage) signers() ([]service, error) {
	svc := &s.services
	who := &svc.accounts
	svc.auditKeys = map[string]audit.Keys{}
	made := map[string]*ecdsa.PrivateKey{}
	for _, cloud := range Clouds() {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		made[cloud], svc.auditKeys[cloud] = private, audit.Keys{private.Public()}
	}
	aws := awskms.New(awskms.Options{
		Keys: who.key, Region: Region, Allow: func(a awskms.Access) bool { return who.owner(a.Key.AccessKeyID) == who.rotation },
	})
	aws.Put(awskms.Key{ID: "audit", Alias: "postern-audit", Private: made[AWS]})
	gcp := cloudkms.New(cloudkms.Options{
		Member: who.googleMember, Allow: func(a cloudkms.Access) bool { return who.named(a.Member) == who.rotation },
	})
	gcp.Put(cloudkms.Key{Name: gcpAuditKey, Private: made[GCP], Algorithm: "EC_SIGN_P256_SHA256"})
	name, version, _ := strings.Cut(strings.TrimPrefix(azureAuditKey, "/keys/"), "/")
	svc.stores.azure.PutKey(keyvault.Key{Name: name, Version: version, Private: made[Azure]})
	return []service{{name: awsKMS, handler: aws}, {name: cloudKMS, handler: gcp}}, nil
}
