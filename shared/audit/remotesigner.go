package audit

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"sync"
	"time"
)

// RemoteSigner signs by a key that never leaves its service over HTTP. It reads the public part once, which tells how the key signs, and gives out no
// signature that the public part does not verify. It is safe for concurrent use.
type RemoteSigner struct {
	Key RemoteKey
	// HTTP sends the requests. It follows no redirect and bounds what it reads of a reply.
	HTTP *http.Client
	// Kind names the kind of the cause when a request brought no reply, without quoting it. It is empty if the cause is of no known kind.
	Kind func(err error) string
	// Authorizer puts the function's own credential on each request.
	Authorizer Authorizer
	// Rejects reports whether a reply says that the credential was not accepted. Nil means a status of 401.
	Rejects func(reply Reply) bool
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration

	mu     sync.Mutex
	public PublicPart // the zero one until it has been read
}

// RemoteKey is what the service of a key has of its own. It is safe for concurrent use.
type RemoteKey interface {
	// AskPublic returns a request for the public part of the key, without a credential. Its body can be read again, as that of all requests here.
	AskPublic(ctx context.Context) (*http.Request, error)
	// ReadPublic returns the ID and the Key of the public part, or why the reply is none.
	ReadPublic(reply Reply) (PublicPart, Refusal)
	// AskSignature returns a request for a signature over a digest by SHA-256.
	AskSignature(ctx context.Context, public PublicPart, digest []byte) (*http.Request, error)
	// ReadSignature returns the signature as a JWS has it, or why the reply is none.
	ReadSignature(reply Reply, public PublicPart) ([]byte, Refusal)
}

// PublicPart is what everybody may know of a key.
type PublicPart struct {
	// ID names the key, as its service does.
	ID  string
	Key crypto.PublicKey
	// Algorithm is how it signs, ES256 or RS256. It follows from the Key.
	Algorithm Algorithm
}

// SignError says why a key has not signed. Its text may be logged.
type SignError struct {
	// Reason is in our own words.
	Reason string
	// Err is the cause, if there is one. Its text is not part of SignError's.
	Err error
}

// Error returns the reason.
func (e *SignError) Error() string { return e.Reason }

// Unwrap returns the cause.
func (e *SignError) Unwrap() error { return e.Err }

// Sign is a [Signer]. The error is a *[SignError].
func (r *RemoteSigner) Sign(ctx context.Context, digest []byte) (Signature, error) {
	if len(digest) != sha256.Size {
		return Signature{}, &SignError{Reason: "what is to be signed is no digest by SHA-256"}
	}
	for attempt := 1; ; attempt++ {
		signature, refusal := r.once(ctx, digest)
		if refusal.Reason == "" {
			return signature, nil
		}
		if !refusal.Again || attempt == attempts || !pause(ctx, attempt, refusal.After) {
			// Another key may have taken its place by the next time.
			r.keep(PublicPart{})
			return Signature{}, &SignError{refusal.Reason, errors.Join(refusal.Err, ctx.Err())}
		}
	}
}

// once makes one attempt.
func (r *RemoteSigner) once(ctx context.Context, digest []byte) (Signature, Refusal) {
	where := service{of: "the key's service", http: r.HTTP, kind: r.Kind, authorizer: r.Authorizer, rejects: r.Rejects, timeout: r.Timeout}
	public, refusal := r.read(ctx, where)
	if refusal.Reason != "" {
		return Signature{}, refusal
	}
	reply, refusal := where.ask(ctx, func(ctx context.Context) (*http.Request, error) { return r.Key.AskSignature(ctx, public, digest) })
	if refusal.Reason != "" {
		return Signature{}, refusal
	}
	value, refusal := r.Key.ReadSignature(reply, public)
	if refusal.Reason != "" {
		return Signature{}, refusal
	}
	signature := Signature{KeyID: public.ID, Algorithm: public.Algorithm, Value: base64.RawURLEncoding.EncodeToString(value)}
	if !(Keys{public.Key}).verify(digest, signature) {
		r.keep(PublicPart{})
		return Signature{}, Refusal{Reason: "the signature is not by the public key that the service has shown", Again: true}
	}
	return signature, Refusal{}
}

// read returns the public part, which it asks for the first time. Several that begin at once may all ask.
func (r *RemoteSigner) read(ctx context.Context, where service) (PublicPart, Refusal) {
	r.mu.Lock()
	public := r.public
	r.mu.Unlock()
	if public.Key != nil {
		return public, Refusal{}
	}
	reply, refusal := where.ask(ctx, r.Key.AskPublic)
	if refusal.Reason == "" {
		public, refusal = r.Key.ReadPublic(reply)
	}
	if refusal.Reason != "" {
		return PublicPart{}, refusal
	}
	var err error
	if public.Algorithm, err = algorithmOf(public.Key); err != nil {
		return PublicPart{}, Refusal{Reason: "the key " + err.Error()}
	}
	if public.Algorithm == EdDSA {
		return PublicPart{}, Refusal{Reason: "the key signs by EdDSA, and only a key for ES256 or RS256 can be used here"}
	}
	r.keep(public)
	return public, Refusal{}
}

func (r *RemoteSigner) keep(public PublicPart) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.public = public
}

// FromService returns a signature as a JWS has it, of one that a service gives as most do: that of ECDSA in ASN.1, and that of RSA as it is.
func FromService(public PublicPart, signature []byte, reply Reply) ([]byte, Refusal) {
	if public.Algorithm != ES256 {
		return signature, Refusal{}
	}
	both, ok := joined(signature)
	if !ok {
		return nil, reply.Malformed()
	}
	return both, Refusal{}
}

// joined returns the two numbers of a signature by ECDSA beside one another (RFC 7518, section 3.4), of one in ASN.1 (RFC 3279). It reports false
// for what is none.
func joined(signature []byte) ([]byte, bool) {
	var parts struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(signature, &parts); err != nil || len(rest) > 0 {
		return nil, false
	}
	both := make([]byte, 2*half)
	for i, part := range []*big.Int{parts.R, parts.S} {
		if part.Sign() <= 0 || part.BitLen() > 8*half {
			return nil, false
		}
		part.FillBytes(both[i*half : (i+1)*half])
	}
	return both, true
}
