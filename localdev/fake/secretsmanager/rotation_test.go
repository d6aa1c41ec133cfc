package secretsmanager_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
)

const function = "arn:aws:lambda:eu-central-1:123456789012:function:postern-rotate"

// lambda is a rotation function, which does what it is told and keeps the events.
type lambda struct {
	mu     sync.Mutex
	events []secretsmanager.Event
	do     func(context.Context, secretsmanager.Event) error
}

func (l *lambda) rotate(ctx context.Context, event secretsmanager.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, event)
	if l.do == nil {
		return nil
	}
	return l.do(ctx, event)
}

func (l *lambda) steps() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var steps []string
	for _, event := range l.events {
		steps = append(steps, event.Step)
	}
	return strings.Join(steps, " ")
}

// newRotated returns an account with a secret and a function to rotate it.
func newRotated(t *testing.T) (account, *lambda) {
	t.Helper()
	l := &lambda{}
	a := newAccount(t, secretsmanager.Options{Rotate: l.rotate})
	a.create(t)
	return a, l
}

// finish does what a rotation function has to do in the end.
func (a account) finish(ctx context.Context, event secretsmanager.Event) error {
	switch event.Step {
	case "createSecret":
		return a.put(ctx, event.ClientRequestToken, "rotated", "AWSPENDING")
	case "finishSecret":
		return a.move(ctx, "AWSCURRENT", one, event.ClientRequestToken)
	}
	return nil
}

func everyMonth() *types.RotationRulesType {
	return &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}
}

func (a account) rotate(t *testing.T, in client.RotateSecretInput) error {
	t.Helper()
	in.SecretId = aws.String("team/key")
	if in.ClientRequestToken == nil {
		in.ClientRequestToken = aws.String(two)
	}
	_, err := a.RotateSecret(t.Context(), &in)
	a.server.Wait()
	return err
}

func (a account) describe(t *testing.T) *client.DescribeSecretOutput {
	t.Helper()
	out, err := a.DescribeSecret(t.Context(), &client.DescribeSecretInput{SecretId: aws.String("team/key")})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestARotationTakesFourSteps(t *testing.T) {
	t.Parallel()
	a, l := newRotated(t)
	l.do = func(ctx context.Context, event secretsmanager.Event) error {
		if event.Step == "createSecret" {
			if diff := cmp.Diff(map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}, a.labels(t)); diff != "" {
				t.Error(diff)
			}
			_, err := a.get(ctx, client.GetSecretValueInput{VersionId: aws.String(two)})
			wantCode(t, err, "ResourceNotFoundException")
		}
		return a.finish(ctx, event)
	}
	start := time.Now().Add(-time.Second)
	if before := a.describe(t); before.RotationEnabled != nil || before.RotationRules != nil || before.LastRotatedDate != nil {
		t.Errorf("before: %+v", before)
	}
	if err := a.rotate(t, client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: everyMonth()}); err != nil {
		t.Fatal(err)
	}
	if got := l.steps(); got != "createSecret setSecret testSecret finishSecret" {
		t.Errorf("the steps were %s", got)
	}
	after := a.describe(t)
	for _, event := range l.events {
		if event.SecretID != *after.ARN || event.ClientRequestToken != two || event.RotationToken != l.events[0].RotationToken || len(event.RotationToken) < 36 {
			t.Errorf("the event is %+v", event)
		}
	}
	// The label may stay where AWSCURRENT is, which is not in the way of the next rotation.
	if diff := cmp.Diff(map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT", "AWSPENDING"}}, after.VersionIdsToStages); diff != "" {
		t.Error(diff)
	}
	if !*after.RotationEnabled || *after.RotationLambdaARN != function || *after.RotationRules.AutomaticallyAfterDays != 30 ||
		after.LastRotatedDate.Before(start) || after.NextRotationDate.Sub(*after.LastRotatedDate) != 30*24*time.Hour {
		t.Errorf("after: %+v", after)
	}
	// Asked again with the same token it has been done; with another one it begins anew, with what is set already.
	if err := a.rotate(t, client.RotateSecretInput{}); err != nil || len(l.events) != 4 {
		t.Errorf("the same token led to %d steps, error %v", len(l.events), err)
	}
	l.do = nil
	if err := a.rotate(t, client.RotateSecretInput{ClientRequestToken: aws.String(three)}); err != nil || len(l.events) != 8 {
		t.Errorf("another token led to %d steps, error %v", len(l.events), err)
	}
}

