package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rotation says which stored keys are renewed by the scheduled function, and how.
type Rotation struct {
	Keys []RotatedKey `json:"keys,omitzero"`
}

// RotatedKey is one stored key that is renewed.
type RotatedKey struct {
	// Name is unique. It defaults to the upstream's.
	Name string `json:"name"`
	// Upstream is the one whose stored credential it is. It is empty for a credential that no upstream uses directly.
	Upstream string `json:"upstream,omitzero"`
	// CredentialRef is where it is stored: the upstream's.
	CredentialRef Reference `json:"credential_ref"`
	// Issuer makes the keys.
	Issuer Issuer `json:"issuer"`
	// Every is how often the key is renewed. It defaults to 30 days.
	Every time.Duration `json:"every"`
	// Grace is how long the old key stays valid. Zero leaves it to the function: what the gateway's caches, the longest request and the
	// store's and the issuer's propagation take together.
	Grace time.Duration `json:"grace,omitzero"`
	// MaxGrace is the longest that use of the old key puts its end off. It defaults to a week.
	MaxGrace time.Duration `json:"max_grace"`
	// VerifySuccesses is how many calls in a row prove a new key. Zero leaves it to the issuer.
	VerifySuccesses int `json:"verify_successes,omitzero"`
	// InitialKeyID is the issuer's id of the key that is there before the first rotation, which may then be revoked.
	InitialKeyID string `json:"initial_key_id,omitzero"`
	// AdminRef is where the credential of the issuer's own API is stored.
	AdminRef Reference `json:"admin_ref,omitzero"`

	// ProjectID, ServiceAccountID, KeyScopes and WorkspaceID name whose keys they are at OpenAI, Anthropic, OpenRouter and Google Cloud.
	ProjectID        string   `json:"project_id,omitzero"`
	ServiceAccountID string   `json:"service_account_id,omitzero"`
	KeyScopes        []string `json:"key_scopes,omitzero"`
	WorkspaceID      string   `json:"workspace_id,omitzero"`
	// SpendLimit is how much a key may spend at OpenRouter, in whole USD.
	SpendLimit int64 `json:"spend_limit,omitzero"`

	// SubscriptionID, ResourceGroup and AccountName name an Azure OpenAI or AI Services account.
	SubscriptionID string `json:"subscription_id,omitzero"`
	ResourceGroup  string `json:"resource_group,omitzero"`
	AccountName    string `json:"account_name,omitzero"`
	// ApplicationObjectID is the object id of an app registration, which is not its client id.
	ApplicationObjectID string `json:"application_object_id,omitzero"`
	// UserName is an IAM user.
	UserName string `json:"user_name,omitzero"`
	// ServiceAccountEmail is the Google service account whose keys they are.
	ServiceAccountEmail string `json:"service_account_email,omitzero"`
	// APITarget is the Google API that the keys are limited to, such as generativelanguage.googleapis.com.
	APITarget string `json:"api_target,omitzero"`
	// WebhookURL is where the signed requests go. The others declare what the service behind it can do: how keys overlap (parallel, two_slots
	// or in_place), what becomes of one whose making was interrupted (listed, readable or chosen), and whether keys can be stopped without
	// being ended, get an end, carry the name that they are ordered under, and tell when they were last used.
	WebhookURL string `json:"webhook_url,omitzero"`
	Overlap    string `json:"overlap,omitzero"`
	Recovery   string `json:"recovery,omitzero"`
	Disables   bool   `json:"disables,omitzero"`
	Expires    bool   `json:"expires,omitzero"`
	Named      bool   `json:"named,omitzero"`
	LastUsed   bool   `json:"last_used,omitzero"`
	MaxLive    int    `json:"max_live,omitzero"`

	// The rest is how the rotation proves itself to a cloud's own API from outside that cloud. The fields mean what they do in an [Upstream].
	Access `json:",inline"`
}

// Access is how a function proves itself to another cloud.
type Access struct {
	AWSRegion                   string    `json:"aws_region,omitzero"`
	AWSRoles                    []AWSRole `json:"aws_roles,omitzero"`
	AzureTenantID               string    `json:"azure_tenant_id,omitzero"`
	AzureClientID               string    `json:"azure_client_id,omitzero"`
	AzureCloud                  string    `json:"azure_cloud,omitzero"`
	GCPWorkloadIdentityProvider string    `json:"gcp_workload_identity_provider,omitzero"`
	GCPServiceAccount           string    `json:"gcp_service_account,omitzero"`
}

