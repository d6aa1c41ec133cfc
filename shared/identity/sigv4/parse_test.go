package sigv4

import (
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/identity"
)

// These look inside because what STS answers does not come back out except in signatures and logs.

// FuzzParseARN holds names in logs to one line.
func FuzzParseARN(f *testing.F) {
	f.Add(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/a</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	f.Add(`<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>`)
	f.Add("{}")
	f.Fuzz(func(t *testing.T, reply string) {
		arn := parseARN([]byte(reply))
		if arn != "" && (!strings.HasPrefix(arn, "arn:") || strings.ContainsAny(arn, " \t\r\n\x00")) {
			t.Errorf("%q gives %q", reply, arn)
		}
	})
}

// FuzzParseIssued holds credentials to having all their parts.
func FuzzParseIssued(f *testing.F) {
	const inner = `<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>`
	f.Add(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>` + inner + `</AssumeRoleResult></AssumeRoleResponse>`)
	f.Add(`<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>` + inner + `</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
	f.Add(`<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>`)
	f.Fuzz(func(t *testing.T, reply string) {
		got, err := parseIssued([]byte(reply), roleSource)
		if err == nil && (got.AccessKeyID == "" || got.SecretAccessKey == "" || got.SessionToken == "" || !got.CanExpire) {
			t.Errorf("%q gives incomplete credentials", reply)
		}
		if err != nil && got.HasKeys() {
			t.Errorf("%q gives keys with an error", reply)
		}
	})
}

// FuzzParseOutbound holds tokens to being ones, and their names to one line.
func FuzzParseOutbound(f *testing.F) {
	f.Add(`<GetWebIdentityTokenResponse><GetWebIdentityTokenResult><WebIdentityToken>e30.eyJzdWIiOiJhcm46YXdzOmlhbTo6MTpyb2xlL3IifQ.c2ln</WebIdentityToken><Expiration>2100-01-01T00:00:00Z</Expiration></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>`)
	f.Add(`<GetWebIdentityTokenResponse/>`)
	f.Fuzz(func(t *testing.T, reply string) {
		got, err := parseOutbound([]byte(reply), identity.Principal{})
		if err == nil && (strings.Count(got.Value.Reveal(), ".") != 2 || got.Expires.IsZero() || strings.ContainsAny(got.Principal.Name, " \r\n")) {
			t.Errorf("%q gives a token that is none, or one without an expiry, as %q", reply, got.Principal.Name)
		}
	})
}

// FuzzParseCode holds what is shown of a refusal to names.
func FuzzParseCode(f *testing.F) {
	f.Add(`<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>`)
	f.Fuzz(func(t *testing.T, reply string) {
		if code := parseCode([]byte(reply)); strings.ContainsAny(code, " \"'<>\r\n:;") || len(code) > 64 {
			t.Errorf("%q gives %q", reply, code)
		}
	})
}
