package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Place is an event's place in the chain of its credential.
type Place struct {
	// Chain is the ID of the first event of the chain.
	Chain string `json:"id"`
	// Seq counts the events of the chain, from 1.
	Seq int64 `json:"seq"`
	// Prev is the hash of the event before, in hexadecimal. It is left out in the first.
	Prev string `json:"prev_hash,omitzero"`
	// Signature vouches for the event and all before it, where the deployment signs.
	Signature Signature `json:"signature,omitzero"`
}

// Head is the end of a chain: what the next event is linked to. The zero Head is that of a chain without events. It is kept where it changes in the
// same write as what the events tell.
type Head struct {
	// Chain is the ID of the first event.
	Chain string `json:"chain"`
	// Seq is the number of the last event.
	Seq int64 `json:"seq"`
	// Hash is the hash of the last event, in hexadecimal. See [Hash].
	Hash string `json:"hash"`
}

const (
	chainMember     = "chain"
	signatureMember = "signature"
)

// Link makes an event the next one of a chain, by a member chain in its data, a [Place]. It returns the linked event and the end of the chain after it. The
// same event and the same head give the same result.
func Link(event Event, head Head) (Event, Head, error) {
	if (head.Seq == 0) != (head == Head{}) || head.Seq != 0 && (head.Chain == "" || !isHash(head.Hash)) {
		return Event{}, Head{}, fmt.Errorf("audit event %q: the head of its chain is incomplete", event.Type)
	}
	switch _, linked, err := placeOf(event); {
	case err != nil:
		return Event{}, Head{}, err
	case linked:
		return Event{}, Head{}, fmt.Errorf("audit event %q: it has its place in a chain already", event.Type)
	}
	next := Head{Chain: cmp.Or(head.Chain, event.ID), Seq: head.Seq + 1}
	var err error
	if event.Data, err = put(event.Data, Place{Chain: next.Chain, Seq: next.Seq, Prev: head.Hash}); err != nil {
		return Event{}, Head{}, fmt.Errorf("audit event %q: %w", event.Type, err)
	}
	next.Hash, err = Hash(event)
	return event, next, err
}

// Hash returns what the next event of the chain says of this one, in hexadecimal: the SHA-256 of the event's JSON in the canonical form of RFC 8785, without
// the signature. RFC 8785 holds numbers to be floating-point ones of 64 bits.
func Hash(event Event) (string, error) {
	digest, err := digestOf(event)
	return hex.EncodeToString(digest), err
}

func digestOf(event Event) ([]byte, error) {
	chain, linked, err := chainOf(event)
	if err != nil {
		return nil, err
	}
	if linked {
		delete(chain, signatureMember)
		if event.Data, err = put(event.Data, chain); err != nil {
			return nil, fmt.Errorf("audit event %q: %w", event.Type, err)
		}
	}
	text, err := event.encode()
	if err != nil {
		return nil, err
	}
	canonical := jsontext.Value(text)
	if err := canonical.Canonicalize(); err != nil {
		return nil, fmt.Errorf("audit event %q: %w", event.Type, err)
	}
	digest := sha256.Sum256(canonical)
	return digest[:], nil
}

// Signature is one over the hash of an event.
type Signature struct {
	// KeyID names the key, as whoever keeps it does.
	KeyID string `json:"key_id"`
	// Algorithm is ES256, RS256 or EdDSA (RFC 7518, RFC 8037). EdDSA signs the 32 bytes of the hash as its message.
	Algorithm Algorithm `json:"alg"`
	// Value is the signature in base64url without padding, as a JWS has it.
	Value string `json:"value"`
}

// Signer signs the SHA-256 of something, usually by a key that never leaves its service.
type Signer func(ctx context.Context, digest []byte) (Signature, error)