// The bounds of a rotation.
const (
	defaultEvery    = 30 * 24 * time.Hour
	leastEvery      = time.Hour
	mostEvery       = 365 * 24 * time.Hour
	leastGrace      = time.Minute
	mostGrace       = 90 * 24 * time.Hour
	defaultMaxGrace = 7 * 24 * time.Hour
	mostSuccesses   = 20
)

// keyOption is a field of a rotated key that only some issuers take.
type keyOption struct {
	name string
	read func(place, *RotatedKey)
}

func keyOptionsOf() []keyOption {
	id := func(s string) bool { return made(s, 1, 128, letters+digits+"_.:-") }
	return []keyOption{
		{"admin_ref", func(p place, k *RotatedKey) { k.AdminRef, _ = p.reference() }},
		{"project_id", text(func(s string) bool { return isProject(s) || id(s) }, "the id of a project", func(k *RotatedKey) *string { return &k.ProjectID })},
		{"service_account_id", text(id, "the id of a service account", func(k *RotatedKey) *string { return &k.ServiceAccountID })},
		{"key_scopes", func(p place, k *RotatedKey) { k.KeyScopes = p.strings(anyText) }},
		{"workspace_id", text(id, "the id of a workspace", func(k *RotatedKey) *string { return &k.WorkspaceID })},
		{"spend_limit", func(p place, k *RotatedKey) { k.SpendLimit, _ = p.number(1, 1_000_000) }},
		{"subscription_id", text(isGUID, "the id (a GUID) of a subscription", func(k *RotatedKey) *string { return &k.SubscriptionID })},
		{"resource_group", text(func(s string) bool { return made(s, 1, 90, letters+digits+"-_.()") }, "the name of a resource group", func(k *RotatedKey) *string { return &k.ResourceGroup })},
		{"account_name", text(isAzureInstance, "the name of the account", func(k *RotatedKey) *string { return &k.AccountName })},
		{"application_object_id", text(isGUID, "the object id (a GUID) of an app registration", func(k *RotatedKey) *string { return &k.ApplicationObjectID })},
		{"user_name", text(func(s string) bool { return made(s, 1, 64, letters+digits+"_+=,.@-") }, "the name of an IAM user", func(k *RotatedKey) *string { return &k.UserName })},
		{"service_account_email", text(isServiceAccount, "the e-mail address of a service account", func(k *RotatedKey) *string { return &k.ServiceAccountEmail })},
		{"api_target", text(func(s string) bool { return made(s, 4, 253, small+digits+".-") }, "an API such as generativelanguage.googleapis.com", func(k *RotatedKey) *string { return &k.APITarget })},
		{"webhook_url", address(func(k *RotatedKey) *string { return &k.WebhookURL })},
		{"overlap", choice(func(k *RotatedKey, s string) { k.Overlap = s }, "parallel", "two_slots", "in_place")},
		{"recovery", choice(func(k *RotatedKey, s string) { k.Recovery = s }, "listed", "readable", "chosen")},
		{"disables", func(p place, k *RotatedKey) { k.Disables, _ = p.flag() }},
		{"expires", func(p place, k *RotatedKey) { k.Expires, _ = p.flag() }},
		{"named", func(p place, k *RotatedKey) { k.Named, _ = p.flag() }},
		{"last_used", func(p place, k *RotatedKey) { k.LastUsed, _ = p.flag() }},
		{"max_live", func(p place, k *RotatedKey) { n, _ := p.number(1, 1000); k.MaxLive = int(n) }},

		{"aws_region", text(isRegion, "a region such as eu-central-1", func(k *RotatedKey) *string { return &k.AWSRegion })},
		{"aws_roles", func(p place, k *RotatedKey) {
			k.AWSRoles = p.roles()
			if slices.ContainsFunc(k.AWSRoles, func(r AWSRole) bool { return r.PerCaller }) {
				p.wrong("a rotation has no callers", "remove per_caller")
			}
		}},
		{"azure_tenant_id", text(isTenant, "the tenant's id (a GUID) or one of its domains", func(k *RotatedKey) *string { return &k.AzureTenantID })},
		{"azure_client_id", text(isGUID, "the client id (a GUID) of a managed identity or an app registration", func(k *RotatedKey) *string { return &k.AzureClientID })},
		{"azure_cloud", choice(func(k *RotatedKey, s string) { k.AzureCloud = s }, AzurePublic, AzureUSGovernment, AzureChina)},
		{"gcp_workload_identity_provider", text(isWorkloadIdentityProvider,
			"//iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER",
			func(k *RotatedKey) *string { return &k.GCPWorkloadIdentityProvider })},
		{"gcp_service_account", text(isServiceAccount, "the e-mail address of a service account", func(k *RotatedKey) *string { return &k.GCPServiceAccount })},
	}
}

