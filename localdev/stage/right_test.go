package stage

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/shared/secrets"
)

// TestEachFunctionMayDoItsPart: the gateway reads its key and replaces none, and
// sees no key of an administrator; the rotation calls no model.
func TestEachFunctionMayDoItsPart(t *testing.T) {
	t.Parallel()
	gateway := hands{shared, shared.services.accounts.gateway, "metadata server", "managed identity"}
	rotation := hands{shared, shared.services.accounts.rotation, rotationMetadata, rotationIdentity}
	onEach(t, func(t *testing.T, cloud string) {
		ref, admin := secrets.Ref{Name: storedSecret}, secrets.Ref{Name: adminSecret}
		inventory, err := rotation.store(t, cloud).Inspect(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name    string
			who     hands
			ref     secrets.Ref
			version string
			allowed bool
		}{
			{"the gateway reads its key", gateway, ref, inventory.Current.ID, true},
			{"the gateway reads the administrator's", gateway, admin, "", false},
		} {
			if c.version == "" {
				found, err := shared.operator().store(t, cloud).Inspect(t.Context(), c.ref)
				if err != nil {
					t.Fatal(err)
				}
				c.version = found.Current.ID
			}
			if _, err := c.who.store(t, cloud).Value(t.Context(), c.ref, c.version); (err == nil) != c.allowed {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		for name, ref := range map[string]secrets.Ref{"its key": ref, "the administrator's": admin} {
			candidate := secrets.Candidate{Cycle: "5b1e0000-0000-4000-8000-000000000002", Value: secrets.NewValue("another")}
			if version, err := gateway.store(t, cloud).Stage(t.Context(), ref, candidate); err == nil || !strings.Contains(err.Error(), "may not") {
				t.Errorf("the gateway replaces %s: %v, %v", name, version, err)
			}
		}
		candidate := secrets.Candidate{Cycle: "5b1e0000-0000-4000-8000-000000000003", Value: secrets.NewValue("another")}
		if version, err := rotation.store(t, cloud).Stage(t.Context(), admin, candidate); err == nil || !strings.Contains(err.Error(), "may not") {
			t.Errorf("the rotation replaces the administrator's: %v, %v", version, err)
		}
		if status, text := rotation.model(t, cloud); status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("the rotation calls a model: %d %s", status, text)
		}
		if status, text := gateway.model(t, cloud); status != http.StatusOK {
			t.Errorf("the gateway calls a model: %d %s", status, text)
		}
	})
}

// model calls the model service of a cloud itself.
func (h hands) model(t *testing.T, cloud string) (status int, text string) {
	t.Helper()
	const hello = `"role":"user","content":`
	call := map[string]struct{ address, body string }{
		AWS: {h.services.url(bedrock) + "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse", `{"messages":[{` + hello + `[{"text":"hi"}]}]}`},
		GCP: {h.services.url(vertex) + "/v1/projects/" + Project + "/locations/" + Location + "/publishers/google/models/gemini-2.5-flash:generateContent",
			`{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`},
		Azure: {h.services.url(azureOpenAI) + "/openai/v1/chat/completions", `{"model":"gpt-4o-mini","messages":[{` + hello + `"hi"}]}`},
	}[cloud]
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, call.address, strings.NewReader(call.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	switch cloud {
	case AWS:
		hash := sha256.Sum256([]byte(call.body))
		key, err := h.key().Retrieve(t.Context())
		if err == nil {
			err = v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(hash[:]), "bedrock", Region, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
	case GCP:
		_ = h.googleToken(t).Authorize(r)
	case Azure:
		_ = h.azureToken(t, azureResource).Authorize(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(reply)
}
