package redistokens_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/identity/redistokens"
	"github.com/postern-ai/postern/shared/redis"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestDifferentIdentitiesShareNothing(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for _, parts := range [][]string{
		whoseName, {"function-2", "https://issuer.example/token", "client", "audience", "scope"}, nil, {""}, {"", ""},
		{"ab", "c"}, {"a", "bc"}, {"abc"}, {"a", "b", "c"}, {"abc", ""}, {strings.Repeat("x", 100)}, {strings.Repeat("x", 101)},
	} {
		for _, key := range []secrets.Value{key, otherKey} {
			name, err := redistokens.NameOf(key, parts...)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := names[name]; ok {
				t.Errorf("%q has the name of %s", parts, other)
			}
			if !strings.HasPrefix(name, "postern:token:v1:{") || len(name) != len("postern:token:v1:{}")+64 {
				t.Errorf("got the name %q", name)
			}
			names[name] = fmt.Sprintf("%q", parts)
		}
	}
}

func TestTheKeyIs32BytesInEitherSpelling(t *testing.T) {
	t.Parallel()
	want, err := redistokens.NameOf(key, "x")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key string
		ok  bool
	}{
		"base64":                     {"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", true},
		"base64 without its padding": {"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", true},
		"base64 and a line break":    {"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n", true},
		"hexadecimal":                {"3031323334353637383961626364656630313233343536373839616263646566", true},
		"too short":                  {"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk", false},
		"a password":                 {"correct horse battery staple", false},
		"nothing":                    {"", false},
		"32 bytes as they are":       {"0123456789abcdef0123456789abcdef", false},
	} {
		got, err := redistokens.NameOf(secrets.NewValue(test.key), "x")
		if test.ok && (err != nil || got != want) {
			t.Errorf("%s: got %s and error %v", name, got, err)
		}
		if !test.ok && (err == nil || test.key != "" && strings.Contains(err.Error(), test.key)) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

func TestACacheNeedsAKeyAndAServer(t *testing.T) {
	t.Parallel()
	server, err := redis.New(redis.Options{URL: "rediss://cache.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := redistokens.New(redistokens.Options{Server: server}); err == nil {
		t.Error("no key is no error")
	}
	if _, err := redistokens.New(redistokens.Options{Key: fixed(key)}); err == nil {
		t.Error("no server is no error")
	}
}