func (l *loader) rotation(o object, d *Document) Rotation {
	section, ok := o.field("rotation")
	if !ok {
		return Rotation{}
	}
	s, ok := section.object()
	if !ok {
		return Rotation{}
	}
	var r Rotation
	keys, ok := s.field("keys")
	if !ok {
		s.missing("keys", "there is nothing to rotate", "name the stored keys, such as {upstream: openai}, or remove the section")
	} else if keys.kind == kindList && len(keys.items) == 0 {
		keys.wrong("there is nothing to rotate", "name the stored keys, such as {upstream: openai}, or remove the section")
	}
	for _, item := range keys.list() {
		if o, ok := item.object(); ok {
			r.Keys = append(r.Keys, l.rotatedKey(o, d))
		}
	}
	s.finish(func(name string) (string, bool) {
		switch name {
		case "ledger", "bus", "event_bus", "schedule":
			return "that belongs to the deployment: POSTERN_LEDGER, POSTERN_EVENT_BUS and the scheduler", true
		}
		return "", false
	})
	l.rotationEffect(keys, r.Keys)
	return r
}

func (l *loader) rotatedKey(o object, d *Document) RotatedKey {
	k := RotatedKey{Every: defaultEvery, MaxGrace: defaultMaxGrace}
	u := l.rotatedUpstream(o, d, &k)
	if p, ok := o.field("name"); ok {
		if s, ok := p.string(); ok && !isName(s) {
			p.wrong("this cannot be a name", "use lower-case letters, digits and dashes")
		} else if ok {
			k.Name = s
		}
	} else if u == nil && !o.has("upstream") {
		o.missing("name", "the key has no name", "give it one, or name the upstream that uses it")
	}
	making, known := l.rotatedIssuer(o, u, &k)
	l.rotatedTimes(o, d, &k)
	if p, ok := o.field("verify_successes"); ok {
		n, _ := p.number(1, mostSuccesses)
		k.VerifySuccesses = int(n)
	}
	if p, ok := o.field("initial_key_id"); ok {
		if s, ok := p.string(); ok && anyText(p, s) {
			k.InitialKeyID = s
		}
	}
	for _, option := range keyOptionsOf() {
		p, has := o.field(option.name)
		switch {
		case has && known && !slices.Contains(making.Needs, option.name) && !slices.Contains(making.Takes, option.name):
			p.wrong(fmt.Sprintf("the field has no effect with the issuer %s", k.Issuer), "remove it")
		case has:
			option.read(p, &k)
		case known && slices.Contains(making.Needs, option.name):
			o.missing(option.name, fmt.Sprintf("the issuer %s makes no keys without it", k.Issuer), "give it")
		}
	}
	if p, ok := o.field("admin_ref"); ok && k.AdminRef != "" && secretOf(k.AdminRef) == secretOf(k.CredentialRef) {
		p.wrong("it is in the secret of the key that is rotated, and whoever reads that key must not have it", "keep it in a secret of its own")
	}
	o.finish(nil)
	return k
}

// secretOf is the secret that a reference is of, whichever of its fields is meant.
func secretOf(r Reference) string {
	secret, _, _ := strings.Cut(string(r), "#")
	return secret
}

// rotatedUpstream finds the upstream whose stored credential is rotated.
func (l *loader) rotatedUpstream(o object, d *Document, k *RotatedKey) *Upstream {
	reference, hasReference := o.field("credential_ref")
	p, ok := o.field("upstream")
	if !ok {
		if !hasReference {
			o.missing("upstream", "it is not said which key is rotated", "name the upstream that uses it, or give credential_ref")
			return nil
		}
		k.CredentialRef, _ = reference.reference()
		l.rotatable(reference, k.CredentialRef)
		return nil
	}
	reference.hidden = true
	name, ok := p.string()
	if !ok {
		return nil
	}
	k.Upstream, k.Name = name, name
	for i := range d.Upstreams {
		u := &d.Upstreams[i]
		if u.Name != name {
			continue
		}
		if hasReference && reference.text != string(u.CredentialRef) {
			reference.wrong("the upstream says where the key is stored, and that is elsewhere", "remove it")
		}
		if u.CredentialRef == "" {
			p.wrong("nothing is stored for this upstream", "remove the entry: there is nothing to rotate")
			return nil
		}
		k.CredentialRef = u.CredentialRef
		l.rotatable(p, u.CredentialRef)
		return u
	}
	p.wrong("there is no such upstream", "give the name of one of the upstreams")
	return nil
}

