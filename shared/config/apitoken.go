package config

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// APITokens says where the list of API tokens is. They are for tools that can hold nothing better than a text.
type APITokens struct {
	// CredentialRef says where the list is, a JSON document that [ParseAPITokens] reads.
	CredentialRef Reference `json:"credential_ref"`
	// KeyRef says where the key is by which the list knows a token again: 32 bytes in base64 or hexadecimal.
	KeyRef Reference `json:"key_ref"`
}

// APIToken is what the list holds of one token: everything but the token.
type APIToken struct {
	// ID is the part of the token by which it is found. It is not secret.
	ID string `json:"id"`
	// HMAC is [APITokenMAC] of the whole token.
	HMAC string `json:"hmac"`
	// Name is the caller's: the subject that rules match. Two tokens may have the same one while one replaces the other.
	Name string `json:"name"`
	// Groups are the caller's groups.
	Groups []string `json:"groups,omitzero"`
	// Created and Expires bound the token's life.
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// The form of an API token: pst_<id>_<secret>, the id of 80 random bits and the secret of 256, both in the small letters and
// digits of base32. The beginning lets scanners find a token that has been left somewhere.
const (
	APITokenPrefix      = "pst_"
	apiTokenIDBytes     = 16
	apiTokenSecretBytes = 52
	apiTokenAlphabet    = small + "234567"
	// mostAPITokens is about as many as fit into a secret of a cloud's store, 64 KiB.
	mostAPITokens = 500
	// MostAPITokenLife bounds how long a token may be valid.
	MostAPITokenLife = 366 * 24 * time.Hour
)

// APITokenID returns the id within a token, if it has the form of one.
func APITokenID(token string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(token, APITokenPrefix)
	id, secret, ok2 := strings.Cut(rest, "_")
	return id, ok && ok2 && isAPITokenID(id) && made(secret, apiTokenSecretBytes, apiTokenSecretBytes, apiTokenAlphabet)
}

func isAPITokenID(s string) bool { return made(s, apiTokenIDBytes, apiTokenIDBytes, apiTokenAlphabet) }

// APITokenMAC returns by what the list knows a token again. Without the key nobody can tell which token it is of, or make a
// line for one.
func APITokenMAC(key []byte, token string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(token))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// apiTokens is the list as a document.
type apiTokens struct {
	Tokens []APIToken `json:"tokens"`
}

// ParseAPITokens reads the list. Its errors quote none of it.
func ParseAPITokens(text []byte) ([]APIToken, error) {
	var list apiTokens
	if err := json.Unmarshal(text, &list, json.RejectUnknownMembers(true)); err != nil {
		return nil, errors.New(`the list of API tokens is not JSON of the form {"tokens":[{"id","hmac","name","groups","created","expires"}]}`)
	}
	if len(list.Tokens) > mostAPITokens {
		return nil, fmt.Errorf("the list of API tokens has more than %d", mostAPITokens)
	}
	seen := map[string]bool{}
	for i, t := range list.Tokens {
		if problem := t.check(); problem != "" {
			return nil, fmt.Errorf("tokens[%d] of the list of API tokens: %s", i, problem)
		}
		if seen[t.ID] {
			return nil, fmt.Errorf("tokens[%d] of the list of API tokens: the id is in the list twice", i)
		}
		seen[t.ID] = true
	}
	return list.Tokens, nil
}

func (t *APIToken) check() string {
	mac, err := base64.RawURLEncoding.Strict().DecodeString(t.HMAC)
	switch {
	case !isAPITokenID(t.ID):
		return "id does not have the form of one"
	case err != nil || len(mac) != sha256.Size:
		return "hmac is not 32 bytes in base64url"
	case !IsAPITokenName(t.Name):
		return "name is missing or is none"
	case t.Expires.IsZero() || t.Expires.After(t.Created.Add(MostAPITokenLife)):
		return "expires is missing, or more than a year after created"
	}
	for _, group := range t.Groups {
		if !IsAPITokenName(group) {
			return "one of the groups is no name"
		}
	}
	return ""
}

// IsAPITokenName reports whether s can be the name of a token's caller, or of a group.
func IsAPITokenName(s string) bool { return len(s) <= 128 && isPublicModel(s) }

// FormatAPITokens writes the list for [ParseAPITokens].
func FormatAPITokens(tokens []APIToken) ([]byte, error) {
	if tokens == nil {
		tokens = []APIToken{}
	}
	text, err := json.Marshal(apiTokens{tokens}, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	if _, err := ParseAPITokens(text); err != nil {
		return nil, err
	}
	return text, nil
}

// apiTokens reads the section of that name.
func (l *loader) apiTokens(o object) *APITokens {
	section, ok := o.field("api_tokens")
	if !ok {
		return nil
	}
	section.hidden = true
	s, ok := section.object()
	if !ok {
		return nil
	}
	var t APITokens
	if p, ok := s.field("credential_ref"); ok {
		t.CredentialRef, _ = p.reference()
	} else {
		s.missing("credential_ref", "the place of the list of tokens is missing", referenceRemedy)
	}
	if p, ok := s.field("key_ref"); ok {
		t.KeyRef, _ = p.reference()
		if t.KeyRef == t.CredentialRef && t.KeyRef != "" {
			p.wrong("the key is where the list is, and whoever reads the list must not have the key", "keep the key in a secret of its own")
		}
	} else {
		s.missing("key_ref", "the place of the key is missing, without which no token can be told from another", referenceRemedy)
	}
	s.finish(func(name string) (string, bool) {
		switch name {
		case "tokens", "keys", "token", "key":
			return "a document never holds a secret; make tokens with: go run ./localdev token create", true
		case "ref":
			return "it is credential_ref", true
		}
		return "", false
	})
	return &t
}
