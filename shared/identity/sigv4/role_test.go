package sigv4_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/identity/sigv4"
)

const (
	reader = "arn:aws:iam::111122223333:role/team/reader"
	writer = "arn:aws:iam::444455556666:role/writer"
)

// TestAChainThatSTSWouldRefuseIsRefusedBeforeAnyRequest has a row for each limit of
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html.
func TestAChainThatSTSWouldRefuseIsRefusedBeforeAnyRequest(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("tag", i)] = ""
	}
	tests := []struct {
		name  string
		chain []sigv4.Role
		want  string
	}{
		{"one role", []sigv4.Role{{ARN: reader}}, ""},
		{"a role of another partition", []sigv4.Role{{ARN: "arn:aws-us-gov:iam::111122223333:role/reader"}}, ""},
		{"a role with every option at its limit", []sigv4.Role{{ARN: reader, ExternalID: "ab", SessionName: strings.Repeat("a", 64), SourceIdentity: "a@b.c", Duration: time.Hour,
			Tags: map[string]string{strings.Repeat("ä", 128): strings.Repeat("ö", 256), "a b": ""}, TransitiveTags: []string{"a b"}}}, ""},
		{"two roles of an hour", []sigv4.Role{{ARN: reader, Duration: time.Hour}, {ARN: writer, Duration: time.Hour}}, ""},
		{"the same source identity twice", []sigv4.Role{{ARN: reader, SourceIdentity: "alice"}, {ARN: writer, SourceIdentity: "alice"}}, ""},
		{"no role", nil, "the chain has no role"},
		{"a name in place of an ARN", []sigv4.Role{{ARN: "reader"}}, `role 1 of the chain: role "reader" does not look like`},
		{"a user", []sigv4.Role{{ARN: "arn:aws:iam::111122223333:user/alice"}}, "does not look like"},
		{"a session", []sigv4.Role{{ARN: "arn:aws:sts::111122223333:assumed-role/reader/x"}}, "does not look like"},
		{"a role without a name", []sigv4.Role{{ARN: "arn:aws:iam::111122223333:role/"}}, "does not look like"},
		{"a short account", []sigv4.Role{{ARN: "arn:aws:iam::11112222333:role/reader"}}, "does not look like"},
		{"a role with a space", []sigv4.Role{{ARN: reader + " x"}}, "does not look like"},
		{"a session name with a space", []sigv4.Role{{ARN: reader, SessionName: "a b"}}, "session name"},
		{"a session name of one character", []sigv4.Role{{ARN: reader, SessionName: "a"}}, "session name"},
		{"a session name of 65 characters", []sigv4.Role{{ARN: reader, SessionName: strings.Repeat("a", 65)}}, "session name"},
		{"an external id of one character", []sigv4.Role{{ARN: reader, ExternalID: "a"}}, "external id"},
		{"an external id with a space", []sigv4.Role{{ARN: reader, ExternalID: "a b"}}, "external id"},
		{"a source identity with a slash", []sigv4.Role{{ARN: reader, SourceIdentity: "a/b"}}, "source identity"},
		{"a session of 14 minutes", []sigv4.Role{{ARN: reader, Duration: 14 * time.Minute}}, "from 15 minutes to 12 hours"},
		{"a session of 13 hours", []sigv4.Role{{ARN: reader, Duration: 13 * time.Hour}}, "from 15 minutes to 12 hours"},
		{"a session of a fraction of a second", []sigv4.Role{{ARN: reader, Duration: time.Hour - time.Millisecond}}, "whole seconds"},
		{"a function's own role for more than an hour", []sigv4.Role{{ARN: reader, Duration: 2 * time.Hour}}, "role 1 of the chain: a session of a role that is assumed with another role's credentials, such as a function's own, lasts at most 1 hour, not 2h0m0s"},
		{"a second role for more than an hour", []sigv4.Role{{ARN: reader}, {ARN: writer, Duration: time.Hour + time.Second}}, "role 2 of the chain: a session of a role that is assumed with another role's credentials lasts at most 1 hour"},
		{"a second role that is wrong", []sigv4.Role{{ARN: reader}, {ARN: "writer"}}, "role 2 of the chain"},
		{"51 tags", []sigv4.Role{{ARN: reader, Tags: many}}, "at most 50 tags"},
		{"a tag without a name", []sigv4.Role{{ARN: reader, Tags: map[string]string{"": "a"}}}, `session tag ""`},
		{"a tag with a semicolon", []sigv4.Role{{ARN: reader, Tags: map[string]string{"a;b": ""}}}, `session tag "a;b"`},
		{"a tag's value with a semicolon", []sigv4.Role{{ARN: reader, Tags: map[string]string{"a": "b;c"}}}, `the value of session tag "a"`},
		{"a tag's value that is too long", []sigv4.Role{{ARN: reader, Tags: map[string]string{"a": strings.Repeat("b", 257)}}}, `the value of session tag "a"`},
		{"a reserved tag", []sigv4.Role{{ARN: reader, Tags: map[string]string{"AWS:x": ""}}}, "reserved"},
		{"the same tag in two cases", []sigv4.Role{{ARN: reader, Tags: map[string]string{"team": "", "Team": ""}}}, "is there twice"},
		{"a transitive tag that is no tag", []sigv4.Role{{ARN: reader, TransitiveTags: []string{"team"}}}, `transitive tag "team"`},
		{"a transitive tag that is set again", []sigv4.Role{{ARN: reader, Tags: map[string]string{"team": "a"}, TransitiveTags: []string{"team"}}, {ARN: writer, Tags: map[string]string{"Team": "b"}}},
			`role 2 of the chain: session tag "Team" is a transitive tag of role 1`},
		{"a source identity that changes", []sigv4.Role{{ARN: reader, SourceIdentity: "alice"}, {ARN: writer, SourceIdentity: "bob"}}, "role 2 of the chain: the source identity was set by role 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			roles, err := sigv4.NewRoles(sigv4.RolesOptions{STSOptions: sigv4.STSOptions{Getenv: environment(lambda(session)), HTTP: silent(t)}})
			if err != nil {
				t.Fatal(err)
			}
			who, err := roles.Assume(test.chain...)
			if test.want == "" && (err != nil || who == nil) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSTSIsAskedWhereItIsSafe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, region, endpoint string
		env                    map[string]string
		want                   string
	}{
		{"the region's own", "eu-central-1", "", nil, ""},
		{"the function's region", "", "", map[string]string{"AWS_REGION": "eu-central-1"}, ""},
		{"a private endpoint", "eu-central-1", "https://vpce-1-2.sts.eu-central-1.vpce.amazonaws.com", nil, ""},
		{"this machine", "eu-central-1", "http://127.0.0.1:4566", nil, ""},
		{"no region", "", "", nil, "no AWS region"},
		{"a region that is a host", "evil.example/", "", nil, "does not look like eu-central-1"},
		{"an endpoint in the clear", "eu-central-1", "http://sts.example", nil, "must begin with https://"},
		{"an endpoint in the clear from the environment", "eu-central-1", "", map[string]string{"AWS_ENDPOINT_URL_STS": "http://sts.example"}, "must begin with https://"},
		{"an endpoint with a path", "eu-central-1", "https://sts.example/path", nil, "a host and nothing else"},
		{"an endpoint with a password", "eu-central-1", "https://a:b@sts.example", nil, "a host and nothing else"},
		{"an endpoint with a query", "eu-central-1", "https://sts.example?x=1", nil, "a host and nothing else"},
		{"a bare host", "eu-central-1", "sts.example", nil, "a host and nothing else"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			where := sigv4.STSOptions{Region: test.region, Endpoint: test.endpoint, Getenv: environment(test.env), HTTP: silent(t)}
			_, roles := sigv4.NewRoles(sigv4.RolesOptions{STSOptions: where})
			_, web := sigv4.NewWebIdentity(sigv4.WebIdentityOptions{STSOptions: where, RoleARN: reader, Token: fixed("t")})
			_, outbound := sigv4.NewOutbound(sigv4.OutboundOptions{STSOptions: where, Audience: "a"})
			for _, err := range []error{roles, web, outbound} {
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			}
		})
	}
}
