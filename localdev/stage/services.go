package stage

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/postern-ai/postern/localdev/contract"
	fakeazure "github.com/postern-ai/postern/localdev/fake/azureopenai"
	fakebedrock "github.com/postern-ai/postern/localdev/fake/bedrock"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/fake/openaiadmin"
	fakevertex "github.com/postern-ai/postern/localdev/fake/vertex"
	"github.com/postern-ai/postern/shared/audit"
)

// What the stand-ins take for granted. None of it is secret: it opens nothing
// outside this machine.
const (
	Region         = "eu-west-1"
	Project        = "local-project"
	Location       = "europe-west4"
	serviceAccount = "gateway@local-project.iam.gserviceaccount.com"
	identityHeader = "local-identity-header"
	clientID       = "22222222-3333-4444-8555-666666666666"
	audience       = "postern"
	azureResource  = "https://cognitiveservices.azure.com"
)

// Call is a model call that a stand-in let in.
type Call struct {
	Service string `json:"service"` // for people
	Model   string `json:"model"`
	Signer  string `json:"signer"` // whom the credential stands for
	// Caller is who called, as far as the service's own log would have it.
	Caller string `json:"caller,omitempty"`
}

// service is one stand-in and where it is.
type service struct {
	name    string
	handler http.Handler
	url     string
}

// services are the stand-ins of a stage.
type services struct {
	issuer   *oidc.Issuer
	accounts accounts
	list     []*service

	federation federation
	stores     stores

	auditKeys   map[string]audit.Keys // what verifies the events of a cloud
	openAIKeys  *openaiadmin.Server
	initial     map[string]string // the ids of the keys that there are at first, by cloud
	refusedKeys atomic.Int64      // how often a key was used that works no more
}

// url returns the address of a stand-in.
func (s *services) url(name string) string {
	for _, one := range s.list {
		if one.name == name {
			return one.url
		}
	}
	return ""
}

// serve opens the stand-ins, each on a port of its own.
func (s *Stage) serve(o Options) error {
	svc := &s.services
	svc.accounts = newAccounts()
	svc.openAIKeys = openaiadmin.New(openaiadmin.Options{Project: openAIProject})
	s.trust()
	add := func(name string, h http.Handler) (*service, error) {
		one := &service{name: name, handler: h}
		l, err := s.listen(len(svc.list) + firstService)
		if err != nil {
			return nil, err
		}
		one.url = "http://" + l.Addr().String()
		svc.list = append(svc.list, one)
		s.start(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { one.handler.ServeHTTP(w, r) }))
		return one, nil
	}
	issuer, err := add("issuer", nil)
	if err != nil {
		return err
	}
	svc.issuer = oidc.New(issuer.url)
	issuer.handler = svc.issuer
	for _, one := range []service{
		{name: "container credentials", handler: svc.accounts.gateway.creds},
		{name: "metadata server", handler: svc.accounts.gateway.metadata},
		{name: "managed identity", handler: svc.accounts.gateway.managed},
		{name: "STS", handler: svc.federation.sts},
	} {
		if _, err := add(one.name, one.handler); err != nil {
			return err
		}
	}
	for _, one := range s.models(o.Brain) {
		h, err := checked(one.name, one.handler, o.Problem)
		if err != nil {
			return err
		}
		if _, err := add(one.name, h); err != nil {
			return err
		}
	}
	keepers := s.keepers()
	signers, err := s.signers()
	if err != nil {
		return err
	}
	for _, one := range slices.Concat([]service{
		{name: googleSTS, handler: svc.federation.google},
		{name: openAITokens, handler: svc.federation.openAI},
		{name: anthropic, handler: s.anthropicAPI()},
	}, keepers, []service{
		{name: rotationCredentials, handler: svc.accounts.rotation.creds},
		{name: rotationMetadata, handler: svc.accounts.rotation.metadata},
		{name: rotationIdentity, handler: svc.accounts.rotation.managed},
		{name: operatorMetadata, handler: svc.accounts.operator.metadata},
		{name: operatorIdentity, handler: svc.accounts.operator.managed},
	}, signers) {
		if _, err := add(one.name, one.handler); err != nil {
			return err
		}
	}
	s.storedKeys()
	return s.serveTLS(
		service{name: microsoftEntra, handler: svc.federation.entra},
		service{name: keyVault, handler: svc.stores.azure},
	)
}

// Names of the services that give the other accounts their credentials. The
// gateway's have no account in their names.
const (
	rotationCredentials = "rotation's credentials"
	rotationMetadata    = "rotation's metadata"
	rotationIdentity    = "rotation's identity"
	operatorMetadata    = "operator's metadata"
	operatorIdentity    = "operator's identity"
)

// Names of the token services.
const (
	googleSTS      = "Google STS"
	microsoftEntra = "Microsoft Entra"
	openAITokens   = "OpenAI tokens"
)

// Names of the model services.
const (
	bedrock     = "Bedrock"
	vertex      = "Vertex AI"
	azureOpenAI = "Azure OpenAI"
	openAI      = "OpenAI"
	anthropic   = "Anthropic"
)

func (s *Stage) models(mind brain.Brain) []service {
	svc := &s.services
	return []service{
		{name: bedrock, handler: fakebedrock.New(fakebedrock.Options{
			Brain: mind, Keys: svc.federation.sts.Lookup, Region: Region,
			Signed: func(c fakebedrock.Call) { s.note(Call{bedrock, c.Model, c.Key.ARN, c.Metadata["postern_caller_id"]}) },
		})},
		{name: vertex, handler: fakevertex.New(fakevertex.Options{
			Brain: mind, Projects: []string{Project},
			Authorize: svc.vertexCaller,
			Called:    func(c fakevertex.Call) { s.note(Call{Service: vertex, Model: c.Model, Signer: c.Principal}) },
		})},
		{name: azureOpenAI, handler: &fakeazure.Server{
			Brain:       mind,
			Deployments: []string{"gpt-4o-mini"},
			Authorize:   svc.azureCaller,
			Called:      func(c fakeazure.Call) { s.note(Call{Service: azureOpenAI, Model: c.Deployment, Signer: c.Principal}) },
		}},
		{name: openAI, handler: s.openAIAPI(mind)},
	}
}

// checked has a stand-in's traffic compared with the vendor's own description
// of the API, where that is at hand.
func checked(name string, h http.Handler, report func(string, contract.Problem)) (http.Handler, error) {
	dir, ok := contract.Dir()
	if !ok {
		return h, nil
	}
	var d *contract.Description
	var err error
	switch name {
	case bedrock:
		d, err = contract.AWS(dir, "bedrock-runtime")
	case vertex:
		d, err = contract.Google(dir, "aiplatform-v1")
	case azureOpenAI:
		if d, err = contract.OpenAI(dir); err == nil {
			d = d.With(contract.AzureV1())
		}
	default:
		if d, err = contract.OpenAI(dir); err == nil {
			d = d.With(keyEnds())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the API description for %s: %w", name, err)
	}
	return contract.Check(d, h, func(problems ...contract.Problem) {
		for _, p := range problems {
			if !p.Unknown {
				report(name, p)
			}
		}
	}), nil
}

// host returns an address without its scheme.
func host(url string) string { return strings.TrimPrefix(url, "http://") }
