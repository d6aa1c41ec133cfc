package sigv4

import (
	"strings"
	"testing"
)

// FuzzParseARN looks inside because what STS answers does not come back out except as a name in a log, which must be one line.
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
