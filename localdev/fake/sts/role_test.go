package sts_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	client "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/sts"
)

const (
	reader = "arn:aws:iam::111122223333:role/team/reader"
	writer = "arn:aws:iam::444455556666:role/writer"
	tagged = "arn:aws:iam::444455556666:role/tagged"
	long   = "arn:aws:iam::444455556666:role/long"
	short  = "arn:aws:iam::444455556666:role/short"
)

var user = awsauth.Key{AccessKeyID: "AKIAUSER", SecretAccessKey: "user-secret", ARN: "arn:aws:iam::123456789012:user/alice", UserID: "AIDA", Account: "123456789012"}

// account has a function's role that may assume reader, which may assume writer and tagged, and a user who may assume long and short.
func account() (*sts.Server, *awscreds.Server) {
	platform := awscreds.New(awscreds.Options{Role: "gateway"})
	keys := func(id string) (awsauth.Key, bool) {
		if id == user.AccessKeyID {
			return user, true
		}
		return platform.Lookup(id)
	}
	return sts.NewWith(sts.Options{Keys: keys, Region: "eu-central-1", Roles: []sts.Role{
		{ARN: reader, MaxSession: 12 * time.Hour, Trust: []sts.Trust{{Principals: []string{"arn:aws:iam::123456789012:role/gateway"}, ExternalID: "external-1", TagSession: true, SetSourceIdentity: true}}},
		{ARN: writer, Trust: []sts.Trust{{Principals: []string{"arn:aws:iam::111122223333:role/reader"}}}},
		{ARN: tagged, Trust: []sts.Trust{{Principals: []string{"arn:aws:iam::111122223333:root"}, TagSession: true, SetSourceIdentity: true}}},
		{ARN: short, Trust: []sts.Trust{{Principals: []string{user.ARN}}}},
		{ARN: long, MaxSession: 12 * time.Hour, Trust: []sts.Trust{{Principals: []string{"arn:aws:iam::123456789012:root"}}}},
	}}), platform
}

// in is a client over a server without a socket, so that time can be a test's own.
func in(server http.Handler, key awsauth.Key) *client.Client {
	return client.New(client.Options{
		Region: "eu-central-1", Retryer: aws.NopRetryer{}, HTTPClient: direct{server},
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken),
	})
}

type direct struct{ handler http.Handler }

func (d direct) Do(request *http.Request) (*http.Response, error) {
	received := request.Clone(request.Context())
	if received.Body == nil {
		received.Body = http.NoBody
	}
	if received.Host == "" {
		received.Host = received.URL.Host
	}
	recorder := httptest.NewRecorder()
	d.handler.ServeHTTP(recorder, received)
	return recorder.Result(), nil
}

func keyOf(got aws.Credentials) awsauth.Key {
	return awsauth.Key{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken}
}

func wantCode(t *testing.T, name string, err error, want string) {
	t.Helper()
	refusal, ok := errors.AsType[smithy.APIError](err)
	if want == "" && err == nil {
		return
	}
	if !ok || refusal.ErrorCode() != want {
		t.Errorf("%s: got %v, want %s", name, err, want)
	}
}

