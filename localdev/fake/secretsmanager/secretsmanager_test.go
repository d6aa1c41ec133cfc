package secretsmanager_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
)

var key = awsauth.Key{AccessKeyID: "ASIATESTKEY", SecretAccessKey: "test-secret-key", SessionToken: "token", ARN: "arn:aws:sts::123456789012:assumed-role/r/s"}

// account is a stand-in and the official client to it. What passes between the two is checked against the vendor's description.
type account struct {
	*client.Client
	server *secretsmanager.Server
}

func newAccount(t *testing.T, options secretsmanager.Options) account {
	t.Helper()
	options.Keys = func(id string) (awsauth.Key, bool) { return key, id == key.AccessKeyID }
	server := secretsmanager.New(options)
	listener := httptest.NewServer(checked(t, server))
	t.Cleanup(listener.Close)
	return clientOf(server, listener.URL)
}

func clientOf(server *secretsmanager.Server, url string) account {
	return account{server: server, Client: client.NewFromConfig(aws.Config{
		Region: "eu-central-1", BaseEndpoint: &url, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken),
	})}
}

func checked(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	dir, ok := contract.Dir()
	if !ok {
		t.Log("the vendors' descriptions are not here, so the traffic is not checked against them")
		return next
	}
	description, err := contract.AWS(dir, "secretsmanager")
	if err != nil {
		t.Fatal(err)
	}
	return contract.Check(description, next, func(problems ...contract.Problem) {
		for _, problem := range problems {
			// Parameters out of range are sent on purpose, and errors that all services have in common are in no description.
			if !problem.OfRequest() && !strings.Contains(problem.Text, "AccessDeniedException") && !strings.Contains(problem.Text, "ValidationException") {
				t.Error(problem)
			}
		}
	})
}

const (
	one   = "11111111-1111-1111-1111-111111111111"
	two   = "22222222-2222-2222-2222-222222222222"
	three = "33333333-3333-3333-3333-333333333333"
)

// labels returns where the labels of a secret are, as DescribeSecret tells.
func (a account) labels(t *testing.T) map[string][]string {
	t.Helper()
	out, err := a.DescribeSecret(t.Context(), &client.DescribeSecretInput{SecretId: aws.String("team/key")})
	if err != nil {
		t.Fatal(err)
	}
	return out.VersionIdsToStages
}

func (a account) create(t *testing.T) {
	t.Helper()
	if _, err := a.CreateSecret(t.Context(), &client.CreateSecretInput{Name: aws.String("team/key"), SecretString: aws.String("value 1"), ClientRequestToken: aws.String(one)}); err != nil {
		t.Fatal(err)
	}
}

func (a account) put(ctx context.Context, token, value string, labels ...string) error {
	_, err := a.PutSecretValue(ctx, &client.PutSecretValueInput{
		SecretId: aws.String("team/key"), SecretString: aws.String(value), ClientRequestToken: aws.String(token), VersionStages: labels,
	})
	return err
}

func (a account) move(ctx context.Context, label, from, to string) error {
	in := &client.UpdateSecretVersionStageInput{SecretId: aws.String("team/key"), VersionStage: aws.String(label)}
	if from != "" {
		in.RemoveFromVersionId = aws.String(from)
	}
	if to != "" {
		in.MoveToVersionId = aws.String(to)
	}
	_, err := a.UpdateSecretVersionStage(ctx, in)
	return err
}

func (a account) get(ctx context.Context, in client.GetSecretValueInput) (string, error) {
	in.SecretId = aws.String("team/key")
	out, err := a.GetSecretValue(ctx, &in)
	if err != nil {
		return "", err
	}
	return *out.VersionId + " " + aws.ToString(out.SecretString) + string(out.SecretBinary), nil
}

// wantCode checks the code of a refusal. The empty code means that there must be none.
func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	var refusal smithy.APIError
	switch {
	case want == "" && err == nil:
	case !errors.As(err, &refusal) || refusal.ErrorCode() != want:
		t.Errorf("got error %v, want %q", err, want)
	}
}

