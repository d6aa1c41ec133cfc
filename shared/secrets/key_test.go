package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
)

func TestAKeyIs32BytesInEitherSpelling(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte{0xfb, 0xff}, 16) // has + and / in base64
	for _, text := range []string{
		hex.EncodeToString(want), base64.StdEncoding.EncodeToString(want), base64.RawStdEncoding.EncodeToString(want),
		base64.URLEncoding.EncodeToString(want), base64.RawURLEncoding.EncodeToString(want), " " + hex.EncodeToString(want) + "\n",
	} {
		if got, err := secrets.ParseKey(secrets.NewValue(text)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q gives %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a password of somebody's choice!", hex.EncodeToString(want[:31]), strings.Repeat("ab", 33)} {
		if got, err := secrets.ParseKey(secrets.NewValue(text)); err == nil || got != nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q gives %x, %v", text, got, err)
		}
	}
}
