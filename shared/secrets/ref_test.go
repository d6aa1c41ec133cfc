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
		{"an ARN with its store", "aws-sm://arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a/b-AbCdEf#k", secrets.Ref{Store: "aws-sm", Name: "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a/b-AbCdEf", Field: "k"}},
		{"a regional secret of Google", "gcp-sm://projects/p/locations/europe-west3/secrets/s", secrets.Ref{Store: "gcp-sm", Name: "projects/p/locations/europe-west3/secrets/s"}},
		{"a full version name of Google", "gcp-sm://projects/123/secrets/s/versions/7#k", secrets.Ref{Store: "gcp-sm", Name: "projects/123/secrets/s", Version: "7", Field: "k"}},
		{"the same version twice", "gcp-sm://s/versions/7?version=7", secrets.Ref{Store: "gcp-sm", Name: "s", Version: "7"}},
		{"an alias of Google", "gcp-sm://s?version=previous", secrets.Ref{Store: "gcp-sm", Name: "s", Version: "previous"}},
		{"a version of Azure Key Vault", "azure-kv://my-vault/openai?version=0123456789abcdef0123456789ABCDEF", secrets.Ref{Store: "azure-kv", Name: "my-vault/openai", Version: "0123456789abcdef0123456789ABCDEF"}},
		{"Azure Key Vault without its vault", "azure-kv://openai", secrets.Ref{Store: "azure-kv", Name: "openai"}},
		{"one file of a mounted directory", "file:///var/run/secrets/openai/#api-key", secrets.Ref{Store: "file", Name: "/var/run/secrets/openai", Field: "api-key"}},
		{"the braces spelling for Azure", "{vault://azure/KEY/field}", secrets.Ref{Store: "azure-kv", Name: "KEY", Field: "field"}},
		{"a field in braces", "{vault://aws/team%2Fopenai/key}", secrets.Ref{Store: "aws-sm", Name: "team/openai", Field: "key"}},
		{"a slash at the end in braces, which means no field", "{vault://aws/team/openai/}", secrets.Ref{Store: "aws-sm", Name: "team/openai"}},
		{"the current version in braces", "{vault://aws/openai/key#1}", secrets.Ref{Store: "aws-sm", Name: "openai", Field: "key"}},
		{"the previous version in braces", "{vault://aws/openai#2}", secrets.Ref{Store: "aws-sm", Name: "openai", Version: "AWSPREVIOUS"}},
		{"a numbered version in braces", "{vault://gcp/openai/key#12}", secrets.Ref{Store: "gcp-sm", Name: "openai", Version: "12", Field: "key"}},
		{"a variable in braces with hyphens", "{vault://env/my-openai-key/k}", secrets.Ref{Store: "env", Name: "MY_OPENAI_KEY", Field: "k"}},
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
		{"a name that AWS cannot have", "aws-sm://" + canary + "!", "letters, digits and"},
		{"a short ARN", "aws-sm://arn:aws:secretsmanager:" + canary, "full ARN"},
		{"an ARN of another service", "aws-sm://arn:aws:ssm:eu-west-1:123456789012:parameter/" + canary, "full ARN"},
		{"a name that Google cannot have", "gcp-sm://" + canary + ".x", "Google Secret Manager has a name"},
		{"an unfinished resource name", "gcp-sm://projects/" + canary, "Google Secret Manager has a name"},
		{"the newest version of Google", "gcp-sm://" + canary + "/versions/latest", "may not be in use yet"},
		{"the newest version of Google as an option", "gcp-sm://" + canary + "?version=latest", "may not be in use yet"},
		{"two versions", "gcp-sm://" + canary + "/versions/7?version=8", "two versions"},
		{"an empty version in a name", "gcp-sm://" + canary + "/versions/", "two versions"},
		{"a version that Google cannot have", "gcp-sm://" + canary + "?version=0", "number or an alias"},
		{"a name that Key Vault cannot have", "azure-kv://vault/" + canary + "_x", "letters, digits and hyphens"},
		{"a whole host as a vault", "azure-kv://evil.example.com/" + canary, "short name of the vault"},
		{"a version that Key Vault cannot have", "azure-kv://vault/" + canary + "?version=7", "32 hexadecimal digits"},
		{"a field behind # in braces", "{vault://aws/" + canary + "#key}", "a field is written"},
		{"a third version in braces", "{vault://aws/" + canary + "#3}", "1 (current) or 2"},
		{"a field behind # in braces for Google", "{vault://gcp/" + canary + "#key}", "version is a number"},
		{"a version in braces where none fits", "{vault://azure/" + canary + "#1}", "takes no #version"},
		{"a version of a variable in braces", "{vault://env/" + canary + "#1}", "takes no #version"},
		{"a stray percent sign in braces", "{vault://aws/" + canary + "%zz}", "percent-encoded"},
		{"an option in braces", "{vault://aws/" + canary + "?region=x}", "control character"},
		{"nothing in braces", "{vault://aws/}", "names no secret"},
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
	for _, seed := range []string{"openai", "env://A#b", "file:///a/b#c", "aws-sm://a/b?version=%20x#f", "{vault://aws/A/b#c}", "gcp-sm://p?version=a%26b",
		"gcp-sm://projects/p/locations/l/secrets/s/versions/3", "azure-kv://vault/n?version=0123456789abcdef0123456789abcdef", "{vault://gcp/a%2Fb/c#1}", "file:///a/", "file:///", "{vault://env/a-b}"} {
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

func TestAWholeSecretIsOneWithoutItsParts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		ref  secrets.Ref
		want string
	}{
		{"a plain name", secrets.Ref{Name: "key"}, ""},
		{"a name of this store", secrets.Ref{Store: secrets.StoreGCP, Name: "projects/p/secrets/key"}, ""},
		{"a version", secrets.Ref{Name: "key", Version: "7"}, `read secret "key?version=7": a secret is replaced as a whole; leave out its version`},
		{"a version in the name", secrets.Ref{Name: "projects/p/secrets/key/versions/7"}, `read secret "projects/p/secrets/key/versions/7": a secret is replaced as a whole; leave out its version`},
		{"a field", secrets.Ref{Name: "key", Field: "f"}, `read secret "key#f": a secret is replaced as a whole; leave out its #field`},
		{"another store", secrets.Ref{Store: secrets.StoreAWS, Name: "key"}, `read secret "aws-sm://key": this store is for gcp-sm://`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			own, err := test.ref.Whole(secrets.StoreGCP)
			if test.want == "" && (err != nil || own.Store != secrets.StoreGCP || own.Name != test.ref.Name) {
				t.Errorf("got %v and error %v", own, err)
			}
			if test.want != "" && (err == nil || err.Error() != test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}
