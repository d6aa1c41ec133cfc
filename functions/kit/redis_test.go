package kit

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/managedredis"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
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
			kinds := map[string]bool{}
			for _, key := range behind.Keys() {
				kinds[strings.Join(strings.SplitN(key, ":", 3)[:2], ":")] = true
			}
			if diff := cmp.Diff(map[string]bool{"postern:limit": true, "postern:token": true, "postern:used": true}, kinds); diff != "" {
				t.Errorf("what the server has (-want +got):\n%s", diff)
			}
			if logins, refused := front.Logins(); logins != 2 || len(refused) > 0 || log.String() != "" {
				t.Errorf("%d logins, refused %v, log %q", logins, refused, log.String())
			}
		})
	}
}

// withRedis gets a token with a server at that address in between, and returns
// it and what the log says.
func (w *world) withRedis(t *testing.T, cloud config.Cloud, url string) (token, logged string) {
	t.Helper()
	var log lockedBuffer
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	wiring, d, err := w.wiring(t, cloud, "platform_callers: true\ncache: {redis: {auth_type: native, url: '"+url+"', key_ref: env://KEY}}\nupstreams:\n"+
		"- {provider: custom-openai, base_url: https://l.example.com/v1, auth_type: oidc, issuer: '{oauth}', client_id: basic, credential_ref: env://C}\n",
		map[string]string{"KEY": strings.Repeat("0f", 32), "C": clientPass})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := wiring.authorizer(&d.Upstreams[0])
	if err != nil {
		t.Fatal(err)
	}
	_, header := w.sign(t, auth)
	return header["Authorization"], log.String()
}

func TestAnIdentityThatRedisRefusesIsSaidAndNoError(t *testing.T) {
	t.Parallel()
	front, err := managedredis.Serve(managedredis.Memorystore(func(string) bool { return false }), miniredis.RunT(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = front.Close() })
	token, log := newWorld(t).withRedis(t, config.GCP, "redis://"+front.Addr())
	if !strings.Contains(token, `client "basic"`) {
		t.Errorf("got %q", token)
	}
	if !strings.Contains(log, "WRONGPASS; check the user and its password, or whether the identity of the function may connect") {
		t.Errorf("the log says %q", log)
	}
}

// TestAFunctionWithoutAnIdentityForRedisSaysSo is on Azure, with no managed
// identity.
func TestAFunctionWithoutAnIdentityForRedisSaysSo(t *testing.T) {
	t.Parallel()
	token, log := newWorld(t).withRedis(t, config.Azure, "rediss://cache.example.com:10000")
	if !strings.Contains(token, `client "basic"`) {
		t.Errorf("got %q", token)
	}
	if !strings.Contains(log, "nobody can log in to the shared token cache: no Azure identity: IDENTITY_ENDPOINT and IDENTITY_HEADER are not set") {
		t.Errorf("the log says %q", log)
	}
}

// TestAPasswordThatRedisRefusesIsReadAgain rotates a password in its store.
func TestAPasswordThatRedisRefusesIsReadAgain(t *testing.T) {
	t.Parallel()
	w, server := newWorld(t), miniredis.RunT(t)
	server.RequireUserAuth("postern", "password-1")
	w.secrets.Seed(secretsmanager.Secret{Name: "redis", Text: "password-1"})
	wiring, _, err := w.wiring(t, config.AWS, "platform_callers: true\ncache: {secret_ttl: 24h, redis: {url: 'redis://"+server.Addr()+"', username: postern, credential_ref: redis, key_ref: env://KEY}}\n"+
		"upstreams: [{provider: bedrock}]\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ name, password, want string }{
		{"at first", "password-1", "<nil>"},
		{"with another password", "password-2", "redis: WRONGPASS"},
		{"once it was refused", "password-2", "<nil>"},
	} {
		server.RequireUserAuth("postern", step.password)
		w.secrets.Seed(secretsmanager.Secret{Name: "redis", Text: step.password})
		conn, err := wiring.server.Connect(t.Context())
		if got := fmt.Sprint(err); got != step.want {
			t.Errorf("%s: got %s", step.name, got)
		}
		if conn != nil {
			conn.Close()
		}
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
