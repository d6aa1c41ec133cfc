package keyvault_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyvault"
)

const version = "9885aa558e8d448789683188f8c194b0"

func TestKeysSignAsAJWSDoes(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	v := newVault(t, keyvault.Options{Allow: func(access keyvault.Access) bool { return access.Secret != "closed" }})
	now := time.Now()
	for name, key := range map[string]keyvault.Key{
		"ec": {Private: ec}, "rs": {Private: rs, HSM: true}, "off": {Private: ec, Disabled: true}, "old": {Private: ec, Expires: now.Add(-time.Hour)},
		"new": {Private: ec, NotBefore: now.Add(time.Hour)}, "enc": {Private: rs, Operations: []string{"encrypt"}}, "closed": {Private: ec},
	} {
		key.Name, key.Version = name, version
		v.server.PutKey(key)
	}
	const kid = "https://my-vault.vault.azure.net/keys/"
	v.want("GET /keys/ec/"+version, "200 "+kid+"ec/"+version+" EC P-256 [sign verify] true", "key.kid", "key.kty", "key.crv", "key.key_ops", "attributes.enabled")
	v.want("GET /keys/RS/"+version, "200 "+kid+"rs/"+version+" RSA-HSM AQAB", "key.kid", "key.kty", "key.e")

	sum := sha256.Sum256([]byte("message"))
	sign := func(name, algorithm string, digest []byte) string {
		return "POST /keys/" + name + "/" + version + `/sign {"alg":"` + algorithm + `","value":"` + base64.RawURLEncoding.EncodeToString(digest) + `"}`
	}
	value := func(call string) []byte {
		t.Helper()
		var out struct{ Value string }
		if err := json.Unmarshal(v.send(call).Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		raw, err := base64.RawURLEncoding.DecodeString(out.Value)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	both := value(sign("ec", "ES256", sum[:]))
	if len(both) != 64 || !ecdsa.Verify(&ec.PublicKey, sum[:], new(big.Int).SetBytes(both[:32]), new(big.Int).SetBytes(both[32:])) {
		t.Errorf("got %x", both)
	}
	if err := rsa.VerifyPKCS1v15(&rs.PublicKey, crypto.SHA256, sum[:], value(sign("rs", "RS256", sum[:]))); err != nil {
		t.Error(err)
	}
	if err := rsa.VerifyPSS(&rs.PublicKey, crypto.SHA256, sum[:], value(sign("rs", "PS256", sum[:])), nil); err != nil {
		t.Error(err)
	}

	v.want(sign("ec", "ES256", sum[1:]), "400 BadParameter")
	v.want(sign("ec", "ES384", sum[:]), "400 BadParameter")
	v.want(sign("ec", "RS256", sum[:]), "400 BadParameter")
	v.want(sign("rs", "ES256", sum[:]), "400 BadParameter")
	v.want(sign("ec", "none", sum[:]), "400 BadParameter")
	v.want("POST /keys/ec/"+version+`/sign {"alg":"ES256","value":"+/="}`, "400 BadParameter")
	v.want("POST /keys/ec/"+version+`/sign {"other":1}`, "400 BadParameter")
	v.want(sign("off", "ES256", sum[:]), "403 Forbidden KeyDisabled")
	v.want(sign("old", "ES256", sum[:]), "403 Forbidden KeyExpired")
	v.want(sign("new", "ES256", sum[:]), "403 Forbidden KeyNotYetValid")
	v.want(sign("enc", "RS256", sum[:]), "403 Forbidden KeyOperationForbidden")
	v.want(sign("closed", "ES256", sum[:]), "403 Forbidden ForbiddenByRbac")
	v.want("GET /keys/closed/"+version, "403 Forbidden ForbiddenByRbac")
	v.want("GET /keys/ec/"+strings.Repeat("0", 32), "404 KeyNotFound")
	v.want("DELETE /keys/ec/"+version, "404 NotFound")
}