// rotatable reports a reference to something that cannot be replaced.
func (l *loader) rotatable(p place, r Reference) {
	text := string(r)
	switch {
	case strings.HasPrefix(text, "env://"), strings.HasPrefix(text, "file://"), strings.HasPrefix(text, "{vault://env/"):
		p.wrong("the key is in the environment or in a file, where no rotation can replace it", "store it in the cloud's secret store and give its name")
	case strings.Contains(text, "?version="):
		p.wrong("the credential reference pins a version, so no gateway would ever use the next one", "remove ?version=")
	}
}

func (l *loader) rotatedIssuer(o object, u *Upstream, k *RotatedKey) (Making, bool) {
	p, ok := o.field("issuer")
	if !ok {
		if u == nil {
			if !o.has("upstream") {
				o.missing("issuer", "it is not said who makes the key", "give one of "+list(aloneIssuers(), "or"))
			}
			return Making{}, false
		}
		makers := makersOf(u)
		if u.Provider == CustomOpenAI && u.AuthType == APIKey {
			o.missing("issuer", "the server does not say who makes its keys", "give one of "+list(makers, "or"))
			return Making{}, false
		}
		k.Issuer = makers[0]
		return makingOf(k.Issuer)
	}
	s, ok := p.string()
	if !ok {
		return Making{}, false
	}
	k.Issuer = Issuer(s)
	making, known := makingOf(k.Issuer)
	switch vendor, isManual := manual[s]; {
	case isManual && !known:
		p.wrong(fmt.Sprintf("%s has no public API that makes keys, so this cannot be automated", vendor),
			"use issuer: webhook with a service of your own, or rotate by hand")
	case !known:
		p.wrong("there is no such issuer", "use one of "+list(allIssuers(), "or"))
	case u == nil && !o.has("upstream") && !making.Alone:
		p.wrong("this issuer makes the key of an upstream", "name the upstream")
	case u != nil && !making.makes(u):
		p.wrong(fmt.Sprintf("this issuer does not make what %s with %s needs", u.Provider, u.AuthType), "use "+list(makersOf(u), "or"))
		return Making{}, false
	}
	return making, known
}

func allIssuers() []Issuer {
	var all []Issuer
	for _, m := range Issuers() {
		all = append(all, m.Issuer)
	}
	return all
}

func aloneIssuers() []Issuer {
	var alone []Issuer
	for _, m := range Issuers() {
		if m.Alone {
			alone = append(alone, m.Issuer)
		}
	}
	return alone
}

func (l *loader) rotatedTimes(o object, d *Document, k *RotatedKey) {
	every, hasEvery := o.field("every")
	if hasEvery {
		if d, ok := every.duration(leastEvery, mostEvery); ok {
			k.Every = d
		}
	}
	grace, hasGrace := o.field("grace")
	if hasGrace {
		k.Grace, _ = grace.duration(leastGrace, mostGrace)
	}
	p, hasMost := o.field("max_grace")
	if hasMost {
		k.MaxGrace, _ = p.duration(leastGrace, mostGrace)
	} else {
		k.MaxGrace = max(k.MaxGrace, k.Grace)
	}
	switch {
	case hasMost && k.MaxGrace < k.Grace:
		p.wrong("it is shorter than grace", "give a time that is at least as long, or remove it")
	case hasGrace && k.Grace > k.Every/2:
		grace.wrong("it is longer than half of the time between two rotations", "shorten it, or rotate less often")
	case !hasGrace && hasEvery && d.Cache.SecretTTL+d.Limits.RequestTimeout > k.Every/2:
		every.wrong(fmt.Sprintf("the old key stays valid for as long as a gateway may still use it, and that is more than half of this time: cache.secret_ttl is %s", d.Cache.SecretTTL),
			"lower that one, or rotate less often")
	}
}

// rotationEffect reports keys that would get into each other's way.
func (l *loader) rotationEffect(p place, keys []RotatedKey) {
	names, places := map[string]int{}, map[string]int{}
	for i, k := range keys {
		if i >= len(p.list()) {
			return
		}
		at := p.list()[i]
		if first, twice := names[k.Name]; twice && k.Name != "" {
			at.wrong(fmt.Sprintf("keys[%d] has the same name, %q", first, k.Name), "give each a name of its own")
		}
		names[k.Name] = i
		secret := secretOf(k.CredentialRef)
		if first, twice := places[secret]; twice && secret != "" {
			at.wrong(fmt.Sprintf("keys[%d] is stored in the same secret, and two rotations of one secret get into each other's way", first),
				"keep one of the two, or store them apart")
		}
		places[secret] = i
	}
}
