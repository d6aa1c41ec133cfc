package caller

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"
)

func hashOf(n int) [sha256.Size]byte {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func TestTheMemoryOfTokensIsBounded(t *testing.T) {
	t.Parallel()
	var v verified
	now := time.Unix(1e9, 0)
	for n := range 3 * rememberMost {
		v.put(hashOf(n), &proven{principal: &Principal{Expires: now.Add(time.Hour)}}, now)
	}
	if len(v.entries) != rememberMost {
		t.Errorf("%d tokens are remembered, want %d", len(v.entries), rememberMost)
	}
	if _, ok := v.get(hashOf(3*rememberMost-1), now); !ok {
		t.Error("the newest token is forgotten")
	}
}

func TestTheMemoryOfTokensGoesByTheWallClock(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	tests := []struct {
		name    string
		expires time.Duration
		after   time.Duration
		want    bool
	}{
		{"a token is remembered for five minutes", time.Hour, 5*time.Minute - 1, true},
		{"and no longer", time.Hour, 5 * time.Minute, false},
		{"a token is forgotten when it ends", time.Minute, time.Minute, false},
		{"a token that has ended is not remembered", -time.Second, 0, false},
		{"when the clock is set back nothing is known", time.Hour, -time.Second, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var v verified
			v.put(hashOf(1), &proven{principal: &Principal{Expires: now.Add(test.expires)}}, now)
			if _, ok := v.get(hashOf(1), now.Add(test.after)); ok != test.want {
				t.Errorf("remembered: %v, want %v", ok, test.want)
			}
		})
	}
}

// FuzzParseKeys proves that no key set panics, now or when its keys are used, and that no weak key is taken from one.
func FuzzParseKeys(f *testing.F) {
	for _, seed := range []string{
		`{"keys":[]}`, `{}`, `null`, `{"keys":[{"kty":"oct","k":"AA"}]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","use":"sig","kid":"1"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","key_ops":["verify"]}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`,
	} {
		f.Add([]byte(seed), "AAAA")
	}
	f.Fuzz(func(t *testing.T, set []byte, signature string) {
		keys, err := parseKeys(set)
		if (len(keys) == 0) == (err == nil) {
			t.Fatalf("got %d keys and %v", len(keys), err)
		}
		for _, k := range keys {
			if key, ok := k.key.(*rsa.PublicKey); ok && key.Size() < leastModulusBits/8 {
				t.Errorf("a key of %d bytes is taken", key.Size())
			}
			for _, algorithm := range []string{"RS256", "PS512", "ES256", "ES512", "EdDSA", "none", "HS256"} {
				candidate := &jws{header: header{Algorithm: algorithm, KeyID: k.id}, signed: "a.b", signature: signature}
				// EdDSA has public keys of small order, with which an issuer could let anything verify.
				if k.fits(candidate) && k.verifies(candidate) && algorithm != "EdDSA" {
					t.Errorf("the signature %q verifies with %s", signature, algorithm)
				}
			}
		}
	})
}
