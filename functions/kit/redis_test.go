package kit

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/managedredis"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/quota"
)

// TestTheFunctionsOwnIdentityLogsInToRedis has tokens shared and callers
// counted in each cloud's own Redis service, with no password anywhere.
func TestTheFunctionsOwnIdentityLogsInToRedis(t *testing.T) {
	w := newWorld(t)
	w.onAzure(t)
	role := strings.Replace(strings.Replace(gatewayRole, ":iam:", ":sts:", 1), ":role/", ":assumed-role/", 1) + "/local"
	for cloud, admit := range map[config.Cloud]managedredis.Admit{
		config.AWS: managedredis.ElastiCache{
			Verifier: awsauth.Verifier{Keys: w.key, Service: "elasticache", Region: region}, Cache: "postern", Users: map[string]string{"postern-gateway": role},
		}.Admit,
		config.GCP:   managedredis.Memorystore(w.metadata.Valid),
		config.Azure: managedredis.Azure(managedOID, w.managed.Valid),
	} {
		t.Run(string(cloud), func(t *testing.T) {
			behind := miniredis.RunT(t)
			front, err := managedredis.Serve(admit, behind.Addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = front.Close() })
			var log lockedBuffer
			w.log = slog.New(slog.NewTextHandler(&log, nil))
			wiring, d, err := w.wiring(t, cloud, "platform_callers: true\n"+
				"cache: {redis: {auth_type: native, aws_cache_name: postern, key_ref: env://KEY}}\nlimits: {per_caller: {requests_per_minute: 1}}\nupstreams:\n"+
				"- {provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oidc, issuer: '{oauth}', client_id: basic, credential_ref: env://C}\n",
				map[string]string{
					"KEY": strings.Repeat("0f", 32), "C": clientPass, "POSTERN_REDIS_URL": "redis://" + front.Addr(), "POSTERN_REDIS_USERNAME": "postern-gateway",
				})
			if err != nil {
				t.Fatal(err)
			}
			auth, err := wiring.authorizer(&d.Upstreams[0])
			if err != nil {
				t.Fatal(err)
			}
			w.sign(t, auth)
			counts := wiring.quota(d)
			for _, want := range []bool{true, false} {
				use := quota.Use{Owner: "caller", ID: "1", Windows: []quota.Window{{Key: "requests", Limit: 1, Amount: 1}}}
				if _, ok, err := counts.Take(t.Context(), use); ok != want || err != nil {
					t.Errorf("counted: %v, error %v; want %v", ok, err, want)
				}
			}
			entry, err := wiring.entry(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []bool{true, false} {
				if got := entry.FirstUse(t.Context(), "proof", time.Minute); got != want {
					t.Errorf("a proof counts: %v, want %v", got, want)
				}
			}
			if keys := behind.Keys(); len(keys) != 3 || !strings.HasPrefix(keys[0], "postern:limit:") || !strings.HasPrefix(keys[1], "postern:token:") || !strings.HasPrefix(keys[2], "postern:used:") {
				t.Errorf("the server has %q", keys)
			}
			if logins, refused := front.Logins(); logins != 2 || len(refused) > 0 || log.String() != "" {
				t.Errorf("%d logins, refused %v, log %q", logins, refused, log.String())
			}
		})
	}
}

func TestAnIdentityThatRedisRefusesIsSaidAndNoError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	front, err := managedredis.Serve(managedredis.Memorystore(func(string) bool { return false }), miniredis.RunT(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = front.Close() })
	var log lockedBuffer
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	wiring, d, err := w.wiring(t, config.GCP, "platform_callers: true\ncache: {redis: {auth_type: native, url: 'redis://"+front.Addr()+"', key_ref: env://KEY}}\nupstreams:\n"+
		"- {provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oidc, issuer: '{oauth}', client_id: basic, credential_ref: env://C}\n",
		map[string]string{"KEY": strings.Repeat("0f", 32), "C": clientPass})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := wiring.authorizer(&d.Upstreams[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, got := w.sign(t, auth); !strings.Contains(got["Authorization"], `client "basic"`) {
		t.Errorf("got %v", got)
	}
	if text := log.String(); !strings.Contains(text, "WRONGPASS; check the user and its password, or whether the identity of the function may connect") {
		t.Errorf("the log says %q", text)
	}
}

func TestAuthoritiesOfRedisThatAreNoneAreRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	_, _, err := newWorld(t).wiring(t, config.GCP, "platform_callers: true\ncache: {redis: {auth_type: native, url: 'rediss://10.0.0.3', key_ref: env://KEY}}\nupstreams: [{provider: vertex}]\n",
		map[string]string{"POSTERN_REDIS_CA": "-----BEGIN NOTHING-----"})
	if err == nil || err.Error() != "cache.redis: POSTERN_REDIS_CA holds no certificates in PEM" {
		t.Errorf("got %v", err)
	}
}
