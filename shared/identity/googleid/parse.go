package googleid

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// maxFile bounds a credential file, in bytes. The longest are some kilobytes.
const maxFile = 64 << 10

// common are the fields that all files may have.
type common struct {
	Type         string `json:"type"`
	Universe     string `json:"universe_domain"`
	QuotaProject string `json:"quota_project_id"`
}

// serviceAccountFile has the fields of a service account's key. Those without a use here are Google's own addresses and ids, which its tools
// write into each file.
type serviceAccountFile struct {
	common
	ProjectID     string `json:"project_id"`
	KeyID         string `json:"private_key_id"`
	Key           string `json:"private_key"`
	Email         string `json:"client_email"`
	ClientID      string `json:"client_id"`
	AuthURI       string `json:"auth_uri"`
	TokenURI      string `json:"token_uri"`
	ProviderCerts string `json:"auth_provider_x509_cert_url"`
	ClientCerts   string `json:"client_x509_cert_url"`
}

type authorizedUserFile struct {
	common
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	RefreshToken string `json:"refresh_token"`
	Account      string `json:"account"`
	TokenURI     string `json:"token_uri"`
}

type externalAccountFile struct {
	common
	Audience         string `json:"audience"`
	SubjectTokenType string `json:"subject_token_type"`
	TokenURL         string `json:"token_url"`
	// TokenInfoURL is for debugging, and never asked.
	TokenInfoURL     string           `json:"token_info_url"`
	ImpersonationURL string           `json:"service_account_impersonation_url"`
	Impersonation    impersonationRow `json:"service_account_impersonation"`
	Source           sourceRow        `json:"credential_source"`
}

type impersonationRow struct {
	Lifetime int64 `json:"token_lifetime_seconds"`
}

// sourceRow is where a federated identity's own token comes from.
type sourceRow struct {
	Environment     string            `json:"environment_id"`
	RegionURL       string            `json:"region_url"`
	URL             string            `json:"url"`
	VerificationURL string            `json:"regional_cred_verification_url"`
	SessionTokenURL string            `json:"imdsv2_session_token_url"`
	File            string            `json:"file"`
	Headers         map[string]string `json:"headers"`
	Format          formatRow         `json:"format"`
	Executable      jsontext.Value    `json:"executable"`
	Certificate     jsontext.Value    `json:"certificate"`
}

type formatRow struct {
	Type  string `json:"type"`
	Field string `json:"subject_token_field_name"`
}

type impersonatedFile struct {
	common
	ImpersonationURL string         `json:"service_account_impersonation_url"`
	Source           jsontext.Value `json:"source_credentials"`
	Delegates        []string       `json:"delegates"`
	Scopes           []string       `json:"scopes"`
}

// parse checks a file and returns what gets tokens with it. Nothing is read or sent on the way.
func (f *File) parse(text secrets.Value) (FileDescription, identity.TokenSource, error) {
	raw := []byte(text.Reveal())
	if len(raw) > maxFile {
		return FileDescription{}, nil, invalid("", fmt.Sprintf("it is larger than %d bytes", maxFile))
	}
	return f.parseType(raw, f.options.Types)
}

// parseType is used again for the file within an impersonation.
func (f *File) parseType(raw []byte, accepted []string) (FileDescription, identity.TokenSource, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return FileDescription{}, nil, invalid("", "it is not one JSON object with a type")
	}
	parsers := map[string]func([]byte) (FileDescription, identity.TokenSource, error){
		ServiceAccountFile: f.parseServiceAccount, AuthorizedUserFile: f.parseAuthorizedUser,
		ExternalAccountFile: f.parseExternalAccount, ImpersonatedFile: f.parseImpersonated,
	}
	parser, known := parsers[head.Type]
	switch {
	case !known:
		return FileDescription{}, nil, invalid("type", "must be one of "+strings.Join(accepted, ", "))
	case !slices.Contains(accepted, head.Type):
		return FileDescription{}, nil, invalid("type", head.Type+" is not accepted here; it must be "+strings.Join(accepted, ", "))
	}
	described, source, err := parser(raw)
	described.Type = head.Type
	return described, source, err
}

