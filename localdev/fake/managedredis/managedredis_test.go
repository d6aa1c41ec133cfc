package managedredis_test

import (
	"context"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/postern-ai/postern/localdev/fake/managedredis"
)

// TestTheOfficialClientLogsInOrDoesNot has go-redis talk to the stand-in.
func TestTheOfficialClientLogsInOrDoesNot(t *testing.T) {
	t.Parallel()
	behind := miniredis.RunT(t)
	front, err := managedredis.Serve(managedredis.Azure("object", func(token, resource string) bool {
		return token == "good" && resource == "https://redis.azure.com"
	}), behind.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = front.Close() })
	for name, test := range map[string]struct{ user, password, want string }{
		"a token of the user":     {"object", "good", ""},
		"a token of another user": {"another", "good", "WRONGPASS"},
		"another token":           {"object", "bad", "WRONGPASS"},
		"no user":                 {"", "good", "WRONGPASS"},
		"nobody":                  {"", "", "NOAUTH"},
	} {
		client := redis.NewClient(&redis.Options{Addr: front.Addr(), Username: test.user, Password: test.password, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
		err := client.Set(context.Background(), name, "v", 0).Err()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("%s: got %v", name, err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	if keys := behind.Keys(); len(keys) != 1 {
		t.Errorf("stored are %q", keys)
	}
}
