package stage

import (
	"slices"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/blob"
	"github.com/postern-ai/postern/localdev/fake/dynamodb"
	"github.com/postern-ai/postern/localdev/fake/eventbridge"
	"github.com/postern-ai/postern/localdev/fake/eventgrid"
	"github.com/postern-ai/postern/localdev/fake/gcpsecretmanager"
	"github.com/postern-ai/postern/localdev/fake/gcs"
	"github.com/postern-ai/postern/localdev/fake/keyvault"
	"github.com/postern-ai/postern/localdev/fake/pubsub"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// Names of the services that keep things.
const (
	secretsManager = "Secrets Manager"
	secretManager  = "Secret Manager"
	keyVault       = "Key Vault"
	dynamoDB       = "DynamoDB"
	cloudStorage   = "Cloud Storage"
	blobStorage    = "Blob Storage"
	eventBridge    = "EventBridge"
	pubSub         = "Pub/Sub"
	eventGrid      = "Event Grid"
)

// Where the functions keep things.
const (
	ledgerTable     = "postern-ledger"
	ledgerBucket    = "local-postern-ledger"
	ledgerContainer = "postern-ledger"
	eventBus        = "postern"
	eventTopic      = "projects/" + Project + "/topics/postern"
)

// stores are the stand-ins of the services that keep things.
type stores struct {
	aws   *secretsmanager.Server
	gcp   *gcpsecretmanager.Server
	azure *keyvault.Server

	eventBridge *eventbridge.Server
	pubSub      *pubsub.Server
	eventGrid   *eventgrid.Server
}

// seed stores a text under a name, as an operator does.
func (s *stores) seed(cloud, name, text string) {
	switch cloud {
	case AWS:
		s.aws.Seed(secretsmanager.Secret{Name: name, Text: text})
	case GCP:
		s.gcp.Seed(gcpsecretmanager.Secret{Name: name, Text: text})
	case Azure:
		s.azure.Seed(keyvault.Secret{Name: name, Text: text})
	}
}

// keepers sets up the services that keep things. Key Vault is not among what it
// returns: its clients want TLS.
func (s *Stage) keepers() []service {
	svc := &s.services
	who := &svc.accounts
	svc.stores = stores{
		aws: secretsmanager.New(secretsmanager.Options{
			Keys: who.key, Region: Region, Rotate: s.rotateStep,
			Allow: func(a secretsmanager.Access) bool {
				return s.may(AWS, who.owner(a.Key.AccessKeyID), access{arnName(a.Resource), a.Action})
			},
		}),
		gcp: gcpsecretmanager.New(gcpsecretmanager.Options{
			ProjectID: Project, Member: who.googleMember,
			Allow: func(a gcpsecretmanager.Access) bool {
				return s.may(GCP, who.named(a.Member), access{lastPart(a.Resource), a.Permission})
			},
		}),
		azure: keyvault.New(keyvault.Options{
			Caller: who.azureCaller(keyvault.Resource),
			Allow: func(a keyvault.Access) bool {
				// What is staged is a secret of its own, for the rotation alone.
				name, staged := strings.CutSuffix(a.Secret, "--pending")
				caller := who.named(a.Caller)
				if strings.HasPrefix(a.Action, "Microsoft.KeyVault/vaults/keys/") {
					return caller == who.rotation
				}
				return !(staged && caller == who.gateway) && s.may(Azure, caller, access{name, a.Action})
			},
		}),
		eventBridge: eventbridge.New(eventbridge.Options{Keys: who.key, Region: Region, Buses: []string{eventBus}}),
		pubSub:      pubsub.New(pubsub.Options{Topics: []string{eventTopic}, Member: who.googleMember}),
		eventGrid:   eventgrid.New(eventgrid.Options{Caller: who.azureCaller(eventgrid.Resource)}),
	}
	return []service{
		{name: secretsManager, handler: svc.stores.aws},
		{name: secretManager, handler: svc.stores.gcp},
		{name: dynamoDB, handler: dynamodb.New(dynamodb.Options{
			Keys: who.key, Region: Region, Tables: []dynamodb.Table{{Name: ledgerTable, TTL: "expires"}},
			Allow: func(a dynamodb.Access) bool { return who.owner(a.Key.AccessKeyID) == who.rotation },
		})},
		{name: cloudStorage, handler: gcs.New(gcs.Options{
			Member: who.googleMember, Buckets: []string{ledgerBucket},
			Allow: func(a gcs.Access) bool { return who.named(a.Member) == who.rotation },
		})},
		{name: blobStorage, handler: blob.New(blob.Options{
			Caller: who.azureCaller(blob.Resource), Containers: []string{ledgerContainer},
			Allow: func(a blob.Access) bool { return who.named(a.Caller) == who.rotation },
		})},
		{name: eventBridge, handler: svc.stores.eventBridge},
		{name: pubSub, handler: svc.stores.pubSub},
		{name: eventGrid, handler: svc.stores.eventGrid},
	}
}

// access is what somebody wants to do with a secret.
type access struct{ secret, action string }

// actionsOf are the actions of a cloud's store that read a secret, and those that
// a rotation needs besides. They are what a deployment grants.
func actionsOf(cloud string) (read, change []string) {
	switch cloud {
	case AWS:
		return []string{"secretsmanager:GetSecretValue"},
			[]string{"secretsmanager:DescribeSecret", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"}
	case GCP:
		return []string{"secretmanager.versions.access", "secretmanager.versions.get", "secretmanager.versions.list", "secretmanager.secrets.get"},
			[]string{"secretmanager.secrets.update", "secretmanager.versions.add", "secretmanager.versions.destroy"}
	}
	const secrets = "Microsoft.KeyVault/vaults/secrets/"
	return []string{secrets + "getSecret/action", secrets + "readMetadata/action"}, []string{secrets + "setSecret/action", secrets + "update/action"}
}

// rights are the secrets that the functions of a cloud may use, by their names.
type rights struct {
	gateway  []string // which the gateway reads
	rotated  []string // which the rotation reads and changes
	rotation []string // which the rotation reads
}

// rightsOf follow from the document, as those of a deployment do.
func rightsOf(document string) rights {
	d, err := config.Load([]byte(document))
	if err != nil {
		return rights{} // the functions say what is wrong with it
	}
	var r rights
	add := func(to *[]string, ref config.Reference) {
		if parsed, err := secrets.ParseRef(ref.String()); err == nil {
			*to = append(*to, parsed.Name)
		}
	}
	for _, u := range d.Upstreams {
		add(&r.gateway, u.CredentialRef)
	}
	for _, k := range d.Rotation.Keys {
		add(&r.rotated, k.CredentialRef)
		add(&r.rotation, k.AdminRef)
	}
	return r
}

// may reports whether an account may do something with a secret.
func (s *Stage) may(cloud string, who *account, a access) bool {
	svc := &s.services
	s.mu.Lock()
	r := s.rights[cloud]
	s.mu.Unlock()
	read, change := actionsOf(cloud)
	reads := slices.Contains(read, a.action)
	switch {
	case who == svc.accounts.operator:
		return true
	case slices.Contains(s.o.Withheld, a.secret):
		return false
	case who == svc.accounts.gateway:
		return reads && slices.Contains(r.gateway, a.secret)
	case who != svc.accounts.rotation:
		return false
	case slices.Contains(r.rotated, a.secret):
		return reads || slices.Contains(change, a.action)
	}
	return reads && slices.Contains(r.rotation, a.secret)
}

// arnName is the name of a secret of AWS, of which an ARN has a hyphen and six
// characters more.
func arnName(id string) string {
	if name := lastPart(strings.ReplaceAll(id, ":", "/")); strings.HasPrefix(id, "arn:") {
		return name[:max(0, len(name)-len("-abcdef"))]
	}
	return id
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
