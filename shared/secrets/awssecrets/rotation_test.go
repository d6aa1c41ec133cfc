package awssecrets_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

const (
	one   = "11111111-1111-1111-1111-111111111111"
	two   = "22222222-2222-2222-2222-222222222222"
	three = "33333333-3333-3333-3333-333333333333"

	function = "arn:aws:lambda:eu-central-1:123456789012:function:postern-rotate"
)

// rotated is a secret that AWS rotates, by a function that has a store.
type rotated struct {
	account
	store  *awssecrets.Store
	server *secretsmanager.Server
	ref    secrets.Ref
}

func newRotated(t *testing.T, rotate func(context.Context, *rotated, secretsmanager.Event) error) *rotated {
	t.Helper()
	i, r := &issuer{}, &rotated{ref: secrets.Ref{Name: "key"}}
	r.server = secretsmanager.New(secretsmanager.Options{Region: region, Keys: i.find,
		Rotate: func(ctx context.Context, event secretsmanager.Event) error { return rotate(ctx, r, event) }})
	listener := httptest.NewServer(checked(t, r.server))
	t.Cleanup(listener.Close)
	r.account = newAccount(awssecrets.Options{Region: region, Credentials: i, Endpoint: listener.URL, Timeout: time.Minute}, "")
	r.store = r.account.store(t)
	r.create(t, client.CreateSecretInput{Name: aws.String("key"), SecretString: aws.String("value 1"), ClientRequestToken: aws.String(one)})
	return r
}

// rotate begins a rotation of AWS's own and waits until it ends.
func (r *rotated) rotate(ctx context.Context, version string, immediately bool) error {
	_, err := r.official.RotateSecret(ctx, &client.RotateSecretInput{
		SecretId: aws.String("key"), ClientRequestToken: &version, RotationLambdaARN: aws.String(function), RotateImmediately: &immediately,
		RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(30 days)")},
	})
	r.server.Wait()
	return err
}

// stages returns the labels of the secret's versions.
func (r *rotated) stages(t *testing.T) map[string][]string {
	t.Helper()
	out, err := r.official.DescribeSecret(t.Context(), &client.DescribeSecretInput{SecretId: aws.String("key")})
	if err != nil {
		t.Fatal(err)
	}
	return out.VersionIdsToStages
}

// fourSteps is a rotation function as it may be: each step does what is left to do.
func fourSteps(ctx context.Context, r *rotated, event secretsmanager.Event) error {
	ref := secrets.Ref{Name: event.SecretID}
	done, err := r.store.Rotating(ctx, ref, event.ClientRequestToken)
	if err != nil || done {
		return err
	}
	switch event.Step {
	case "createSecret":
		_, err = r.store.Stage(ctx, ref, secrets.Candidate{Cycle: event.ClientRequestToken, Value: secrets.NewValue("value of " + event.ClientRequestToken)})
	case "testSecret":
		_, err = r.store.Value(ctx, ref, event.ClientRequestToken)
	case "finishSecret":
		var inventory secrets.Inventory
		if inventory, err = r.store.Inspect(ctx, ref); err == nil {
			_, err = r.store.Promote(ctx, ref, secrets.Promotion{To: event.ClientRequestToken, From: inventory.Current.ID})
		}
	}
	return err
}

func TestARotationOfAWSIsCompleted(t *testing.T) {
	t.Parallel()
	var failures atomic.Int32
	var trail []string
	r := newRotated(t, func(ctx context.Context, r *rotated, event secretsmanager.Event) error {
		trail = append(trail, event.Step)
		err := fourSteps(ctx, r, event)
		// What the function has done is done, and it is called again from the start.
		if event.Step == "testSecret" && failures.Add(1) == 1 {
			return errors.New("the provider does not know the key yet")
		}
		return err
	})
	if err := r.rotate(t.Context(), two, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"createSecret", "setSecret", "testSecret", "createSecret", "setSecret", "testSecret", "finishSecret"}, trail); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT"}}, r.stages(t)); diff != "" {
		t.Error(diff)
	}
	if value, err := r.store.Value(t.Context(), r.ref, two); err != nil || value.Reveal() != "value of "+two {
		t.Errorf("the value is %q, error %v", value.Reveal(), err)
	}
	if done, err := r.store.Rotating(t.Context(), r.ref, two); err != nil || !done {
		t.Errorf("the rotation is done: %v, error %v", done, err)
	}
	if err := r.rotate(t.Context(), three, true); err != nil {
		t.Errorf("the next rotation: %v", err)
	}
	if diff := cmp.Diff(map[string][]string{two: {"AWSPREVIOUS"}, three: {"AWSCURRENT"}}, r.stages(t)); diff != "" {
		t.Error(diff)
	}
}

