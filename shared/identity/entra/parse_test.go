package entra

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

// These look inside because what is read does not come back out except in requests and errors.

// FuzzParseCertificate holds certificates to coming with their key, and errors to not quoting them.
func FuzzParseCertificate(f *testing.F) {
	for _, name := range []string{"older", "older-with-password", "newer"} {
		content, err := os.ReadFile(filepath.Join("testdata", name+".pfx"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(content), "")
		f.Add(string(content), "canary-password")
	}
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "")
	f.Fuzz(func(t *testing.T, stored, password string) {
		certificates, key, err := parseCertificate(secrets.NewValue(stored), secrets.NewValue(password))
		if err == nil && (len(certificates) == 0 || key == nil) {
			t.Error("half a certificate is accepted")
		}
		if err != nil && len(stored) > 20 && strings.Contains(err.Error(), stored) {
			t.Errorf("the error quotes what is stored: %v", err)
		}
	})
}

// FuzzParseCodes holds what is shown of a refusal to names and numbers.
func FuzzParseCodes(f *testing.F) {
	f.Add(`{"error":"invalid_client","error_description":"AADSTS7000215: x","error_codes":[7000215]}`)
	f.Add(`{"error":{"code":"x"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		code, numbers := parseCodes([]byte(body))
		if strings.ContainsAny(code, " \"'<>:;\r\n") || len(code) > 64 || len(numbers) > 4 {
			t.Errorf("%q gives %q and %v", body, code, numbers)
		}
	})
}
