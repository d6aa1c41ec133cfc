package kit

import (
	"fmt"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
)

// entry is what authenticating callers takes.
func (w *wiring) entry(d *config.Document) (caller.Options, error) {
	o := caller.Options{Cloud: w.Cloud, Platform: w.Platform, Certificate: w.Certificate, Balanced: w.Balanced}
	if w.uses != nil {
		o.FirstUse = w.uses.First
	}
	if d.APITokens == nil {
		return o, nil
	}
	list, err := w.secret(d.APITokens.CredentialRef)
	if err != nil {
		return o, fmt.Errorf("api_tokens.credential_ref: %w", err)
	}
	key, err := w.secret(d.APITokens.KeyRef)
	if err != nil {
		return o, fmt.Errorf("api_tokens.key_ref: %w", err)
	}
	o.APITokens, o.APITokenKey = list.read, key.read
	return o, nil
}
