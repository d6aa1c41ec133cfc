package audit

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"time"
)

// TokenRotatedType is the type of a [TokenRotated] and of a [KeyRotated], whose kinds tell them apart.
const TokenRotatedType Type = "AI_PROVIDER_TOKEN_ROTATED"

// Kind says what kind of credential an event is about. It is part of the format of events.
type Kind string

// The kinds of credentials.
const (
	KindToken Kind = "token" // short-lived, in the memory of the function alone
	KindKey   Kind = "key"   // kept in a secret store, and rotated there
)

// Reason says why a credential was replaced.
type Reason string

// The reasons for a replacement. They are part of the format of events.
const (
	ReasonScheduled  Reason = "scheduled"  // by the scheduled function, because it was time
	ReasonPreExpiry  Reason = "pre_expiry" // shortly before the old one ended
	ReasonExpired    Reason = "expired"    // after the old one had ended
	ReasonRejected   Reason = "rejected"   // because the upstream no longer took the old one
	ReasonManual     Reason = "manual"     // because somebody asked for it
	ReasonCompromise Reason = "compromise" // because somebody else may know the old one
	ReasonDrift      Reason = "drift"      // because the store or the issuer held something else than the rotation had left there
	ReasonRollback   Reason = "rollback"   // because the new one was not to stay, and the one before it took its place again
)

// TokenRotated tells that a short-lived credential for an upstream took the place of another one. The first credential of an instance
// takes nobody's place.
type TokenRotated struct {
	// Version is the version of this format, 1. It grows when a field changes its meaning.
	Version int `json:"event_version"`
	// Kind is always token.
	Kind Kind `json:"kind"`
	// Function is where it happened.
	Function Origin `json:"function"`
	// Upstream, Provider and AuthType are those of the gateway's document.
	Upstream string `json:"upstream"`
	Provider string `json:"provider"`
	AuthType string `json:"auth_type,omitzero"`
	// CredentialRef is where the credential is stored that the token was fetched with. It is left out when nothing is stored.
	CredentialRef string `json:"credential_ref,omitzero"`
	// Principal is whom the new credential stands for.
	Principal Principal `json:"principal"`
	// Reason is why the old one was replaced.
	Reason Reason `json:"reason"`
	// Old is the credential until now.
	Old Token `json:"old"`
	// New is the credential from now on.
	New Token `json:"new"`
}

// formatVersion is the version of the format of all events so far.
const formatVersion = 1

// EventType returns TokenRotatedType.
func (TokenRotated) EventType() Type { return TokenRotatedType }

// Event returns the event of the replacement. Its subject is the upstream. Its ID follows from the two credentials, so that instances which
// share a token and each report its replacement report one event.
func (t TokenRotated) Event(at time.Time) (Event, error) {
	t.Version, t.Kind = formatVersion, KindToken
	t.Old.Expires, t.New.Expires = seconds(t.Old.Expires), seconds(t.New.Expires)
	return New(Envelope{
		ID:     ID(string(TokenRotatedType), t.Function.Source(), t.Upstream, t.Old.Fingerprint, t.New.Fingerprint),
		Source: t.Function.Source(), Subject: t.Upstream, Schema: SchemaOf(TokenRotatedType), Time: at,
	}, t)
}

// seconds is as much of an expiry as issuers say.
func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// Principal is an identity as its platform writes it.
type Principal struct {
	// Name is what the platform calls it.
	Name string `json:"name"`
	// Source says how it was found.
	Source string `json:"source,omitzero"`
}

// Token is a credential in an event.
type Token struct {
	// Fingerprint is the first 64 bits of its HMAC-SHA-256 under a key of the deployment, in hexadecimal. See [Fingerprints].
	Fingerprint string `json:"fingerprint"`
	// Expires is when it ends. The zero time is left out, and means that it does not say so.
	Expires time.Time `json:"expires_at,omitzero"`
}

// Origin is a deployed function.
type Origin struct {
	// Cloud is one of aws, gcp and azure.
	Cloud string `json:"cloud"`
	// Account is the account, project or subscription, where it is known.
	Account string `json:"account,omitzero"`
	// Region is where it runs, where it is known.
	Region string `json:"region,omitzero"`
	// Name is the function's on its platform.
	Name string `json:"name"`
	// Version is the release of Postern that the function was built from.
	Version string `json:"version,omitzero"`
	// Commit is the source that the function was built from.
	Commit string `json:"commit,omitzero"`
}

// Source returns the function as the source of events: /postern/cloud/account/region/name, with - for what is not known.
func (o Origin) Source() string {
	source := "/postern"
	for _, part := range []string{o.Cloud, o.Account, o.Region, o.Name} {
		if part == "" {
			part = "-"
		}
		source += "/" + url.PathEscape(part)
	}
	return source
}

// Fingerprints makes credentials recognisable in events without giving anything of them away. It is safe for concurrent use.
type Fingerprints struct{ key []byte }

// NewFingerprints returns fingerprints under a key of any length. Deployments with the same key give a credential the same fingerprint. With
// a key that is no secret, such as the name of the deployment, whoever has a credential can find it in the events; nobody can go the
// other way, as long as credentials cannot be guessed.
func NewFingerprints(key []byte) (Fingerprints, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, "postern audit v1: fingerprints", sha256.Size)
	return Fingerprints{derived}, err
}

// Of returns the fingerprint of a credential: the first 64 bits of its HMAC-SHA256, in hexadecimal. That of no credential is empty.
func (f Fingerprints) Of(credential string) string {
	if credential == "" {
		return ""
	}
	mac := hmac.New(sha256.New, f.key)
	mac.Write([]byte(credential))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// isFingerprint reports whether a text is as Of returns it.
func isFingerprint(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == 16 && strings.ToLower(text) == text
}