// strict decodes a file and refuses fields that its type does not have: they would have to be ignored, and may have been meant.
func (f *File) strict(raw []byte, into any, shared *common) error {
	if err := json.Unmarshal(raw, into, json.RejectUnknownMembers(true)); err != nil {
		return invalid("", "it has a field that its type does not have, a field twice, or one of the wrong kind")
	}
	switch {
	case shared.Universe != "" && shared.Universe != f.services.universe, shared.Universe == "" && f.services.universe != defaultUniverse:
		return invalid("universe_domain", "is not "+f.services.universe+", which is the one that is configured")
	case !isProject(shared.QuotaProject):
		return invalid("quota_project_id", "is not a project's id")
	}
	return nil
}

func (f *File) parseServiceAccount(raw []byte) (FileDescription, identity.TokenSource, error) {
	var file serviceAccountFile
	if err := f.strict(raw, &file, &file.common); err != nil {
		return FileDescription{}, nil, err
	}
	selfSigned := f.options.SelfSigned || f.services.universe != defaultUniverse
	if file.TokenURI != f.services.oauthURL && !(selfSigned && (file.TokenURI == "" || file.TokenURI == "https://oauth2.googleapis.com/token")) {
		return FileDescription{}, nil, invalid("token_uri", "must be "+f.services.oauthURL+"; what it names would get the account's signature")
	}
	if !isAccount(file.Email) {
		return FileDescription{}, nil, invalid("client_email", "is not the address of a service account")
	}
	key, err := parseKey(file.Key)
	if err != nil {
		return FileDescription{}, nil, err
	}
	if file.KeyID == "" || len(file.KeyID) > 128 {
		return FileDescription{}, nil, invalid("private_key_id", "is missing or too long")
	}
	account := &serviceAccount{services: f.services, email: file.Email, keyID: file.KeyID, key: key, scopes: f.options.Scopes, selfSigned: selfSigned}
	return FileDescription{Name: file.Email, QuotaProject: file.QuotaProject}, account, nil
}

func (f *File) parseAuthorizedUser(raw []byte) (FileDescription, identity.TokenSource, error) {
	var file authorizedUserFile
	if err := f.strict(raw, &file, &file.common); err != nil {
		return FileDescription{}, nil, err
	}
	for _, required := range []struct{ field, value string }{
		{"client_id", file.ClientID}, {"client_secret", file.ClientSecret}, {"refresh_token", file.RefreshToken},
	} {
		if required.value == "" {
			return FileDescription{}, nil, invalid(required.field, "is missing; run gcloud auth application-default login again")
		}
	}
	if file.TokenURI != "" && file.TokenURI != f.services.oauthURL {
		return FileDescription{}, nil, invalid("token_uri", "must be "+f.services.oauthURL+"; what it names would get the refresh token")
	}
	name := "a person"
	if isEmail(file.Account) {
		name = file.Account
	}
	user := &authorizedUser{services: f.services, name: name, clientID: file.ClientID, clientSecret: secrets.NewValue(file.ClientSecret), refreshToken: secrets.NewValue(file.RefreshToken)}
	return FileDescription{Name: name, QuotaProject: file.QuotaProject}, user, nil
}

