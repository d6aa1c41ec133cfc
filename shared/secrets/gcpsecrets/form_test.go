package gcpsecrets

import (
	"regexp"
	"testing"
)

func FuzzNumberOf(f *testing.F) {
	for _, seed := range []string{
		"", "projects/1/secrets/s/versions/7", "projects/1/secrets/s/versions/07", "projects/1/secrets/s/versions/", "versions/7", "/versions/7x",
		"/versions/1234567890123456789", "/versions/12345678901234567890", "/versions/7/versions/8", "/versions/7\n", "/versions/latest",
	} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`/versions/([1-9][0-9]{0,18})$`)
	f.Fuzz(func(t *testing.T, name string) {
		got, ok := numberOf(name)
		want := form.FindStringSubmatch(name)
		if ok != (want != nil) || ok && got != want[1] {
			t.Errorf("the number of %q: got %q (%t), want %q", name, got, ok, want)
		}
	})
}
