package caller

import (
	"context"
	"fmt"
	"time"

	"github.com/postern-ai/postern/shared/config"
)

// Finding is what there was to find out about those who vouch for callers, without a caller: whether what their credentials are
// checked with can be had.
type Finding struct {
	// Issuer is what rules match.
	Issuer string
	// Have says what there is, in a phrase: so many keys, so many tokens. It is empty when nothing could be had.
	Have string
	// Err is why not. It holds nothing secret.
	Err error
}

// Examine fetches the keys of each issuer and reads the list of API tokens, one after the other and for at most patience each, past
// what requests have fetched.
func Examine(ctx context.Context, d *config.Document, o Options, patience time.Duration) []Finding {
	var findings []Finding
	examine := func(issuer string, look func(context.Context) (string, error)) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		have, err := look(ctx)
		findings = append(findings, Finding{Issuer: issuer, Have: have, Err: err})
	}
	keys := func(i *issuer) {
		examine(i.Issuer, func(ctx context.Context) (string, error) {
			keys, err := i.keys.get(ctx)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d keys", len(keys)), nil
		})
	}
	client := keyClient(o.Transport)
	for _, c := range d.Callers {
		keys(newIssuer(c, client))
	}
	if d.Fronts.IAP != nil && o.Cloud == config.GCP {
		keys(newIAPIssuer(d.Fronts.IAP, client))
	}
	if d.APITokens != nil && o.APITokens != nil && o.APITokenKey != nil {
		examine(config.APITokenIssuer, func(ctx context.Context) (string, error) {
			list, err := (&apiTokens{list: o.APITokens, key: o.APITokenKey}).current(ctx)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d tokens", len(list.tokens)), nil
		})
	}
	return findings
}
