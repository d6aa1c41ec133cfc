package stage

import (
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/localdev/fake/metadata"
)

// account is an identity that somebody has on every cloud, and the platforms'
// services that give out its credentials.
type account struct {
	creds    *awscreds.Server
	metadata *metadata.Server
	managed  *managedid.Server
	email    string
	clientID string
}

// accountOptions say who an account is.
type accountOptions struct{ role, email, uniqueID, clientID, objectID string }

func newAccount(o accountOptions) *account {
	return &account{
		email: o.email, clientID: o.clientID,
		creds:    awscreds.New(awscreds.Options{Role: o.role}),
		metadata: metadata.New(metadata.Options{Email: o.email, UniqueID: o.uniqueID, ProjectID: Project, Region: Location}),
		managed:  managedid.New(managedid.Options{Secret: identityHeader, System: managedid.Identity{ClientID: o.clientID, ObjectID: o.objectID}}),
	}
}

// accounts are those that the services which keep things know. The models know
// the gateway's alone.
type accounts struct {
	// gateway reads secrets and tells what happens, rotation replaces secrets,
	// and the operator is the person who has set everything up.
	gateway, rotation, operator *account
}

func newAccounts() accounts {
	return accounts{
		gateway: newAccount(accountOptions{
			role: "postern-gateway", email: serviceAccount, uniqueID: "104000000000000000001", clientID: clientID, objectID: objectID,
		}),
		rotation: newAccount(accountOptions{
			role: "postern-rotation", email: "rotation@local-project.iam.gserviceaccount.com", uniqueID: "104000000000000000002",
			clientID: "22222222-3333-4444-8555-777777777777", objectID: "33333333-4444-4555-8666-888888888888",
		}),
		operator: newAccount(accountOptions{
			role: "operator", email: "operator@local-project.iam.gserviceaccount.com", uniqueID: "104000000000000000003",
			clientID: "22222222-3333-4444-8555-888888888888", objectID: "33333333-4444-4555-8666-999999999999",
		}),
	}
}

// find returns the first account that is meant.
func (a *accounts) find(meant func(*account) bool) (*account, bool) {
	for _, one := range []*account{a.gateway, a.rotation, a.operator} {
		if meant(one) {
			return one, true
		}
	}
	return nil, false
}

// key finds the credentials with an access key id. It is an [awsauth.Lookup].
func (a *accounts) key(id string) (awsauth.Key, bool) {
	one, ok := a.find(func(one *account) bool { _, ok := one.creds.Lookup(id); return ok })
	if !ok {
		return awsauth.Key{}, false
	}
	return one.creds.Lookup(id)
}

// owner returns whose an access key id is.
func (a *accounts) owner(id string) *account {
	one, _ := a.find(func(one *account) bool { _, ok := one.creds.Lookup(id); return ok })
	return one
}

// googleMember finds whom a token stands for at Google's services that keep
// things.
func (a *accounts) googleMember(token string) (string, bool) {
	one, ok := a.find(func(one *account) bool { return one.metadata.Valid(token) })
	if !ok {
		return "", false
	}
	return one.member(), true
}

func (a *account) member() string { return "serviceAccount:" + a.email }

// azureCaller returns what finds whom a token for a resource stands for.
func (a *accounts) azureCaller(resource string) func(token string) (string, bool) {
	return func(token string) (string, bool) {
		one, ok := a.find(func(one *account) bool { return one.managed.Valid(token, resource) })
		if !ok {
			return "", false
		}
		return one.caller(), true
	}
}

func (a *account) caller() string { return "appid=" + a.clientID }

// named returns the account that a Google or Azure service calls so.
func (a *accounts) named(name string) *account {
	one, _ := a.find(func(one *account) bool { return one.member() == name || one.caller() == name })
	return one
}
