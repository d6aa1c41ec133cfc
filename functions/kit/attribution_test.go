package kit

import (
	"testing"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
)

// TestAWSNamesTheCaller: the last role of a chain is assumed for each caller, who is then in CloudTrail, by way of the roles before it, for
// functions on AWS and elsewhere.
func TestAWSNamesTheCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const spoke = "{role_arn: '{spoke}', external_id: 'postern:1', session_tags: {team: platform}, per_caller: true}"
	for _, cloud := range []config.Cloud{config.AWS, config.GCP} {
		t.Run(string(cloud), func(t *testing.T) {
			t.Parallel()
			auth := w.authorizer(t, cloud, w.fill(cloud, "provider: bedrock\naws_region: "+region+"\naws_roles: ['{hub}', "+spoke+"]\n"), nil)
			for _, caller := range []identity.Caller{{ID: "0011" + string(cloud)}, {ID: "2233" + string(cloud), Name: "idp/alice"}} {
				r := request(identity.WithCaller(t.Context(), caller), t)
				if err := auth.Authorize(r); err != nil {
					t.Fatal(err)
				}
				w.credential(t, signed{r, bodyOf(t, r)})
				origin := caller.ID
				if caller.Name != "" {
					origin = "idp_alice"
				}
				found := 0
				for _, s := range w.sts.Sessions() {
					if s.RoleARN == spokeRole && s.Tags["postern_caller_id"] == caller.ID {
						found++
						if s.SourceIdentity != origin || s.Name != origin || s.Tags["team"] != "platform" || s.Tags["postern_caller"] != caller.Name {
							t.Errorf("%+v is %+v", caller, s)
						}
					}
				}
				if found != 1 {
					t.Errorf("%d sessions for %+v", found, caller)
				}
			}
		})
	}
}
