package sigv4_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
)

func values(key awsauth.Key) sigv4.StaticKeys {
	return sigv4.StaticKeys{
		AccessKeyID: secrets.NewValue(key.AccessKeyID), SecretAccessKey: secrets.NewValue(key.SecretAccessKey), SessionToken: secrets.NewValue(key.SessionToken),
	}
}

func static(key awsauth.Key) *sigv4.Static {
	return sigv4.NewStatic(sigv4.StaticOptions{Keys: func(context.Context) (sigv4.StaticKeys, error) { return values(key), nil }})
}

func TestStoredKeysSignWithTheirOwnSessionTokenOrNone(t *testing.T) {
	t.Parallel()
	user := awsauth.Key{AccessKeyID: "AKIASTORED", SecretAccessKey: "stored-secret"}
	temporary := awsauth.Key{AccessKeyID: "ASIASTORED", SecretAccessKey: "stored-secret", SessionToken: "stored-token"}
	for _, key := range []awsauth.Key{user, temporary} {
		// The environment holds a whole set of other keys.
		request, err := sign(t, authorizer(t, sigv4.IdentityOptions{Credentials: static(key), Getenv: environment(lambda(session))}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(t, request, key); err != nil || request.Header.Get("X-Amz-Security-Token") != key.SessionToken {
			t.Errorf("%s: signed with token %q: %v", key.AccessKeyID, request.Header.Get("X-Amz-Security-Token"), err)
		}
	}
}

func TestAMissingStoredKeyIsNeverTakenFromTheEnvironment(t *testing.T) {
	t.Parallel()
	for _, stored := range []awsauth.Key{{}, {AccessKeyID: "AKIASTORED"}, {SecretAccessKey: "stored-secret"}, {SessionToken: "stored-token"}} {
		_, err := sign(t, authorizer(t, sigv4.IdentityOptions{Credentials: static(stored), Getenv: environment(lambda(session)), HTTP: silent(t)}))
		wantPublic(t, err, "Keys from the environment never stand in for a missing one")
	}
}

func TestStoredKeysThatCannotBeReadSayWhichAndNotWhat(t *testing.T) {
	t.Parallel()
	stored := &secrets.Error{Ref: secrets.Ref{Store: "aws-sm", Name: "keys"}, Reason: "the store does not answer"}
	for want, failure := range map[string]error{`read secret "aws-sm://keys": the store does not answer`: stored, "cannot be read": errors.New("canary")} {
		from := sigv4.NewStatic(sigv4.StaticOptions{Keys: func(context.Context) (sigv4.StaticKeys, error) { return sigv4.StaticKeys{}, failure }})
		_, err := sign(t, authorizer(t, sigv4.IdentityOptions{Credentials: from, HTTP: silent(t)}))
		wantPublic(t, err, want)
		if _, err := from.Retrieve(t.Context()); err == nil {
			t.Error("Retrieve gives keys")
		}
	}
}

func TestRotatedStoredKeysAreReadAgainAndRejectedOnesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		current, reads := "AKIAONE", 0
		var rejected []string
		from := sigv4.NewStatic(sigv4.StaticOptions{
			Keys: func(context.Context) (sigv4.StaticKeys, error) {
				reads++
				return values(awsauth.Key{AccessKeyID: current, SecretAccessKey: "s"}), nil
			},
			OnRejected: func(keys sigv4.StaticKeys) { rejected = append(rejected, keys.AccessKeyID.Reveal()) },
		})
		signer := authorizer(t, sigv4.IdentityOptions{Credentials: from})
		use := func(want string) {
			t.Helper()
			request, err := sign(t, signer)
			if err != nil || keyOf(request) != want {
				t.Errorf("signed with %s: %v, want %s", keyOf(request), err, want)
			}
		}
		use("AKIAONE")
		current = "AKIATWO"
		use("AKIAONE")
		time.Sleep(5 * time.Minute)
		use("AKIATWO")
		if reads != 2 {
			t.Errorf("read %d times", reads)
		}
		current = "AKIATHREE"
		old, _ := sign(t, signer)
		signer.Rejected(old)
		use("AKIATHREE")
		signer.Rejected(old)
		if len(rejected) != 1 || rejected[0] != "AKIATWO" {
			t.Errorf("told of %v", rejected)
		}
	})
}

func TestKeysThatAreStoredTogetherAreReadTogether(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       awsauth.Key
		wantError  string
	}{
		{"as AWS's APIs name them", `{"AccessKeyId":"a","SecretAccessKey":"s","SessionToken":"t","UserName":"u"}`, awsauth.Key{AccessKeyID: "a", SecretAccessKey: "s", SessionToken: "t"}, ""},
		{"as the shared files name them", `{"aws_access_key_id":"a","aws_secret_access_key":"s"}`, awsauth.Key{AccessKeyID: "a", SecretAccessKey: "s"}, ""},
		{"a session token that is null", `{"AccessKeyId":"a","SecretAccessKey":"s","SessionToken":null}`, awsauth.Key{AccessKeyID: "a", SecretAccessKey: "s"}, ""},
		{"not JSON", `canary`, awsauth.Key{}, "not one JSON object"},
		{"a list", `["canary"]`, awsauth.Key{}, "not one JSON object"},
		{"a name twice", `{"AccessKeyId":"canary","AccessKeyId":"b","SecretAccessKey":"s"}`, awsauth.Key{}, "not one JSON object"},
		{"both names", `{"AccessKeyId":"canary","aws_access_key_id":"b","SecretAccessKey":"s"}`, awsauth.Key{}, "AccessKeyId under two names"},
		{"a number", `{"AccessKeyId":"canary","SecretAccessKey":1}`, awsauth.Key{}, "SecretAccessKey is not a text"},
		{"half a pair", `{"AccessKeyId":"canary"}`, awsauth.Key{}, "incomplete"},
		{"nothing", ``, awsauth.Key{}, "not one JSON object"},
	}
	for _, test := range tests {
		got, err := sigv4.ParseStaticKeys(secrets.NewValue(test.text))
		if test.wantError != "" {
			wantPublic(t, err, test.wantError)
			continue
		}
		if err != nil || !got.AccessKeyID.Equal(values(test.want).AccessKeyID) || !got.SecretAccessKey.Equal(values(test.want).SecretAccessKey) || !got.SessionToken.Equal(values(test.want).SessionToken) {
			t.Errorf("%s: got another set of keys and error %v", test.name, err)
		}
	}
}

func FuzzParseStaticKeys(f *testing.F) {
	f.Add(`{"AccessKeyId":"a","SecretAccessKey":"s","SessionToken":"t"}`)
	f.Add(`{"aws_access_key_id":"a"}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := sigv4.ParseStaticKeys(secrets.NewValue(text))
		if (err == nil) == (keys.AccessKeyID.IsZero() || keys.SecretAccessKey.IsZero()) {
			t.Errorf("half a pair or none, and error %v", err)
		}
		if err != nil && len(text) > 40 && strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes the text: %v", err)
		}
	})
}
