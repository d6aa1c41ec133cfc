package audit

// Place is an event's place in the chain of its credential.
type Place struct {
	// Chain is the ID of the first event of the chain.
	Chain string `json:"id"`
	// Seq counts the events of the chain, from 1.
	Seq int64 `json:"seq"`
	// Prev is the hash of the event before, in hexadecimal. It is left out in the first.
	Prev string `json:"prev_hash,omitzero"`
	// Signature vouches for the event, where the deployment signs.
	Signature Signature `json:"signature,omitzero"`
}

// Signature is one over the hash of an event.
type Signature struct {
	// KeyID names the key, as whoever keeps it does.
	KeyID string `json:"key_id"`
	// Algorithm is ES256, RS256 or EdDSA (RFC 7518, RFC 8037).
	Algorithm string `json:"alg"`
	// Value is the signature in base64url without padding, as a JWS has it.
	Value string `json:"value"`
}