// Sign puts a signature over its hash into a linked event. The hash remains what it was, so that signing it again, or by another key, breaks no chain.
func Sign(ctx context.Context, event Event, sign Signer) (Event, error) {
	digest, err := digestOf(event)
	if err != nil {
		return Event{}, err
	}
	chain, linked, err := chainOf(event)
	if err != nil {
		return Event{}, err
	}
	if !linked {
		return Event{}, fmt.Errorf("audit event %q: it has no place in a chain, so there is nothing to sign", event.Type)
	}
	signature, err := sign(ctx, digest)
	if err != nil {
		return Event{}, fmt.Errorf("audit event %q: sign: %w", event.Type, err)
	}
	if chain[signatureMember], err = json.Marshal(signature); err == nil {
		event.Data, err = put(event.Data, chain)
	}
	if err != nil {
		return Event{}, fmt.Errorf("audit event %q: %w", event.Type, err)
	}
	return event, event.Validate()
}

// SignAll returns linked events with a signature on each that has none yet, and whether there was one. What is signed has to be kept before it is published: a
// signature that is made again is another one, and an event says the same thing whenever it is published. A sign of nil signs nothing.
func SignAll(ctx context.Context, events []Event, sign Signer) (signed []Event, changed bool, err error) {
	if sign == nil {
		return events, false, nil
	}
	signed = slices.Clone(events)
	for i, event := range signed {
		place, _, err := placeOf(event)
		if err != nil {
			return nil, false, err
		}
		if place.Signature != (Signature{}) {
			continue
		}
		if signed[i], err = Sign(ctx, event, sign); err != nil {
			return nil, false, err
		}
		changed = true
	}
	return signed, changed, nil
}

// placeOf returns the event's place in its chain, if it has one.
func placeOf(event Event) (place Place, linked bool, err error) {
	chain, linked, err := chainOf(event)
	if err != nil || !linked {
		return Place{}, false, err
	}
	text, err := json.Marshal(chain)
	if err == nil {
		err = json.Unmarshal(text, &place)
	}
	switch {
	case err != nil:
		return Place{}, false, fmt.Errorf("audit event %q: data.chain is not a place in a chain", event.Type)
	case place.Chain == "" || place.Seq < 1 || (place.Seq == 1) != (place.Prev == "") || place.Prev != "" && !isHash(place.Prev):
		return Place{}, false, fmt.Errorf("audit event %q: data.chain is no possible place in a chain", event.Type)
	}
	return place, true, nil
}

// chainOf returns the member chain of the event's data as it is, if it has one: what Place does not know is under the hash too.
func chainOf(event Event) (chain map[string]jsontext.Value, linked bool, err error) {
	var data struct {
		Chain jsontext.Value `json:"chain"`
	}
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return nil, false, fmt.Errorf("audit event %q: data is not a JSON object", event.Type)
	}
	if data.Chain == nil {
		return nil, false, nil
	}
	if err := json.Unmarshal(data.Chain, &chain); err != nil || chain == nil {
		return nil, false, fmt.Errorf("audit event %q: data.chain is not a JSON object", event.Type)
	}
	return chain, true, nil
}

// put returns the data of an event with another chain, and the other members as and where they are.
func put(data jsontext.Value, chain any) (jsontext.Value, error) {
	var out bytes.Buffer
	from, to := jsontext.NewDecoder(bytes.NewReader(data)), jsontext.NewEncoder(&out)
	if start, err := from.ReadToken(); err != nil || start.Kind() != '{' {
		return nil, errors.New("data is not a JSON object")
	}
	err := to.WriteToken(jsontext.BeginObject)
	for err == nil && from.PeekKind() == '"' {
		var member jsontext.Token
		if member, err = from.ReadToken(); err != nil {
			break
		}
		name := member.String() // the next read overwrites the token
		var value jsontext.Value
		if value, err = from.ReadValue(); err == nil && name != chainMember {
			err = errors.Join(to.WriteToken(jsontext.String(name)), to.WriteValue(value))
		}
	}
	if err != nil {
		return nil, err
	}
	err = errors.Join(to.WriteToken(jsontext.String(chainMember)), json.MarshalEncode(to, chain, json.Deterministic(true)), to.WriteToken(jsontext.EndObject))
	return bytes.TrimSpace(out.Bytes()), err
}

func isHash(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == sha256.Size && text == hex.EncodeToString(raw)
}
