package keyvault

import (
	"regexp"
	"testing"
)

func FuzzChecksAreTheirForms(f *testing.F) {
	for _, seed := range []string{
		"", "vault.azure.net", "vault", "vault..net", ".azure.net", "azure.net.", "Vault.azure.net", "vault.azure.cn\n",
		"https://v.vault.azure.net/secrets/my-Key/0123456789abcdef0123456789ABCDEF", "/secrets/k/0123456789abcdef0123456789ABCDEF/",
		"/secrets/k/0123456789abcdef0123456789ABCDEF//", "/secrets//0123456789abcdef0123456789ABCDEF", "/keys/k/0123456789abcdef0123456789ABCDEF",
		"/secrets/k/0123456789abcdef0123456789ABCDE", "/secrets/k/0123456789abcdef0123456789ABCDEG", "/secrets/k_/0123456789abcdef0123456789ABCDEF", "/secrets/k",
	} {
		f.Add(seed)
	}
	suffix := regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	id := regexp.MustCompile(`/secrets/[0-9a-zA-Z-]+/([0-9a-fA-F]{32})/?$`)
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := isSuffix(text), suffix.MatchString(text); got != want {
			t.Errorf("%q as a suffix: got %t, want %t", text, got, want)
		}
		got, ok := versionOf(text)
		want := id.FindStringSubmatch(text)
		if ok != (want != nil) || ok && got != want[1] {
			t.Errorf("the version in %q: got %q (%t), want %q", text, got, ok, want)
		}
	})
}

func TestTheTenantIsFoundInAChallenge(t *testing.T) {
	t.Parallel()
	const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	for _, test := range []struct{ name, challenge, want string }{
		{"as the service writes it", `Bearer authorization="https://login.microsoftonline.com/` + tenant + `", resource="https://vault.azure.net"`, tenant},
		{"with a slash at its end", `Bearer authorization="https://login.windows.net/` + tenant + `/"`, tenant},
		{"a tenant that is no id", `Bearer authorization="https://login.windows.net/common"`, ""},
		{"an id with another character", `Bearer authorization="https://login.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db4g"`, ""},
		{"an id of other groups", `Bearer authorization="https://login.windows.net/72f988bf86f1-41af-91ab-2d7c-d011db47"`, ""},
		{"a path before it", `Bearer authorization="https://login.windows.net/x/` + tenant + `"`, ""},
		{"no host", `Bearer authorization="https:///` + tenant + `"`, ""},
		{"quotes that do not close", `Bearer authorization="https://login.windows.net/` + tenant, ""},
		{"plain http", `Bearer authorization="http://login.windows.net/` + tenant + `"`, ""},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok := tenantOf(test.challenge)
			if ok != (test.want != "") || ok && got != test.want {
				t.Errorf("got %q (%t), want %q", got, ok, test.want)
			}
		})
	}
}