func TestAVersionWithoutAValueIsStagedAndNotPromoted(t *testing.T) {
	t.Parallel()
	r := newRotated(t, func(context.Context, *rotated, secretsmanager.Event) error { return errors.New("it fails at once") })
	if err := r.rotate(t.Context(), two, true); err != nil {
		t.Fatal(err)
	}
	inventory, err := r.store.Inspect(t.Context(), r.ref)
	want := secrets.Inventory{Current: secrets.Version{ID: one, Cycle: one}, Staged: secrets.Version{ID: two, Cycle: two}}
	if err != nil || inventory != want {
		t.Errorf("the inventory is %+v, error %v", inventory, err)
	}
	if _, err := r.store.Value(t.Context(), r.ref, two); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("value: got %v", err)
	}
	promotion := secrets.Promotion{To: two, From: one}
	if _, err := r.store.Promote(t.Context(), r.ref, promotion); !errors.Is(err, secrets.ErrConflict) || !strings.HasSuffix(err.Error(), "the version to promote has no value") {
		t.Errorf("promote: got %v", err)
	}
	if _, err := r.store.Stage(t.Context(), r.ref, secrets.Candidate{Cycle: three, Value: secrets.NewValue("value 3")}); !errors.Is(err, secrets.ErrOccupied) {
		t.Errorf("stage for another cycle: got %v", err)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}, r.stages(t)); diff != "" {
		t.Error(diff)
	}
	candidate := secrets.Candidate{Cycle: two, Value: secrets.NewValue("value 2")}
	for range 2 {
		if version, err := r.store.Stage(t.Context(), r.ref, candidate); err != nil || version.ID != two {
			t.Errorf("stage: got %+v, error %v", version, err)
		}
	}
	if _, err := r.store.Promote(t.Context(), r.ref, promotion); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT"}}, r.stages(t)); diff != "" {
		t.Error(diff)
	}
}

func TestAFailedRotationOfAWSIsClearedAway(t *testing.T) {
	t.Parallel()
	r := newRotated(t, func(context.Context, *rotated, secretsmanager.Event) error { return errors.New("it fails at once") })
	if err := r.rotate(t.Context(), two, true); err != nil {
		t.Fatal(err)
	}
	if err := r.rotate(t.Context(), three, true); err == nil || !strings.Contains(err.Error(), "A previous rotation isn't complete") {
		t.Errorf("the failed rotation is not in the way: %v", err)
	}
	if err := r.store.Drop(t.Context(), r.ref, two); err != nil {
		t.Fatal(err)
	}
	if err := r.rotate(t.Context(), three, true); err != nil {
		t.Error(err)
	}
}

func TestOnlyARotationThatAWSHasBegunGoesOn(t *testing.T) {
	t.Parallel()
	var steps []string
	var told error
	r := newRotated(t, func(ctx context.Context, r *rotated, event secretsmanager.Event) error {
		steps = append(steps, event.Step)
		done, err := r.store.Rotating(ctx, secrets.Ref{Name: event.SecretID}, event.ClientRequestToken)
		if err != nil || done {
			t.Errorf("%s: done %v, error %v", event.Step, done, err)
		}
		_, told = r.store.Value(ctx, secrets.Ref{Name: event.SecretID}, event.ClientRequestToken)
		return told
	})
	ask := func(version, says string, is error) {
		t.Helper()
		done, err := r.store.Rotating(t.Context(), r.ref, version)
		if err == nil || done || !strings.HasPrefix(err.Error(), `inspect secret "key": `+says) || is != nil && !errors.Is(err, is) {
			t.Errorf("done %v, error %v, want %q", done, err, says)
		}
	}
	ask(one, "AWS does not rotate it", nil)
	// The function is tried out with a version that has no value and goes away.
	if err := r.rotate(t.Context(), two, false); err != nil {
		t.Fatal(err)
	}
	if len(steps) != 1 || steps[0] != "testSecret" || !errors.Is(told, secrets.ErrNotFound) {
		t.Errorf("the steps %q were taken, error %v", steps, told)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSCURRENT"}}, r.stages(t)); diff != "" {
		t.Error(diff)
	}
	ask(two, "AWS has registered no version", secrets.ErrNotFound)
	if done, err := r.store.Rotating(t.Context(), r.ref, one); err != nil || !done {
		t.Errorf("with the current version: done %v, error %v", done, err)
	}
	candidate := secrets.Candidate{Cycle: two, Value: secrets.NewValue("value 2")}
	if _, err := r.store.Stage(t.Context(), r.ref, candidate); err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Promote(t.Context(), r.ref, secrets.Promotion{To: two, From: one}); err != nil {
		t.Fatal(err)
	}
	ask(one, "the version to rotate to does not have the label AWSPENDING", secrets.ErrConflict)
	if _, err := r.official.CancelRotateSecret(t.Context(), &client.CancelRotateSecretInput{SecretId: aws.String("key")}); err != nil {
		t.Fatal(err)
	}
	ask(two, "AWS does not rotate it", nil)
}