func TestTheOfficialProviderChainsRoles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, platform := account()
		first := stscreds.NewAssumeRoleProvider(in(server, platform.Issue()), reader, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName, o.ExternalID, o.Duration = "gateway", aws.String("external-1"), time.Hour
			o.SourceIdentity = aws.String("alice")
			o.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("ml")}, {Key: aws.String("stage"), Value: aws.String("")}}
			o.TransitiveTagKeys = []string{"team"}
		})
		one, err := first.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second := stscreds.NewAssumeRoleProvider(in(server, keyOf(one)), tagged, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "gateway" })
		two, err := second.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		session, _ := server.Session(two.AccessKeyID)
		if session.RoleARN != tagged || session.SourceIdentity != "alice" || fmt.Sprint(session.Tags, session.Transitive) != "map[team:ml] [team]" {
			t.Errorf("the chain passed on %+v", session)
		}
		who, err := in(server, keyOf(two)).GetCallerIdentity(t.Context(), nil)
		if err != nil || *who.Arn != "arn:aws:sts::444455556666:assumed-role/tagged/gateway" {
			t.Errorf("got %v and error %v", who, err)
		}
		if left := time.Until(two.Expires); left != 15*time.Minute {
			t.Errorf("valid for %v, want the provider's default", left)
		}
		time.Sleep(16 * time.Minute)
		_, err = in(server, keyOf(two)).GetCallerIdentity(t.Context(), nil)
		wantCode(t, "an expired session", err, "ExpiredToken")
		server.Revoke(one.AccessKeyID)
		_, err = in(server, keyOf(one)).GetCallerIdentity(t.Context(), nil)
		wantCode(t, "a revoked session", err, "InvalidClientTokenId")
		if server.Calls("AssumeRole") != 2 || server.Calls("GetCallerIdentity") != 1 {
			t.Errorf("%d and %d calls", server.Calls("AssumeRole"), server.Calls("GetCallerIdentity"))
		}
	})
}

func TestAssumeRoleRefusesWhatTheServiceRefuses(t *testing.T) {
	t.Parallel()
	tag := func(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }
	many := make([]types.Tag, 51)
	for i := range many {
		many[i] = tag(fmt.Sprintf("t%d", i), "")
	}
	tests := []struct {
		name   string
		key    string // "function" unless set
		change func(*client.AssumeRoleInput)
		want   string
	}{
		{"a good request", "", nil, ""},
		{"no external id", "", func(r *client.AssumeRoleInput) { r.ExternalId = nil }, "AccessDenied"},
		{"another external id", "", func(r *client.AssumeRoleInput) { r.ExternalId = aws.String("external-2") }, "AccessDenied"},
		{"a role that does not trust the caller", "", func(r *client.AssumeRoleInput) { r.RoleArn = aws.String(writer) }, "AccessDenied"},
		{"a role that does not exist", "", func(r *client.AssumeRoleInput) { r.RoleArn = aws.String(reader + "s") }, "AccessDenied"},
		{"a text that is too short for an ARN", "", func(r *client.AssumeRoleInput) { r.RoleArn = aws.String("reader") }, "ValidationError"},
		{"a session name with a space", "", func(r *client.AssumeRoleInput) { r.RoleSessionName = aws.String("a b") }, "ValidationError"},
		{"a session name of one character", "", func(r *client.AssumeRoleInput) { r.RoleSessionName = aws.String("a") }, "ValidationError"},
		{"a session name of 65 characters", "", func(r *client.AssumeRoleInput) { r.RoleSessionName = aws.String(strings.Repeat("a", 65)) }, "ValidationError"},
		{"a session of 14 minutes", "", func(r *client.AssumeRoleInput) { r.DurationSeconds = aws.Int32(840) }, "ValidationError"},
		{"a chained session of more than an hour", "", func(r *client.AssumeRoleInput) { r.DurationSeconds = aws.Int32(3601) }, "ValidationError"},
		{"a long session of a user", "user", func(r *client.AssumeRoleInput) { r.RoleArn, r.DurationSeconds = aws.String(long), aws.Int32(43200) }, ""},
		{"a session that is longer than the role allows", "user", func(r *client.AssumeRoleInput) { r.RoleArn, r.DurationSeconds = aws.String(short), aws.Int32(3601) }, "ValidationError"},
		{"tags where they are allowed", "", func(r *client.AssumeRoleInput) { r.Tags = []types.Tag{tag("team", "ml ops")} }, ""},
		{"tags where they are not allowed", "reader", func(r *client.AssumeRoleInput) {
			r.RoleArn, r.Tags = aws.String(writer), []types.Tag{tag("team", "ml")}
		}, "AccessDenied"},
		{"the same tag in another case", "", func(r *client.AssumeRoleInput) { r.Tags = []types.Tag{tag("team", "a"), tag("Team", "b")} }, "InvalidParameterValue"},
		{"a reserved tag", "", func(r *client.AssumeRoleInput) { r.Tags = []types.Tag{tag("aws:team", "a")} }, "InvalidParameterValue"},
		{"a tag with a character that tags do not have", "", func(r *client.AssumeRoleInput) { r.Tags = []types.Tag{tag("team", "a;b")} }, "ValidationError"},
		{"51 tags", "", func(r *client.AssumeRoleInput) { r.Tags = many }, "ValidationError"},
		{"a transitive tag that is not there", "", func(r *client.AssumeRoleInput) { r.TransitiveTagKeys = []string{"team"} }, "InvalidParameterValue"},
		{"a tag that the chain has fixed", "reader", func(r *client.AssumeRoleInput) {
			r.RoleArn, r.Tags = aws.String(tagged), []types.Tag{tag("Fixed", "b")}
		}, "InvalidParameterValue"},
		{"a source identity where it is not allowed", "reader", func(r *client.AssumeRoleInput) { r.RoleArn, r.SourceIdentity = aws.String(writer), aws.String("alice") }, "AccessDenied"},
		{"another source identity than the chain's", "reader", func(r *client.AssumeRoleInput) { r.RoleArn, r.SourceIdentity = aws.String(tagged), aws.String("bob") }, "AccessDenied"},
		{"session policies, which are not part of this", "", func(r *client.AssumeRoleInput) { r.Policy = aws.String("{}") }, "MalformedQueryString"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, platform := account()
			key := platform.Issue()
			request := func() *client.AssumeRoleInput {
				return &client.AssumeRoleInput{RoleArn: aws.String(reader), RoleSessionName: aws.String("gateway"), ExternalId: aws.String("external-1")}
			}
			switch test.key {
			case "user":
				key = user
			case "reader":
				first := request()
				first.Tags, first.TransitiveTagKeys, first.SourceIdentity = []types.Tag{tag("fixed", "a")}, []string{"fixed"}, aws.String("alice")
				got, err := in(server, key).AssumeRole(t.Context(), first)
				if err != nil {
					t.Fatal(err)
				}
				key = awsauth.Key{AccessKeyID: *got.Credentials.AccessKeyId, SecretAccessKey: *got.Credentials.SecretAccessKey, SessionToken: *got.Credentials.SessionToken}
			}
			wanted := request()
			if test.change != nil {
				test.change(wanted)
			}
			_, err := in(server, key).AssumeRole(t.Context(), wanted)
			wantCode(t, test.name, err, test.want)
		})
	}
}

