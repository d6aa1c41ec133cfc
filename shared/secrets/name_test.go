package secrets

import (
	"regexp"
	"strings"
	"testing"
)

// forms are the checks of this package and what they mean.
var forms = []struct {
	name  string
	check func(string) bool
	form  string
}{
	{"a name of AWS", isAWSName, `^[A-Za-z0-9/_+=.@-]{1,512}$`},
	{"an ARN of AWS", isAWSARN, `^arn:aws(-[a-z]+)*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+$`},
	{"a version of AWS", func(s string) bool { return s != "" && isAWSVersion(s) }, `^[!-~]{1,256}$`},
	{"a name of Google", isGCPName, `^(projects/[a-z0-9][a-z0-9.:-]*/(locations/[a-z0-9-]+/)?secrets/)?[A-Za-z0-9_-]{1,255}$`},
	{"a version of Google", isGCPVersion, `^([1-9][0-9]{0,18}|[A-Za-z][A-Za-z0-9_-]{0,62})$`},
	{"a name of Key Vault", isVaultName, `^([A-Za-z][A-Za-z0-9-]{2,23}/)?[A-Za-z0-9-]{1,127}$`},
	{"a version of Key Vault", isVaultVersion, `^[0-9a-fA-F]{32}$`},
	{"a key of a mounted secret", isMountedKey, `^[-._a-zA-Z0-9]{1,253}$`},
}

func FuzzChecksAreTheirForms(f *testing.F) {
	for _, seed := range []string{
		"", "a", "openai-key", "team/openai", "a b", "a\n", "é", "a\x00",
		"arn:aws:secretsmanager:eu-central-1:123456789012:secret:a/b-AbCdEf", "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:x",
		"arn:aws-:secretsmanager:eu-central-1:123456789012:secret:a", "arn:awsx:secretsmanager:eu-central-1:123456789012:secret:a",
		"arn:aws:secretsmanager:eu-central-1:12345678901:secret:a", "arn:aws:secretsmanager::123456789012:secret:a", "arn:aws:secretsmanager:e:123456789012:secret:a:b",
		"projects/p/secrets/s", "projects/p/locations/l/secrets/s", "projects/-p/secrets/s", "projects//secrets/s", "projects/p/x/l/secrets/s",
		"projects/p/locations//secrets/s", "projects/p/secrets/", "projects/p/s", "projects/example.com:p/secrets/s", "p/q/r/s/t/u/v",
		"0", "7", "07", "1234567890123456789", "12345678901234567890", "a1", "1a", "-a", strings.Repeat("a", 63), strings.Repeat("a", 64),
		"vault/name", "va/name", "vault/", "/name", "1vault/name", "vault/a/b", strings.Repeat("v", 24) + "/n", strings.Repeat("v", 25) + "/n",
		"0123456789abcdef0123456789ABCDEF", "0123456789abcdef0123456789ABCDEG", "0123456789abcdef0123456789ABCDE",
		strings.Repeat("a", 127), strings.Repeat("a", 128), strings.Repeat("a", 253), strings.Repeat("a", 254), strings.Repeat("a", 255), strings.Repeat("a", 256),
		strings.Repeat("a", 257), strings.Repeat("a", 512), strings.Repeat("a", 513),
	} {
		f.Add(seed)
	}
	meanings := make([]*regexp.Regexp, len(forms))
	for i, form := range forms {
		// Without the flag for several lines $ is the very end, as it has to be.
		meanings[i] = regexp.MustCompile(form.form)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, form := range forms {
			if got, want := form.check(text), meanings[i].MatchString(text); got != want {
				t.Errorf("%q as %s: got %t, want %t", text, form.name, got, want)
			}
		}
	})
}