func TestAVersionIsDroppedWithAllItsLabels(t *testing.T) {
	t.Parallel()
	r := newRotated(t, nil)
	candidate := secrets.Candidate{Cycle: two, Value: secrets.NewValue("value 2")}
	if _, err := r.store.Stage(t.Context(), r.ref, candidate); err != nil {
		t.Fatal(err)
	}
	if _, err := r.official.UpdateSecretVersionStage(t.Context(), &client.UpdateSecretVersionStageInput{
		SecretId: aws.String("key"), VersionStage: aws.String("candidate"), MoveToVersionId: aws.String(two)}); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Drop(t.Context(), r.ref, two); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSCURRENT"}}, r.stages(t)); diff != "" {
		t.Error(diff)
	}
	// Its cycle is over: who stages again would believe that the version is staged.
	if _, err := r.store.Stage(t.Context(), r.ref, candidate); !errors.Is(err, secrets.ErrConflict) || !strings.HasSuffix(err.Error(), "has been dropped") {
		t.Errorf("got %v", err)
	}
}

func TestAStoreIsAskedInTheRegionOfTheARN(t *testing.T) {
	t.Parallel()
	transport := &hosts{}
	i := &issuer{}
	store, err := awssecrets.NewStore(awssecrets.Options{Region: region, Credentials: i, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"key", "arn:aws:secretsmanager:us-west-2:123456789012:secret:k"} {
		if _, err := store.Inspect(t.Context(), secrets.Ref{Name: name}); err == nil {
			t.Error("there is a network")
		}
	}
	if got := strings.Join(transport.seen, " "); got != "https://secretsmanager.eu-central-1.amazonaws.com https://secretsmanager.us-west-2.amazonaws.com" {
		t.Errorf("got %s", got)
	}
}

func TestAStoreSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, operation, code, want string
	}{
		{"no right to inspect", "DescribeSecret", "AccessDeniedException",
			"this function's role may not inspect it; it needs secretsmanager:DescribeSecret on this secret"},
		{"no right to store", "PutSecretValue", "AccessDeniedException", "this function's role may not store a version of it; it needs " +
			"secretsmanager:PutSecretValue on this secret, and kms:GenerateDataKey and kms:Decrypt on its key unless that is aws/secretsmanager"},
		{"a key that is disabled", "PutSecretValue", "EncryptionFailure",
			"AWS cannot encrypt it; check the state of its KMS key, and that this function's role has kms:GenerateDataKey on it"},
		{"too many versions", "PutSecretValue", "LimitExceededException", "it has too many versions; store a new one every ten minutes at most"},
		{"a secret of another service", "PutSecretValue", "InvalidRequestException",
			"it takes no change; it may be scheduled for deletion, or belong to another service of AWS"},
		{"another value", "PutSecretValue", "ResourceExistsException", "the cycle has stored another value already"},
		{"a throttle", "PutSecretValue", "ThrottlingException", "the store is throttling (ThrottlingException)"},
		{"expired credentials", "DescribeSecret", "ExpiredTokenException", "AWS does not accept this function's credentials (ExpiredTokenException)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRotated(t, nil)
			r.server.Faults.Before(test.operation).Set(fault.Fault{Status: 400, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
				Body: `{"__type":"` + test.code + `","Message":"` + secretstest.Canary + `"}`})
			_, err := r.store.Stage(t.Context(), r.ref, secrets.Candidate{Cycle: two, Value: secrets.NewValue("value 2")})
			if want := `stage secret "key": ` + test.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	r := newRotated(t, nil)
	r.server.Faults.Before("UpdateSecretVersionStage").Set(fault.Fault{Status: 400, Body: `{"__type":"AccessDeniedException"}`})
	_, err := r.store.Promote(t.Context(), r.ref, secrets.Promotion{To: r.put(t, secretstest.Put{Name: "key", Text: "value 2"}, "AWSPENDING"), From: one})
	want := `promote secret "key": this function's role may not move its staging labels; it needs secretsmanager:UpdateSecretVersionStage on this secret`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