func TestLabelsMoveAsInARotation(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	a.create(t)
	steps := []struct {
		name string
		do   func(context.Context) error
		code string
		want map[string][]string
	}{
		{"a new secret is current", func(context.Context) error { return nil }, "", map[string][]string{one: {"AWSCURRENT"}}},
		{"a pending version leaves the current one alone", func(ctx context.Context) error { return a.put(ctx, two, "value 2", "AWSPENDING") }, "",
			map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}},
		{"the same again changes nothing", func(ctx context.Context) error { return a.put(ctx, two, "value 2") }, "",
			map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}},
		{"the same token with another value fails", func(ctx context.Context) error { return a.put(ctx, two, "other") }, "ResourceExistsException",
			map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}},
		{"a label that is elsewhere does not move without saying where", func(ctx context.Context) error { return a.move(ctx, "AWSCURRENT", "", two) }, "InvalidParameterException",
			map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}},
		{"nor with a wrong guess", func(ctx context.Context) error { return a.move(ctx, "AWSCURRENT", two, two) }, "InvalidParameterException",
			map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}},
		{"the current label cannot be taken off", func(ctx context.Context) error { return a.move(ctx, "AWSCURRENT", one, "") }, "InvalidParameterException",
			map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}},
		{"an unknown version gets no label", func(ctx context.Context) error { return a.move(ctx, "AWSCURRENT", one, three) }, "ResourceNotFoundException",
			map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}},
		{"a promotion leaves the old version as the previous one", func(ctx context.Context) error { return a.move(ctx, "AWSCURRENT", one, two) }, "",
			map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT", "AWSPENDING"}}},
		{"a second runner with the same expectation fails", func(ctx context.Context) error { return a.move(ctx, "AWSCURRENT", one, two) }, "InvalidParameterException",
			map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT", "AWSPENDING"}}},
		{"a label to where it is changes nothing", func(ctx context.Context) error { return a.move(ctx, "AWSCURRENT", "", two) }, "",
			map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT", "AWSPENDING"}}},
		{"a label that is not current can be taken off", func(ctx context.Context) error { return a.move(ctx, "AWSPENDING", two, "") }, "",
			map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT"}}},
		{"a version without labels is deprecated and not described", func(ctx context.Context) error { return a.put(ctx, three, "value 3") }, "",
			map[string][]string{two: {"AWSPREVIOUS"}, three: {"AWSCURRENT"}}},
	}
	for _, step := range steps {
		wantCode(t, step.do(t.Context()), step.code)
		if diff := cmp.Diff(step.want, a.labels(t)); diff != "" {
			t.Fatalf("%s: %s", step.name, diff)
		}
	}
}

func TestValuesAreReadByLabelAndByVersion(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	a.create(t)
	if err := a.put(t.Context(), two, "value 2"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name       string
		in         client.GetSecretValueInput
		want, code string
	}{
		{"nothing means the current one", client.GetSecretValueInput{}, two + " value 2", ""},
		{"a label", client.GetSecretValueInput{VersionStage: aws.String("AWSPREVIOUS")}, one + " value 1", ""},
		{"a version", client.GetSecretValueInput{VersionId: aws.String(one)}, one + " value 1", ""},
		{"both", client.GetSecretValueInput{VersionId: aws.String(one), VersionStage: aws.String("AWSPREVIOUS")}, one + " value 1", ""},
		{"both, and they disagree", client.GetSecretValueInput{VersionId: aws.String(one), VersionStage: aws.String("AWSCURRENT")}, "", "InvalidRequestException"},
		{"an unknown label", client.GetSecretValueInput{VersionStage: aws.String("AWSPENDING")}, "", "ResourceNotFoundException"},
		{"an unknown version", client.GetSecretValueInput{VersionId: aws.String(three)}, "", "ResourceNotFoundException"},
		{"an impossible version", client.GetSecretValueInput{VersionId: aws.String("7")}, "", "InvalidParameterException"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := a.get(t.Context(), test.in)
			wantCode(t, err, test.code)
			if got != test.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestWhatTheServiceRefuses(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	calls := []struct {
		name string
		call func(context.Context, account) error
		code string
	}{
		{"a secret that is not there", func(ctx context.Context, a account) error {
			_, err := a.GetSecretValue(ctx, &client.GetSecretValueInput{SecretId: text("other")})
			return err
		}, "ResourceNotFoundException"},
		{"a name with a space", func(ctx context.Context, a account) error {
			_, err := a.CreateSecret(ctx, &client.CreateSecretInput{Name: text("a b"), SecretString: text("x")})
			return err
		}, "ValidationException"},
		{"a second secret of the same name", func(ctx context.Context, a account) error {
			_, err := a.CreateSecret(ctx, &client.CreateSecretInput{Name: text("team/key"), SecretString: text("x")})
			return err
		}, "ResourceExistsException"},
		{"the same secret once more", func(ctx context.Context, a account) error {
			_, err := a.CreateSecret(ctx, &client.CreateSecretInput{Name: text("team/key"), SecretString: text("value 1"), ClientRequestToken: text(one)})
			return err
		}, ""},
		{"a text and bytes", func(ctx context.Context, a account) error {
			_, err := a.PutSecretValue(ctx, &client.PutSecretValueInput{SecretId: text("team/key"), SecretString: text("x"), SecretBinary: []byte("y")})
			return err
		}, "InvalidParameterException"},
		{"neither", func(ctx context.Context, a account) error {
			_, err := a.PutSecretValue(ctx, &client.PutSecretValueInput{SecretId: text("team/key")})
			return err
		}, "InvalidRequestException"},
		{"too much", func(ctx context.Context, a account) error {
			return a.put(ctx, two, strings.Repeat("x", 65537))
		}, "InvalidParameterException"},
		{"a short token", func(ctx context.Context, a account) error { return a.put(ctx, "7", "x") }, "InvalidParameterException"},
		{"an empty label", func(ctx context.Context, a account) error { return a.put(ctx, two, "x", "") }, "InvalidParameterException"},
		{"neither source nor target for a label", func(ctx context.Context, a account) error { return a.move(ctx, "L", "", "") }, "InvalidParameterException"},
		{"a label from a version that is not there", func(ctx context.Context, a account) error { return a.move(ctx, "L", two, one) }, "ResourceNotFoundException"},
		{"a short recovery window", func(ctx context.Context, a account) error {
			_, err := a.DeleteSecret(ctx, &client.DeleteSecretInput{SecretId: text("team/key"), RecoveryWindowInDays: aws.Int64(6)})
			return err
		}, "InvalidParameterException"},
		{"too long a page", func(ctx context.Context, a account) error {
			_, err := a.ListSecretVersionIds(ctx, &client.ListSecretVersionIdsInput{SecretId: text("team/key"), MaxResults: aws.Int32(101)})
			return err
		}, "InvalidParameterException"},
		{"a page that it did not offer", func(ctx context.Context, a account) error {
			_, err := a.ListSecretVersionIds(ctx, &client.ListSecretVersionIdsInput{SecretId: text("team/key"), NextToken: text("x")})
			return err
		}, "InvalidNextTokenException"},
		{"an operation that it does not have", func(ctx context.Context, a account) error {
			_, err := a.ListSecrets(ctx, &client.ListSecretsInput{})
			return err
		}, "UnknownOperationException"},
	}
	for _, test := range calls {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := secretsmanager.New(secretsmanager.Options{Keys: func(string) (awsauth.Key, bool) { return key, true }})
			listener := httptest.NewServer(server)
			t.Cleanup(listener.Close)
			a := clientOf(server, listener.URL)
			a.create(t)
			wantCode(t, test.call(t.Context(), a), test.code)
		})
	}
}

func TestADeletedSecretCanBeRestored(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	a.create(t)
	id := aws.String("team/key")
	if _, err := a.DeleteSecret(t.Context(), &client.DeleteSecretInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	_, err := a.get(t.Context(), client.GetSecretValueInput{})
	wantCode(t, err, "InvalidRequestException")
	wantCode(t, a.put(t.Context(), two, "x"), "InvalidRequestException")
	_, err = a.CreateSecret(t.Context(), &client.CreateSecretInput{Name: id, SecretString: aws.String("x")})
	wantCode(t, err, "InvalidRequestException")
	out, err := a.DescribeSecret(t.Context(), &client.DescribeSecretInput{SecretId: id})
	if err != nil || out.DeletedDate == nil {
		t.Errorf("got %v and error %v", out, err)
	}
	if _, err := a.RestoreSecret(t.Context(), &client.RestoreSecretInput{SecretId: id}); err != nil {
		t.Error(err)
	}
	if got, err := a.get(t.Context(), client.GetSecretValueInput{}); err != nil || got != one+" value 1" {
		t.Errorf("got %q and error %v", got, err)
	}
	if _, err := a.DeleteSecret(t.Context(), &client.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Error(err)
	}
	_, err = a.get(t.Context(), client.GetSecretValueInput{})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestASecretIsFoundByItsARN(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	out, err := a.CreateSecret(t.Context(), &client.CreateSecretInput{Name: aws.String("team/key"), SecretBinary: []byte{0, 1, 0xff}, ClientRequestToken: aws.String(one)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{*out.ARN, (*out.ARN)[:len(*out.ARN)-7]} {
		got, err := a.GetSecretValue(t.Context(), &client.GetSecretValueInput{SecretId: &id})
		if err != nil || string(got.SecretBinary) != "\x00\x01\xff" || got.SecretString != nil {
			t.Errorf("%s: got %v and error %v", id, got, err)
		}
	}
	if version := a.server.Seed(secretsmanager.Secret{Name: "team/key", Text: "seeded"}); version == one {
		t.Error("a seeded secret is not a new version")
	}
	if got, err := a.get(t.Context(), client.GetSecretValueInput{}); err != nil || !strings.HasSuffix(got, " seeded") {
		t.Errorf("got %q and error %v", got, err)
	}
}

func TestVersionsAreListedInPages(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	a.create(t)
	for i := range 5 {
		if err := a.put(t.Context(), fmt.Sprintf("%032d", i), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		deprecated bool
		want       int
	}{{false, 2}, {true, 6}} {
		var ids []string
		pages := client.NewListSecretVersionIdsPaginator(a, &client.ListSecretVersionIdsInput{
			SecretId: aws.String("team/key"), IncludeDeprecated: aws.Bool(test.deprecated), MaxResults: aws.Int32(2)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, version := range page.Versions {
				ids = append(ids, *version.VersionId)
			}
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != test.want {
			t.Errorf("got %v", ids)
		}
	}
}

func TestPermissionsAreNeeded(t *testing.T) {
	t.Parallel()
	var asked []string
	a := newAccount(t, secretsmanager.Options{Allow: func(access secretsmanager.Access) bool {
		asked = append(asked, access.Action+" "+access.Resource)
		return access.Action == "secretsmanager:CreateSecret"
	}})
	a.create(t)
	_, err := a.get(t.Context(), client.GetSecretValueInput{})
	wantCode(t, err, "AccessDeniedException")
	if len(asked) != 2 || !strings.HasPrefix(asked[1], "secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-central-1:123456789012:secret:team/key-") {
		t.Errorf("asked for %q", asked)
	}
}

func TestAWrongSignatureLearnsNothing(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	_, err := a.GetSecretValue(t.Context(), &client.GetSecretValueInput{SecretId: aws.String("team/key")}, func(o *client.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(key.AccessKeyID, "wrong", key.SessionToken)
	})
	wantCode(t, err, "InvalidSignatureException")
}

func TestALostReplyHasHadItsEffect(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	a.create(t)
	a.server.Faults.After("PutSecretValue").Set(fault.Fault{Hangup: true, Times: 1})
	if err := a.put(t.Context(), two, "value 2"); err == nil {
		t.Error("the reply was not lost")
	}
	if err := a.put(t.Context(), two, "value 2"); err != nil {
		t.Errorf("the repeated call fails: %v", err)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT"}}, a.labels(t)); diff != "" {
		t.Error(diff)
	}
	if got := a.server.Faults.Before("PutSecretValue").Calls(); got != 2 {
		t.Errorf("counted %d calls", got)
	}
}

func TestTheProtocolIsChecked(t *testing.T) {
	t.Parallel()
	server := secretsmanager.New(secretsmanager.Options{Keys: func(string) (awsauth.Key, bool) { return key, true }})
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}")))
	if recorder.Code != http.StatusForbidden {
		t.Errorf("an unsigned request gets %d", recorder.Code)
	}
}
