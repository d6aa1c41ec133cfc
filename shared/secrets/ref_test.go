package secrets_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestReferencesAreReadInEverySpelling(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       secrets.Ref
	}{
		{"a plain name", "openai-key", secrets.Ref{Name: "openai-key"}},
		{"a plain name with a field", "openai#key", secrets.Ref{Name: "openai", Field: "key"}},
		{"an ARN", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a/b-AbCdEf", secrets.Ref{Name: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a/b-AbCdEf"}},
		{"an environment variable", "env://OPENAI_API_KEY", secrets.Ref{Store: "env", Name: "OPENAI_API_KEY"}},
		{"a field of an environment variable", "env://KEYS#openai", secrets.Ref{Store: "env", Name: "KEYS", Field: "openai"}},
		{"a file", "file:///run/secrets/key", secrets.Ref{Store: "file", Name: "/run/secrets/key"}},
		{"a field of a file", "file:///run/secrets/keys.json#openai", secrets.Ref{Store: "file", Name: "/run/secrets/keys.json", Field: "openai"}},
		{"AWS Secrets Manager", "aws-sm://team/openai?version=AWSPREVIOUS#key", secrets.Ref{Store: "aws-sm", Name: "team/openai", Version: "AWSPREVIOUS", Field: "key"}},
		{"Google Secret Manager", "gcp-sm://projects/p/secrets/s?version=7", secrets.Ref{Store: "gcp-sm", Name: "projects/p/secrets/s", Version: "7"}},
		{"Azure Key Vault", "azure-kv://my-vault/openai", secrets.Ref{Store: "azure-kv", Name: "my-vault/openai"}},
		{"the braces spelling for AWS", "{vault://aws/BEDROCK_SECRET_ACCESS_KEY}", secrets.Ref{Store: "aws-sm", Name: "BEDROCK_SECRET_ACCESS_KEY"}},
		{"the braces spelling for Google", "{vault://gcp/VERTEX_SERVICE_ACCOUNT_JSON}", secrets.Ref{Store: "gcp-sm", Name: "VERTEX_SERVICE_ACCOUNT_JSON"}},
		{"the braces spelling for Azure", "{vault://azure/KEY#field}", secrets.Ref{Store: "azure-kv", Name: "KEY", Field: "field"}},
		{"the braces spelling for the environment", "{vault://env/KEY}", secrets.Ref{Store: "env", Name: "KEY"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := secrets.ParseRef(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadReferencesAreRefusedWithoutRepeatingThem(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"nothing", "", "names no secret"},
		{"only a store", "env://", "names no secret"},
		{"an OpenAI key pasted by mistake", "sk-proj-" + canary, "looks like a secret"},
		{"a token pasted by mistake", "eyJ" + canary, "looks like a secret"},
		{"a private key pasted by mistake", "-----BEGIN PRIVATE KEY-----" + canary, "looks like a secret"},
		{"an unknown store", "redis://" + canary, "unknown store"},
		{"an unknown store in braces", "{vault://hcv/" + canary + "}", "must have the form"},
		{"a brace that does not close", "{vault://aws/" + canary, "must have the form"},
		{"braces around something else", "{" + canary + "}", "must have the form"},
		{"an empty field", "env://" + canary + "#", "empty #field"},
		{"a second field", "env://" + canary + "#a#b", "control character"},
		{"a store within a store", "://env://" + canary, "second ://"},
		{"a version of an environment variable", "env://" + canary + "?version=1", "no versions"},
		{"an unknown option", "aws-sm://" + canary + "?region=x", "one option only"},
		{"an empty version", "aws-sm://" + canary + "?version=", "one option only"},
		{"a relative path", "file://" + canary, "absolute path"},
		{"a path that climbs", "file:///run/../" + canary, "absolute path"},
		{"a space", "env://A " + canary, "control character"},
		{"a line break", "env://A\n" + canary, "control character"},
		{"a path as a variable name", "env://a/" + canary, "one environment variable"},
		{"too long", "env://" + strings.Repeat(canary, 200), "longer than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := secrets.ParseRef(test.text)
			if err == nil {
				t.Fatalf("read as %+v", got)
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %q, want a text with %q and without what was written", err, test.want)
			}
		})
	}
}

func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"openai", "env://A#b", "file:///a/b#c", "aws-sm://a/b?version=%20x#f", "{vault://aws/A/b#c}", "gcp-sm://p?version=a%26b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := secrets.ParseRef(text)
		if err != nil {
			return
		}
		again, err := secrets.ParseRef(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q is read as %+v, written as %q, and read again as %+v (%v)", text, ref, ref.String(), again, err)
		}
	})
}
