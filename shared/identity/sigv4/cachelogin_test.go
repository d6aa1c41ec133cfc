package sigv4_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/managedredis"
	"github.com/postern-ai/postern/shared/identity/sigv4"
)

func TestElastiCacheTakesTheLoginOfAnIdentity(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:sts::123456789012:assumed-role/gateway/local"
	temporary := awsauth.Key{AccessKeyID: "ASIACACHE", SecretAccessKey: "cache-secret", SessionToken: "cache+token/==", ARN: arn, Expires: time.Now().Add(time.Hour)}
	user := awsauth.Key{AccessKeyID: "AKIACACHE", SecretAccessKey: "cache-secret", ARN: arn}
	for name, test := range map[string]struct {
		key        awsauth.Key
		change     func(*sigv4.CacheLoginOptions)
		serverless bool
		want       string
	}{
		"to a serverless cache":                        {key: temporary, serverless: true, change: func(o *sigv4.CacheLoginOptions) { o.Serverless = true }},
		"to a replication group":                       {key: temporary},
		"with the keys of a user":                      {key: user},
		"not to another cache":                         {key: temporary, change: func(o *sigv4.CacheLoginOptions) { o.Cache = "other" }, want: `the request is for the cache "other"`},
		"not to a serverless cache as if it had nodes": {key: temporary, serverless: true, want: "the request is not one to connect to this kind of cache as this user"},
		"not as another user":                          {key: temporary, change: func(o *sigv4.CacheLoginOptions) { o.User = "somebody" }, want: "the request is not one to connect to this kind of cache as this user"},
		"not in another region":                        {key: temporary, change: func(o *sigv4.CacheLoginOptions) { o.Region = "us-east-1" }, want: "The credential is not for elasticache in eu-west-1 on that day."},
	} {
		options := sigv4.CacheLoginOptions{Identity: sigv4.NewIdentity(sigv4.IdentityOptions{Credentials: static(test.key)}), Region: "eu-west-1", Cache: "postern-1", User: "gateway"}
		if test.change != nil {
			test.change(&options)
		}
		login, err := sigv4.NewCacheLogin(options)
		if err != nil {
			t.Fatal(err)
		}
		password, err := login.Password(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		server := managedredis.ElastiCache{
			Verifier:   awsauth.Verifier{Keys: func(string) (awsauth.Key, bool) { return test.key, true }, Service: "elasticache", Region: "eu-west-1"},
			Cache:      "postern-1",
			Serverless: test.serverless, Users: map[string]string{"gateway": arn},
		}
		err = server.Admit("gateway", password.Reveal())
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v", name, err)
		}
		if text := fmt.Sprintf("%v %+v %s", password, password, password); strings.Contains(text, "Signature") {
			t.Errorf("%s: it prints %s", name, text)
		}
	}
}

func TestACacheLoginNeedsACacheAndAUser(t *testing.T) {
	t.Parallel()
	for want, options := range map[string]sigv4.CacheLoginOptions{
		"no AWS region": {Cache: "c", User: "u"},
		`"Cache" is not the name of a cache of ElastiCache: it has small letters, digits and dashes`: {Region: "eu-west-1", Cache: "Cache", User: "u"},
		`"" is not the name of a cache`:      {Region: "eu-west-1", User: "u"},
		"the user of ElastiCache is missing": {Region: "eu-west-1", Cache: "c"},
	} {
		if _, err := sigv4.NewCacheLogin(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestALoginWithoutCredentialsSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	login, err := sigv4.NewCacheLogin(sigv4.CacheLoginOptions{
		Identity: sigv4.NewIdentity(sigv4.IdentityOptions{Credentials: static(awsauth.Key{}), HTTP: silent(t)}), Region: "eu-west-1", Cache: "c", User: "u",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = login.Password(t.Context())
	wantPublic(t, err, "Keys from the environment never stand in for a missing one")
}
