package caller

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/raced"
	"github.com/postern-ai/postern/shared/config"
)

func keyOf(n int) [sha256.Size]byte {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// TestHeadersThatAreBelievedAreDeletedUnlessOwned keeps an authenticator from reading a header that Guard knows nothing of.
func TestHeadersThatAreBelievedAreDeletedUnlessOwned(t *testing.T) {
	t.Parallel()
	for _, name := range []string{headerServerless, headerPrincipalID, headerPrincipalName, headerIAP, headerAppService, headerALB} {
		if !asserts(name) || http.CanonicalHeaderKey(name) != name {
			t.Errorf("%s is left for anybody to send, or has another spelling in a request", name)
		}
	}
	if asserts(headerAuthorization) || asserts(headerDPoP) {
		t.Error("what callers send themselves is deleted")
	}
}

func TestTheMemoryOfTokensIsBounded(t *testing.T) {
	t.Parallel()
	var v verified
	now := time.Unix(1e9, 0)
	for n := range 3 * rememberMost {
		v.put(keyOf(n), &proven{principal: &Principal{Expires: now.Add(time.Hour)}}, now)
	}
	if len(v.entries) != rememberMost {
		t.Errorf("%d tokens are remembered, want %d", len(v.entries), rememberMost)
	}
	if _, ok := v.get(keyOf(3*rememberMost-1), now); !ok {
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
			v.put(keyOf(1), &proven{principal: &Principal{Expires: now.Add(test.expires)}}, now)
			if _, ok := v.get(keyOf(1), now.Add(test.after)); ok != test.want {
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

func TestTheMemoryOfProofsIsBoundedAndLetsNoneThroughTwice(t *testing.T) {
	t.Parallel()
	var u replays
	now := time.Unix(1e9, 0)
	for n := range mostReplays {
		if got := u.first("key", strconv.Itoa(n), now); got != fresh {
			t.Fatalf("proof %d is %v", n, got)
		}
	}
	if got := u.first("key", "one more", now); got != overrun {
		t.Errorf("one more proof than there is room for is %v", got)
	}
	if got := u.first("key", "0", now.Add(replaySpan)); got != replayed {
		t.Errorf("a proof of the span before is %v", got)
	}
	if got := u.first("key", "one more", now.Add(replaySpan)); got != fresh || len(u.past) != mostReplays {
		t.Errorf("in the next span a proof is %v, beside %d of the one before", got, len(u.past))
	}
	if got := u.first("key", "one more", now); got != replayed {
		t.Errorf("when the clock is set back, a proof that has been used is %v", got)
	}
	if got := u.first("other key", "one more", now); got != fresh {
		t.Errorf("another key's proof with the same id is %v", got)
	}
	u.first("key", "later", now.Add(10*replaySpan))
	if len(u.now)+len(u.past) != 1 {
		t.Errorf("after a long silence %d proofs are remembered", len(u.now)+len(u.past))
	}
}

// heap returns the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestTenThousandCallersNeedLittleMemory has them call with tokens as large as those of people in many groups. Their signatures
// are not checked, which leaves nothing behind.
func TestTenThousandCallersNeedLittleMemory(t *testing.T) {
	if raced.Enabled {
		t.Skip("it is about memory, and make test runs it without the race detector")
	}
	var groups []string
	for n := range 40 {
		groups = append(groups, fmt.Sprintf("%08d-1111-4222-8333-444444444444", n))
	}
	by := NewBearer([]config.Caller{{Name: "idp", Issuer: "https://idp.example.com"}}, nil)
	issuer := by.issuers["https://idp.example.com"]
	call := func(n int) {
		claims, err := json.Marshal(map[string]any{
			"iss": issuer.Issuer, "sub": fmt.Sprintf("caller-%d", n), "exp": time.Now().Unix() + 3600, "groups": groups, "roles": groups,
		})
		if err != nil {
			t.Fatal(err)
		}
		text := "eyJhbGciOiJFUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(claims) + ".AA"
		if _, failure := by.known.recall(t.Context(), text, func(_ context.Context, text string) (*proven, *Error) {
			token, failure := parse(text)
			if failure != nil {
				return nil, failure
			}
			return &proven{principal: issuer.principal(token), issuer: issuer}, nil
		}); failure != nil {
			t.Fatal(failure)
		}
	}
	const callers, mib = 10_000, 1 << 20
	call(0)
	before := heap()
	for n := range callers {
		call(n)
	}
	most := heap()
	for n := range callers {
		call(callers + n)
	}
	after := heap()
	// rememberMost callers are kept, with some five kilobytes each.
	if grown := most - before; grown > 32*mib {
		t.Errorf("%d callers need %d MiB", callers, grown/mib)
	}
	if grown := after - most; grown > mib {
		t.Errorf("%d more need %d KiB more, so nobody is forgotten", callers, grown>>10)
	}
	t.Logf("%d callers: %d KiB; as many more: %d KiB", callers, (most-before)>>10, (after-most)>>10)
	runtime.KeepAlive(by)
}