func TestAFailedStepLeadsBackToTheFirst(t *testing.T) {
	t.Parallel()
	a, l := newRotated(t)
	l.do = func(_ context.Context, event secretsmanager.Event) error {
		if event.Step == "setSecret" {
			return errors.New("the target is not there")
		}
		return nil
	}
	if err := a.rotate(t, client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: everyMonth()}); err != nil {
		t.Fatal(err)
	}
	if got := l.steps(); got != "createSecret setSecret createSecret setSecret createSecret setSecret" {
		t.Errorf("the steps were %s", got)
	}
	if got := a.describe(t); got.LastRotatedDate != nil {
		t.Errorf("it counts as rotated at %v", got.LastRotatedDate)
	}
	wantCode(t, a.rotate(t, client.RotateSecretInput{ClientRequestToken: aws.String(three)}), "InvalidRequestException")
	if err := a.move(t.Context(), "AWSPENDING", two, ""); err != nil {
		t.Fatal(err)
	}
	l.do = a.finish
	if err := a.rotate(t, client.RotateSecretInput{ClientRequestToken: aws.String(three)}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSPREVIOUS"}, three: {"AWSCURRENT", "AWSPENDING"}}, a.labels(t)); diff != "" {
		t.Error(diff)
	}
}

func TestAFunctionIsTriedOutBeforeItsTime(t *testing.T) {
	t.Parallel()
	a, l := newRotated(t)
	l.do = func(context.Context, secretsmanager.Event) error {
		if diff := cmp.Diff(map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}, a.labels(t)); diff != "" {
			t.Error(diff)
		}
		return nil
	}
	if err := a.rotate(t, client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: everyMonth(), RotateImmediately: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	if got := l.steps(); got != "testSecret" {
		t.Errorf("the steps were %s", got)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSCURRENT"}}, a.labels(t)); diff != "" {
		t.Error(diff)
	}
	if got := a.describe(t); !*got.RotationEnabled || got.LastRotatedDate != nil {
		t.Errorf("got %+v", got)
	}
}

func TestACancelledRotationTakesNoFurtherStep(t *testing.T) {
	t.Parallel()
	a, l := newRotated(t)
	l.do = func(ctx context.Context, event secretsmanager.Event) error {
		out, err := a.CancelRotateSecret(ctx, &client.CancelRotateSecretInput{SecretId: aws.String("team/key")})
		if err != nil || aws.ToString(out.VersionId) != two {
			t.Errorf("got %+v, error %v", out, err)
		}
		return nil
	}
	if err := a.rotate(t, client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: everyMonth()}); err != nil {
		t.Fatal(err)
	}
	if got := l.steps(); got != "createSecret" {
		t.Errorf("the steps were %s", got)
	}
	got := a.describe(t)
	if *got.RotationEnabled || *got.RotationLambdaARN != function {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff(map[string][]string{one: {"AWSCURRENT"}, two: {"AWSPENDING"}}, got.VersionIdsToStages); diff != "" {
		t.Error(diff)
	}
}

func TestARotationTokenIsThatOfItsRotation(t *testing.T) {
	t.Parallel()
	a, l := newRotated(t)
	put := func(ctx context.Context, token string) error {
		_, err := a.PutSecretValue(ctx, &client.PutSecretValueInput{SecretId: aws.String("team/key"), SecretString: aws.String("x"),
			ClientRequestToken: aws.String(two), RotationToken: &token, VersionStages: []string{"AWSPENDING"}})
		return err
	}
	other := strings.Repeat("0", 36)
	l.do = func(ctx context.Context, event secretsmanager.Event) error {
		wantCode(t, put(ctx, other), "InvalidRequestException")
		wantCode(t, put(ctx, "short"), "InvalidParameterException")
		wantCode(t, put(ctx, event.RotationToken), "")
		return nil
	}
	if err := a.rotate(t, client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: everyMonth()}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, put(t.Context(), other), "InvalidRequestException")
}