func TestParametersThatNoClientSendsAreRefused(t *testing.T) {
	t.Parallel()
	server, _ := account()
	for name, body := range map[string]string{
		"a misspelt parameter":    "RoleArn=" + url.QueryEscape(reader) + "&RoleSessionName=gateway&WebIdentityToken=x.y.z&ExternalID=1",
		"a parameter twice":       "RoleArn=" + url.QueryEscape(reader) + "&RoleSessionName=gateway&RoleSessionName=gateway&WebIdentityToken=x.y.z",
		"a duration in words":     "RoleArn=" + url.QueryEscape(reader) + "&RoleSessionName=gateway&WebIdentityToken=x.y.z&DurationSeconds=hour",
		"no token":                "RoleArn=" + url.QueryEscape(reader) + "&RoleSessionName=gateway",
		"no role":                 "RoleSessionName=gateway&WebIdentityToken=x.y.z",
		"a token that is not one": "RoleArn=" + url.QueryEscape(reader) + "&RoleSessionName=gateway&WebIdentityToken=x.y.z",
	} {
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, form("/", "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&"+body))
		if recorder.Code != http.StatusBadRequest || strings.Contains(recorder.Body.String(), "<AccessKeyId>") {
			t.Errorf("%s: got %d %s", name, recorder.Code, recorder.Body)
		}
	}
}
