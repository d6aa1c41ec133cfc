package stage

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	fakeopenai "github.com/postern-ai/postern/localdev/fake/openai"
)

// The stored key that each cloud's functions use and rotate.
const (
	// StoredModel is the model that is called with it, and StoredKey the name
	// under which the rotation knows it.
	StoredModel = "gpt-stored"
	StoredKey   = "openai"

	storedSecret  = "openai-key"
	adminSecret   = "openai-admin-key"
	openAIProject = "proj_local"
)

// storedKeys has OpenAI make a key for each cloud's gateway, and an admin key
// for its rotation, and stores them. This is what people do once.
func (s *Stage) storedKeys() {
	svc := &s.services
	svc.initial = map[string]string{}
	for _, cloud := range Clouds() {
		key := svc.openAIKeys.AddKey("gateway-" + cloud)
		svc.initial[cloud] = key.ID
		svc.stores.seed(cloud, storedSecret, key.Secret)
		svc.stores.seed(cloud, adminSecret, svc.openAIKeys.AddAdminKey("rotation-"+cloud).Secret)
	}
}

// stored is the upstream that takes a stored key.
func (s *Stage) stored() string {
	return fmt.Sprintf(`  - provider: openai
    name: %s
    base_url: %s/v1
    auth_type: api_key
    credential_ref: %s
    audit_on_rotate: true
    models:
      - {name: %s, model: %s}
`, StoredKey, s.services.url(openAI), storedSecret, StoredModel, openAIModel)
}

// rotated has that key rotated. The gateway has to ask the store again well
// within the grace.
func (s *Stage) rotated(cloud string) string {
	return fmt.Sprintf(`cache: {secret_ttl: 10s}
rotation:
  keys:
    - upstream: %s
      project_id: %s
      admin_ref: %s
      initial_key_id: %s
      grace: 1m
`, StoredKey, openAIProject, adminSecret, s.services.initial[cloud])
}

// openAIAPI has the administration API on the host of the API, where it is.
func (s *Stage) openAIAPI(mind brain.Brain) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", &fakeopenai.Server{
		Brain:     mind,
		Authorize: s.services.openAICaller,
		Called:    func(c fakeopenai.Call) { s.note(Call{Service: openAI, Model: c.Model, Signer: c.Principal}) },
	})
	mux.Handle("/v1/organization/", s.services.openAIKeys)
	return mux
}

// openAICaller finds whom a credential stands for at OpenAI.
func (s *services) openAICaller(token string) (string, bool) {
	if account, ok := s.federation.openAI.Account(token); ok {
		return account.ServiceAccountID, true
	}
	if key, ok := s.openAIKeys.Keys.Use(token); ok {
		return storedSigner + key.ID, true
	}
	if strings.HasPrefix(token, "sk-") {
		s.refusedKeys.Add(1)
	}
	return "", false
}

// Refused is how often OpenAI's stand-in was shown a key that works no more.
func (s *Stage) Refused() int64 { return s.services.refusedKeys.Load() }

// storedSigner is what comes before a key's id where somebody has signed with it.
const storedSigner = "stored key "

// keyEnds are the members by which keys have an end, which came after the
// description.
func keyEnds() contract.Variant {
	return contract.Variant{Departures: map[string]contract.Departure{
		"request.expires_in_seconds":  contract.Extra,
		"response.expires_at":         contract.Extra,
		"response.api_key.expires_at": contract.Extra,
		"response.data[].expires_at":  contract.Extra,
	}}
}