func TestWhatIsNoRotationIsRefused(t *testing.T) {
	t.Parallel()
	schedule := func(expression, window string) client.RotateSecretInput {
		rules := &types.RotationRulesType{ScheduleExpression: &expression}
		if window != "" {
			rules.Duration = &window
		}
		return client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: rules}
	}
	days := func(n int64) client.RotateSecretInput {
		return client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: &n}}
	}
	both := days(1)
	both.RotationRules.ScheduleExpression = aws.String("rate(1 day)")
	for _, test := range []struct {
		name string
		in   client.RotateSecretInput
		code string
	}{
		{"no function", client.RotateSecretInput{RotationRules: everyMonth()}, "InvalidRequestException"},
		{"a function's name", client.RotateSecretInput{RotationRules: everyMonth(), RotationLambdaARN: aws.String("postern-rotate")}, "InvalidParameterException"},
		{"no schedule", client.RotateSecretInput{RotationLambdaARN: aws.String(function)}, "InvalidParameterException"},
		{"two schedules", both, "InvalidParameterException"},
		{"no days", days(0), "InvalidParameterException"},
		{"too many days", days(1001), "InvalidParameterException"},
		{"days", days(1000), ""},
		{"a rate in days", schedule("rate(1 day)", ""), ""},
		{"a rate in hours with a window", schedule("rate(12 hours)", "3h"), ""},
		{"the shortest rate", schedule("rate(4 hours)", ""), ""},
		{"too short a rate", schedule("rate(3 hours)", ""), "InvalidParameterException"},
		{"a rate in minutes", schedule("rate(600 minutes)", ""), "InvalidParameterException"},
		{"a window longer than the rate", schedule("rate(4 hours)", "5h"), "InvalidParameterException"},
		{"a window longer than a day", schedule("rate(10 days)", "25h"), "InvalidParameterException"},
		{"a window in minutes", schedule("rate(10 days)", "30m"), "InvalidParameterException"},
		{"a day of each month", schedule("cron(0 8 1 * ? *)", ""), ""},
		{"the first Sunday of each month", schedule("cron(0 0 ? * SUN#1 *)", "2h"), ""},
		{"several times a day", schedule("cron(0 8/8 * * ? *)", ""), ""},
		{"a minute", schedule("cron(30 8 1 * ? *)", ""), "InvalidParameterException"},
		{"a year", schedule("cron(0 8 1 * ? 2030)", ""), "InvalidParameterException"},
		{"five fields", schedule("cron(0 8 1 * *)", ""), "InvalidParameterException"},
		{"a short token", client.RotateSecretInput{RotationLambdaARN: aws.String(function), RotationRules: everyMonth(), ClientRequestToken: aws.String("7")}, "InvalidParameterException"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, l := newRotated(t)
			wantCode(t, a.rotate(t, test.in), test.code)
			if (l.steps() == "") != (test.code != "") {
				t.Errorf("the steps were %q", l.steps())
			}
			if got := a.describe(t); test.code != "" && got.RotationEnabled != nil {
				t.Errorf("it is set: %+v", got)
			}
		})
	}
	a := newAccount(t, secretsmanager.Options{})
	a.create(t)
	wantCode(t, a.rotate(t, days(1)), "AccessDeniedException")
}

func TestPasswordsAreMadeOfWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	a := newAccount(t, secretsmanager.Options{})
	yes := aws.Bool(true)
	const lower, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
	for _, test := range []struct {
		name string
		in   client.GetRandomPasswordInput
		size int
		of   []string // each of which is in it
		code string
	}{
		{"as usual", client.GetRandomPasswordInput{}, 32, []string{lower, strings.ToUpper(lower), digits, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}, ""},
		{"letters and digits", client.GetRandomPasswordInput{PasswordLength: aws.Int64(3), ExcludePunctuation: yes}, 3, []string{lower, strings.ToUpper(lower), digits}, ""},
		{"one character", client.GetRandomPasswordInput{ExcludePunctuation: yes, ExcludeUppercase: yes, ExcludeLowercase: yes, ExcludeCharacters: aws.String("012345678")}, 32, []string{"9"}, ""},
		{"spaces", client.GetRandomPasswordInput{ExcludePunctuation: yes, ExcludeUppercase: yes, ExcludeLowercase: yes, IncludeSpace: yes}, 32, []string{digits, " "}, ""},
		{"no characters", client.GetRandomPasswordInput{ExcludePunctuation: yes, ExcludeUppercase: yes, ExcludeLowercase: yes, ExcludeNumbers: yes}, 0, nil, "InvalidParameterException"},
		{"too short for all kinds", client.GetRandomPasswordInput{PasswordLength: aws.Int64(3)}, 0, nil, "InvalidParameterException"},
		{"short, without need of all kinds", client.GetRandomPasswordInput{PasswordLength: aws.Int64(3), RequireEachIncludedType: aws.Bool(false)}, 3, nil, ""},
		{"too long", client.GetRandomPasswordInput{PasswordLength: aws.Int64(4097)}, 0, nil, "InvalidParameterException"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := a.GetRandomPassword(t.Context(), &test.in)
			wantCode(t, err, test.code)
			if err != nil {
				return
			}
			if len(*out.RandomPassword) != test.size {
				t.Errorf("it has %d characters", len(*out.RandomPassword))
			}
			for _, kind := range test.of {
				if !strings.ContainsAny(*out.RandomPassword, kind) {
					t.Errorf("%q has none of %s", *out.RandomPassword, kind)
				}
			}
			if all := strings.Join(test.of, ""); all != "" && strings.Trim(*out.RandomPassword, all) != "" {
				t.Errorf("%q has others than %s", *out.RandomPassword, all)
			}
		})
	}
}
