package rotation_test

import (
	"testing"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

func TestAContentKeepsWhatIsNotReplaced(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, content string
		object        bool
		want          string
	}{
		{"an object", `{"old": "x", "n": 1.50, "o": {"b": 1, "a": [null]}}`, true, `{"n":1.50,"o":{"b":1,"a":[null]},"old":"new"}`},
		{"an object without the member", `{}`, true, `{"first":"new"}`},
		{"null", `null`, false, `{"first":"new"}`},
		{"a text", `"x"`, false, `{"first":"new"}`},
		{"a key alone", `sk-1`, false, `{"first":"new"}`},
		{"an object and something else", `{} {}`, false, `{"first":"new"}`},
		{"a member given twice", `{"old":"x","old":"y"}`, false, `{"first":"new"}`},
		{"nothing", ``, false, `{"first":"new"}`},
	} {
		content, ok := rotation.ParseContent(secrets.NewValue(test.content))
		if ok != test.object {
			t.Errorf("%s: an object: %v", test.name, ok)
		}
		name := content.Name("first", "old")
		got, err := content.With(map[string]string{name: "new"})
		if err != nil || got.Reveal() != test.want {
			t.Errorf("%s: got %s, error %v", test.name, got.Reveal(), err)
		}
		if again, ok := rotation.ParseContent(got); !ok || again.Text(name) != "new" || again.Text("n") != "" {
			t.Errorf("%s: read as %q", test.name, again.Text(name))
		}
	}
}
