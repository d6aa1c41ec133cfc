package iamkeys_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/rotation/iamkeys"
	"github.com/postern-ai/postern/shared/rotation/rotationtest"
	"github.com/postern-ai/postern/shared/secrets"
)

// TestTheOfficialClientAgrees has AWS's own client see what the issuers make, and make what they see, over a network.
func TestTheOfficialClientAgrees(t *testing.T) {
	t.Parallel()
	w := newWorld(0)
	listener := httptest.NewServer(iamAPI.Requests(t, w.iam))
	t.Cleanup(listener.Close)
	options := w.options(nil)
	options.Endpoint = listener.URL
	accessKeys, err := iamkeys.NewAccessKeys(options)
	if err != nil {
		t.Fatal(err)
	}
	bedrockKeys, err := iamkeys.NewBedrockKeys(options)
	if err != nil {
		t.Fatal(err)
	}
	official := client.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &listener.URL, Credentials: &w.role, RetryMaxAttempts: 1})
	ctx := t.Context()
	theirs, err := official.CreateAccessKey(ctx, &client.CreateAccessKeyInput{UserName: aws.String(name)})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := accessKeys.Create(ctx, rotation.Order{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := official.CreateAccessKey(ctx, &client.CreateAccessKeyInput{UserName: aws.String(name)}); err == nil || !errors.As(err, new(*types.LimitExceededException)) {
		t.Errorf("a third key: %v", err)
	}
	found, err := accessKeys.Find(ctx, "")
	if err != nil || len(found) != 2 || found[0].ID != *theirs.AccessKey.AccessKeyId || !found[0].Created.Equal(*theirs.AccessKey.CreateDate) || found[1] != ours.Key {
		t.Errorf("found %+v, error %v", found, err)
	}
	if err := accessKeys.Disable(ctx, ours.Key); err != nil {
		t.Error(err)
	}
	listed, err := official.ListAccessKeys(ctx, &client.ListAccessKeysInput{UserName: aws.String(name), MaxItems: aws.Int32(10)})
	if err != nil || len(listed.AccessKeyMetadata) != 2 || listed.AccessKeyMetadata[1].Status != types.StatusTypeInactive {
		t.Errorf("listed %+v, error %v", listed, err)
	}
	issued, err := bedrockKeys.Create(ctx, rotation.Order{Expires: time.Now().Add(36 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	theirKey, err := official.CreateServiceSpecificCredential(ctx, &client.CreateServiceSpecificCredentialInput{UserName: aws.String(name), ServiceName: aws.String("bedrock.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := bedrockKeys.Identify(ctx, secrets.NewValue(*theirKey.ServiceSpecificCredential.ServiceCredentialSecret)); err != nil || id != *theirKey.ServiceSpecificCredential.ServiceSpecificCredentialId {
		t.Errorf("identified as %q, error %v", id, err)
	}
	credentials, err := official.ListServiceSpecificCredentials(ctx, &client.ListServiceSpecificCredentialsInput{UserName: aws.String(name), MaxItems: aws.Int32(1)})
	if err != nil || len(credentials.ServiceSpecificCredentials) != 1 || !credentials.IsTruncated ||
		*credentials.ServiceSpecificCredentials[0].ServiceSpecificCredentialId != issued.Key.ID || !credentials.ServiceSpecificCredentials[0].ExpirationDate.Equal(issued.Key.Expires) {
		t.Errorf("listed %+v, error %v", credentials, err)
	}
	if err := bedrockKeys.Revoke(ctx, issued.Key); err != nil {
		t.Error(err)
	}
	if _, err := official.ResetServiceSpecificCredential(ctx, &client.ResetServiceSpecificCredentialInput{ServiceSpecificCredentialId: &issued.Key.ID, UserName: aws.String(name)}); !errors.As(err, new(*types.NoSuchEntityException)) {
		t.Errorf("a key that is gone: %v", err)
	}
}

// issuers are both issuers of one world without a network.
func issuers(t *testing.T, w *world) (*iamkeys.AccessKeys, *iamkeys.BedrockKeys) {
	t.Helper()
	options := w.options((&rotationtest.Line{}).Transport(w.handler(t)))
	accessKeys, err := iamkeys.NewAccessKeys(options)
	if err != nil {
		t.Fatal(err)
	}
	bedrockKeys, err := iamkeys.NewBedrockKeys(options)
	if err != nil {
		t.Fatal(err)
	}
	return accessKeys, bedrockKeys
}

func TestTheContentKeepsItsForm(t *testing.T) {
	t.Parallel()
	accessKeys, _ := issuers(t, newWorld(0))
	for content, want := range map[string]string{
		"":                      `{"aws_access_key_id":"ID","aws_secret_access_key":"SECRET"}`,
		"arn:aws:iam::1:role/r": `{"aws_access_key_id":"ID","aws_secret_access_key":"SECRET"}`,
		`{"aws_access_key_id":"a","aws_secret_access_key":"b","owner":{"team":"ml"}}`: `{"aws_access_key_id":"ID","aws_secret_access_key":"SECRET","owner":{"team":"ml"}}`,
		`{"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"c","Version":1.50}`: `{"AccessKeyId":"ID","SecretAccessKey":"SECRET","Version":1.50}`,
	} {
		issued, err := accessKeys.Create(t.Context(), rotation.Order{Content: secrets.NewValue(content)})
		if err != nil {
			t.Fatal(err)
		}
		content, ok := rotation.ParseContent(issued.Value)
		if !ok {
			t.Fatalf("%s is no JSON object", want)
		}
		secret := content.Text(content.Name("SecretAccessKey", "aws_secret_access_key"))
		if got := strings.NewReplacer(issued.Key.ID, "ID", secret, "SECRET").Replace(issued.Value.Reveal()); secret == "" || got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if err := accessKeys.Verify(t.Context(), issued.Value); err != nil {
			t.Error(err)
		}
		if err := accessKeys.Revoke(t.Context(), issued.Key); err != nil {
			t.Error(err)
		}
	}
}

func refusal(status int, code string) fault.Fault {
	return fault.Fault{Status: status, Body: `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>` + code + `</Code><Message>` +
		rotationtest.Canary + `</Message></Error><RequestId>1</RequestId></ErrorResponse>`}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fault fault.Fault
		want  string
		kind  error
	}{
		{"no right", refusal(403, "AccessDenied"), "this function's role may not do that; it needs iam:CreateAccessKey on the user", rotation.ErrRefused},
		{"no user", refusal(404, "NoSuchEntity"), "IAM has no user of the configured name (user_name), or the key is gone", rotation.ErrRefused},
		{"a limit", refusal(409, "LimitExceeded"), "the user has two keys already, which is all that IAM allows; delete the one that is not in use", rotation.ErrLimit},
		{"a change under way", refusal(409, "EntityTemporarilyUnmodifiable"), "AWS IAM is throttling (EntityTemporarilyUnmodifiable)", rotation.ErrUnavailable},
		{"a throttle", refusal(400, "Throttling"), "AWS IAM is throttling (Throttling)", rotation.ErrUnavailable},
		{"unknown credentials", refusal(403, "InvalidClientTokenId"), "AWS does not accept this function's credentials (InvalidClientTokenId)", rotation.ErrRefused},
		{"no such service", refusal(404, "NotSupportedService"), "IAM has no API keys for Amazon Bedrock in this partition", rotation.ErrRefused},
		{"a failure", refusal(500, "ServiceFailure"), "AWS IAM has failed (500)", rotation.ErrUnanswered},
		{"a code that is none", refusal(400, "a b"), "AWS IAM answers with status 400", rotation.ErrRefused},
		{"a reply of something else", fault.Fault{Status: 200, Body: `<ListAccessKeysResponse/>`}, "the reply is not what the API of AWS IAM describes", rotation.ErrUnanswered},
		{"a key without its secret", fault.Fault{Status: 200, Body: `<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><AccessKeyId>AKIAAAAAAAAAAAAAAAAA</AccessKeyId></AccessKey>` +
			`</CreateAccessKeyResult></CreateAccessKeyResponse>`}, "the reply is not what the API of AWS IAM describes", rotation.ErrUnanswered},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(0)
			accessKeys, _ := issuers(t, w)
			w.iam.Faults.Before("").Set(test.fault)
			_, err := accessKeys.Create(t.Context(), rotation.Order{})
			if err == nil || err.Error() != "create key: "+test.want || !errors.Is(err, test.kind) {
				t.Errorf("got  %v\nwant create key: %s", err, test.want)
			}
		})
	}
}

func TestWhatIsKnownOfAnAPIKeyCountsNotWhatItsUserMayDo(t *testing.T) {
	t.Parallel()
	w := newWorld(0)
	_, bedrockKeys := issuers(t, w)
	issued, err := bedrockKeys.Create(t.Context(), rotation.Order{})
	if err != nil {
		t.Fatal(err)
	}
	w.denied.Store("bedrock:ListFoundationModels", true)
	if err := bedrockKeys.Verify(t.Context(), issued.Value); err != nil {
		t.Errorf("a key whose user may not list models: %v", err)
	}
	w.denied.Store("bedrock:CallWithBearerToken", true)
	if err := bedrockKeys.Verify(t.Context(), issued.Value); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "it needs bedrock:CallWithBearerToken") {
		t.Errorf("a key whose user may not use API keys: %v", err)
	}
	w.iam.Faults.Before("ListFoundationModels").Set(fault.Fault{Status: http.StatusForbidden, Body: `{"message":"The request is blocked"}`})
	if err := bedrockKeys.Verify(t.Context(), issued.Value); !errors.Is(err, rotation.ErrRejected) {
		t.Errorf("a refusal of another kind: %v", err)
	}
}

func TestTheAPIKeyInUseIsNeverReset(t *testing.T) {
	t.Parallel()
	w := newWorld(0)
	_, bedrockKeys := issuers(t, w)
	issued, err := bedrockKeys.Create(t.Context(), rotation.Order{})
	if err != nil {
		t.Fatal(err)
	}
	before := w.iam.Faults.Before("").Calls()
	if _, err := bedrockKeys.Recover(t.Context(), issued.Key, rotation.Order{Current: issued.Key.ID}); !errors.Is(err, rotation.ErrRefused) {
		t.Errorf("got %v", err)
	}
	if n := w.iam.Faults.Before("").Calls() - before; n != 0 {
		t.Errorf("it took %d requests", n)
	}
}

func TestAKeyOfAnotherUserIsNotTheOne(t *testing.T) {
	t.Parallel()
	w := newWorld(0)
	first, _ := issuers(t, w)
	issued, err := first.Create(t.Context(), rotation.Order{})
	if err != nil {
		t.Fatal(err)
	}
	options := w.options((&rotationtest.Line{}).Transport(w.handler(t)))
	options.User = "chat"
	other, err := iamkeys.NewAccessKeys(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Verify(t.Context(), issued.Value); !errors.Is(err, rotation.ErrRefused) || !strings.Contains(err.Error(), "user_name") {
		t.Errorf("got %v", err)
	}
}

// canned answers every request in one way.
type canned fault.Fault

func (c canned) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(c.Status)
	_, _ = w.Write([]byte(c.Body))
}

func FuzzReply(f *testing.F) {
	f.Add(200, `<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey></AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>`)
	f.Add(200, `<ListAccessKeysResponse><ListAccessKeysResult><AccessKeyMetadata><member><AccessKeyId>a</AccessKeyId></member></AccessKeyMetadata><Marker>1</Marker></ListAccessKeysResult></ListAccessKeysResponse>`)
	f.Add(200, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/postern-chat</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	f.Add(404, refusal(404, "NoSuchEntity").Body)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 999 {
			return
		}
		options := (&world{}).options((&rotationtest.Line{}).Transport(canned{Status: status, Body: body}))
		accessKeys, err := iamkeys.NewAccessKeys(options)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := accessKeys.Create(t.Context(), rotation.Order{})
		if err == nil && (issued.Key.ID == "" || issued.Value.IsZero()) {
			t.Errorf("a reply without a key is accepted: %q", body)
		}
		_, find := accessKeys.Find(t.Context(), "")
		verify := accessKeys.Verify(t.Context(), secrets.NewValue(`{"aws_access_key_id":"a","aws_secret_access_key":"b"}`))
		for _, err := range []error{err, find, verify} {
			var told *rotation.Error
			if err != nil && (!errors.As(err, &told) || len(body) > 12 && strings.Contains(err.Error(), body)) {
				t.Errorf("got %v", err)
			}
		}
	})
}