func (f *File) parseExternalAccount(raw []byte) (FileDescription, identity.TokenSource, error) {
	var file externalAccountFile
	if err := f.strict(raw, &file, &file.common); err != nil {
		return FileDescription{}, nil, err
	}
	if file.TokenURL != f.services.stsURL {
		return FileDescription{}, nil, invalid("token_url", "must be "+f.services.stsURL+"; what it names would get the identity's token")
	}
	if err := checkAudience(file.Audience); err != nil {
		return FileDescription{}, nil, invalid("audience", "must be a provider of a workload identity pool: //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
	}
	federation := FederationOptions{Services: f.options.Services, Audience: file.Audience, Scopes: f.options.Scopes}
	if err := f.subject(file, &federation); err != nil {
		return FileDescription{}, nil, err
	}
	if file.ImpersonationURL == "" {
		if file.Impersonation.Lifetime != 0 {
			return FileDescription{}, nil, invalid("service_account_impersonation", "has no effect without service_account_impersonation_url")
		}
		source, err := NewFederation(federation)
		if err != nil {
			return FileDescription{}, nil, invalid("", err.Error())
		}
		return FileDescription{Name: file.Audience, QuotaProject: file.QuotaProject}, source, nil
	}
	// The federated identity itself needs no more than to act as the account.
	federation.Scopes = []string{CloudPlatform}
	source, err := NewFederation(federation)
	if err != nil {
		return FileDescription{}, nil, invalid("", err.Error())
	}
	described, impersonation, err := f.impersonate(source, impersonatedFile{ImpersonationURL: file.ImpersonationURL, common: file.common}, file.Impersonation.Lifetime)
	return described, impersonation, err
}

func (f *File) parseImpersonated(raw []byte) (FileDescription, identity.TokenSource, error) {
	var file impersonatedFile
	if err := f.strict(raw, &file, &file.common); err != nil {
		return FileDescription{}, nil, err
	}
	// What is accepted within is what is accepted alone, and no further impersonation: that is what delegates are for.
	accepted := slices.DeleteFunc(slices.Clone(f.options.Types), func(kind string) bool { return kind == ImpersonatedFile })
	if file.Source.Kind() != '{' || len(accepted) == 0 {
		return FileDescription{}, nil, invalid("source_credentials", "must be a credential of type "+strings.Join(accepted, ", "))
	}
	within := &File{options: f.options, services: f.services}
	within.options.Scopes = []string{CloudPlatform}
	_, source, err := within.parseType(file.Source, accepted)
	if err != nil {
		return FileDescription{}, nil, err
	}
	return f.impersonate(source, file, 0)
}

// impersonate puts an account to act as on top of a source.
func (f *File) impersonate(source identity.TokenSource, file impersonatedFile, lifetime int64) (FileDescription, identity.TokenSource, error) {
	account, ok := strings.CutPrefix(file.ImpersonationURL, f.services.impersonationPrefix)
	account, isMethod := strings.CutSuffix(account, ":generateAccessToken")
	if !ok || !isMethod || !isAccount(account) {
		return FileDescription{}, nil, invalid("service_account_impersonation_url", "must be "+f.services.impersonationPrefix+"ACCOUNT:generateAccessToken; what it names would get the identity's token")
	}
	if lifetime != 0 && (lifetime < 600 || lifetime > int64(longestLifetime/time.Second)) {
		return FileDescription{}, nil, invalid("service_account_impersonation.token_lifetime_seconds", "must be from 600 to 43200")
	}
	delegates := make([]string, len(file.Delegates))
	for i, delegate := range file.Delegates {
		delegates[i] = strings.TrimPrefix(delegate, accountPrefix)
		if !isAccount(delegates[i]) {
			return FileDescription{}, nil, invalid("delegates", "must be service accounts, each as "+accountPrefix+"ACCOUNT")
		}
	}
	if checkScopes(file.Scopes) != nil {
		return FileDescription{}, nil, invalid("scopes", "holds one that does not look like "+CloudPlatform)
	}
	scopes := f.options.Scopes
	if f.anyScopes && len(file.Scopes) > 0 {
		scopes = file.Scopes
	}
	impersonation, err := NewImpersonation(ImpersonationOptions{
		Services: f.options.Services, Source: source, ServiceAccount: account, Delegates: delegates, Scopes: scopes, Lifetime: time.Duration(lifetime) * time.Second,
	})
	if err != nil {
		return FileDescription{}, nil, invalid("", err.Error())
	}
	return FileDescription{Name: account, QuotaProject: file.QuotaProject}, impersonation, nil
}

// subject finds out where the federated identity's own token comes from. Exactly one place is accepted, and only one that is meant for this.
func (f *File) subject(file externalAccountFile, into *FederationOptions) error {
	source := file.Source
	switch {
	case len(source.Executable) > 0:
		return invalid("credential_source.executable", "is not accepted: a configuration must not be able to start programs")
	case len(source.Certificate) > 0:
		return invalid("credential_source.certificate", "is not accepted; use an identity of the platform")
	case source.Environment != "" && source.File == "":
		return f.awsSubject(file, into)
	case source.Environment != "" || (source.File == "") == (source.URL == ""):
		return invalid("credential_source", "must name exactly one of environment_id, file and url")
	case source.RegionURL != "" || source.VerificationURL != "" || source.SessionTokenURL != "":
		return invalid("credential_source", "has fields of AWS without environment_id")
	case file.SubjectTokenType != JWTType && file.SubjectTokenType != IDTokenType:
		return invalid("subject_token_type", "must be "+JWTType+" or "+IDTokenType)
	}
	format := source.Format
	if format.Type == "" {
		format.Type = "text"
	}
	if format.Type != "text" && format.Type != "json" || (format.Type == "json") != (format.Field != "") {
		return invalid("credential_source.format", `must be {"type": "text"}, or {"type": "json", "subject_token_field_name": "..."}`)
	}
	into.SubjectType = file.SubjectTokenType
	if source.File != "" {
		if len(source.Headers) > 0 {
			return invalid("credential_source.headers", "has no effect with a file")
		}
		return f.fileSubject(source.File, format, into)
	}
	return f.urlSubject(source, format, into)
}

// The addresses that Google's tools write into configurations for AWS, of the two families.
var (
	regionURLs  = []string{"http://169.254.169.254/latest/meta-data/placement/availability-zone", "http://[fd00:ec2::254]/latest/meta-data/placement/availability-zone"}
	roleURLs    = []string{"http://169.254.169.254/latest/meta-data/iam/security-credentials", "http://[fd00:ec2::254]/latest/meta-data/iam/security-credentials"}
	sessionURLs = []string{"http://169.254.169.254/latest/api/token", "http://[fd00:ec2::254]/latest/api/token"}
	verifyURLs  = []string{"https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15", "https://sts.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"}
)

// awsSubject takes none of the addresses: credentials come from the identity that this function has, and the region is its own. They must be
// AWS's all the same, or the file was not meant for this.
func (f *File) awsSubject(file externalAccountFile, into *FederationOptions) error {
	source := file.Source
	for _, address := range []struct {
		field, value string
		allowed      []string
	}{
		{"region_url", source.RegionURL, append(slices.Clone(regionURLs), "")},
		{"url", source.URL, append(slices.Clone(roleURLs), "")},
		{"imdsv2_session_token_url", source.SessionTokenURL, append(slices.Clone(sessionURLs), "")},
		{"regional_cred_verification_url", source.VerificationURL, verifyURLs},
	} {
		if !slices.Contains(address.allowed, address.value) {
			return invalid("credential_source."+address.field, "must be the one of AWS that Google's tools write: "+address.allowed[0])
		}
	}
	switch {
	case source.Environment != "aws1":
		return invalid("credential_source.environment_id", "must be aws1")
	case file.SubjectTokenType != awsType:
		return invalid("subject_token_type", "must be "+awsType)
	case len(source.Headers) > 0 || source.Format != (formatRow{}):
		return invalid("credential_source", "has headers or a format, which have no effect for AWS")
	case f.options.AWS == nil:
		return invalid("credential_source", "is for a function on AWS, and this one has no AWS identity")
	}
	into.AWS, into.AWSRegion = f.options.AWS, f.options.AWSRegion
	return nil
}

func (f *File) fileSubject(name string, format formatRow, into *FederationOptions) error {
	for _, folder := range f.options.TokenFolders {
		rest, ok := strings.CutPrefix(name, strings.TrimSuffix(folder, "/")+"/")
		if ok && path.Clean(name) == name {
			into.Subject = tokenFile{folder: folder, name: rest, format: format}
			return nil
		}
	}
	return invalid("credential_source.file", "must be a file in "+strings.Join(f.options.TokenFolders, " or ")+", without . or .. parts")
}

// urlSubject accepts the one address that Google's tools write for Azure, with the one header that it needs. Another address would be sent
// whatever the headers hold, and its answer would be sent on to Google.
func (f *File) urlSubject(source sourceRow, format formatRow, into *FederationOptions) error {
	parsed, err := url.Parse(source.URL)
	if err != nil || parsed.Scheme != "http" || parsed.Host != "169.254.169.254" || parsed.Path != "/metadata/identity/oauth2/token" || parsed.User != nil || parsed.Fragment != "" {
		return invalid("credential_source.url", "must be Azure's http://169.254.169.254/metadata/identity/oauth2/token, the only one that is accepted")
	}
	for name, value := range source.Headers {
		if !strings.EqualFold(name, "Metadata") || !strings.EqualFold(value, "true") {
			return invalid("credential_source.headers", "must be Metadata: True and nothing else")
		}
	}
	query := parsed.Query()
	resource := query.Get("resource")
	for name := range query {
		if name != "resource" && name != "api-version" {
			return invalid("credential_source.url", "may have the parameters api-version and resource and no others")
		}
	}
	if !strings.HasPrefix(resource, "api://") && !strings.HasPrefix(resource, "https://") {
		return invalid("credential_source.url", "must name the resource that the token is for: resource=api://...")
	}
	if format != (formatRow{"json", "access_token"}) {
		return invalid("credential_source.format", `must be {"type": "json", "subject_token_field_name": "access_token"}`)
	}
	if f.options.Azure != nil {
		into.Subject = f.options.Azure(resource)
		return nil
	}
	into.Subject = instanceToken{http: f.options.MetadataHTTP, address: source.URL}
	return nil
}
