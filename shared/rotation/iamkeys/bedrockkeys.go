package iamkeys

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	bedrock = "bedrock.amazonaws.com"
	// maxDays is the longest life of an API key.
	maxDays = 36600
	day     = 24 * time.Hour
)

// BedrockKeys is a [rotation.Issuer] of a user's long-term API keys for Amazon Bedrock, of which a user has two at most. They have no names. A
// key whose secret was lost is given a new one.
type BedrockKeys struct{ user *user }

// NewBedrockKeys returns a BedrockKeys. It makes no network call. The credentials need iam:CreateServiceSpecificCredential,
// iam:ListServiceSpecificCredentials, iam:ResetServiceSpecificCredential, iam:UpdateServiceSpecificCredential and
// iam:DeleteServiceSpecificCredential on the user. The user needs bedrock:CallWithBearerToken.
func NewBedrockKeys(options Options) (*BedrockKeys, error) {
	made, err := newUser(options, "bedrock")
	if err != nil {
		return nil, err
	}
	return &BedrockKeys{user: made}, nil
}

// Traits implements [rotation.Issuer].
func (k *BedrockKeys) Traits() rotation.Traits {
	return rotation.Traits{
		Overlap: rotation.Parallel, Recovery: rotation.Readable, Expiry: true,
		MaxLive: perUser, Successes: successes, Propagation: propagation,
	}
}

// credential is an API key as IAM describes it.
type credential struct {
	ID      string `xml:"ServiceSpecificCredentialId"`
	Secret  string `xml:"ServiceCredentialSecret"`
	Alias   string `xml:"ServiceCredentialAlias"`
	Status  string `xml:"Status"`
	Created string `xml:"CreateDate"`
	Expires string `xml:"ExpirationDate"`
}

func (c credential) key() (rotation.Key, bool) {
	created, ok := moment(c.Created)
	expires, also := moment(c.Expires)
	return rotation.Key{ID: c.ID, Created: created, Expires: expires, Disabled: disabled(c.Status)}, ok && also && c.ID != ""
}

// Create implements [rotation.Issuer].
func (k *BedrockKeys) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	parameters := map[string]string{"UserName": k.user.name, "ServiceName": bedrock}
	if !order.Expires.IsZero() {
		// The end is a number of whole days. It is a safety net, so it is rather too late than too early.
		days := (time.Until(order.Expires) + day - 1) / day
		parameters["CredentialAgeDays"] = strconv.Itoa(int(min(max(days, 1), maxDays)))
	}
	var out struct {
		Credential credential `xml:"CreateServiceSpecificCredentialResult>ServiceSpecificCredential"`
	}
	if err := k.user.call(ctx, operation{name: "CreateServiceSpecificCredential", op: "create"}, parameters, &out); err != nil {
		return rotation.Issued{}, err
	}
	made, ok := out.Credential.key()
	if !ok || out.Credential.Secret == "" {
		return rotation.Issued{}, malformed("create")
	}
	return rotation.Issued{Key: made, Value: secrets.NewValue(out.Credential.Secret)}, nil
}

// Find implements [rotation.Issuer]. The keys have no names, so it returns all.
func (k *BedrockKeys) Find(ctx context.Context, _ string) ([]rotation.Key, error) {
	var keys []rotation.Key
	err := k.each(ctx, "find", func(_ credential, key rotation.Key) { keys = append(keys, key) })
	return keys, err
}

func (k *BedrockKeys) each(ctx context.Context, op string, do func(c credential, key rotation.Key)) error {
	return rotation.Pages(op, func(marker string) (string, error) {
		var out struct {
			Credentials []credential `xml:"ListServiceSpecificCredentialsResult>ServiceSpecificCredentials>member"`
			Marker      string       `xml:"ListServiceSpecificCredentialsResult>Marker"`
		}
		parameters := map[string]string{"UserName": k.user.name, "ServiceName": bedrock, "Marker": marker}
		if err := k.user.call(ctx, operation{name: "ListServiceSpecificCredentials", op: op}, parameters, &out); err != nil {
			return "", err
		}
		for _, listed := range out.Credentials {
			key, ok := listed.key()
			if !ok {
				return "", malformed(op)
			}
			do(listed, key)
		}
		return out.Marker, nil
	})
}

func (k *BedrockKeys) parameters(key rotation.Key) map[string]string {
	return map[string]string{"UserName": k.user.name, "ServiceSpecificCredentialId": key.ID}
}

// Revoke implements [rotation.Issuer].
func (k *BedrockKeys) Revoke(ctx context.Context, key rotation.Key) error {
	return k.user.call(ctx, operation{name: "DeleteServiceSpecificCredential", op: "revoke", gone: true}, k.parameters(key), nil)
}

// Disable implements [rotation.Disabler].
func (k *BedrockKeys) Disable(ctx context.Context, key rotation.Key) error {
	return k.update(ctx, operation{name: "UpdateServiceSpecificCredential", op: "disable", gone: true}, key, "Inactive")
}

// Enable implements [rotation.Disabler].
func (k *BedrockKeys) Enable(ctx context.Context, key rotation.Key) error {
	return k.update(ctx, operation{name: "UpdateServiceSpecificCredential", op: "enable"}, key, "Active")
}

func (k *BedrockKeys) update(ctx context.Context, o operation, key rotation.Key, status string) error {
	parameters := k.parameters(key)
	parameters["Status"] = status
	return k.user.call(ctx, o, parameters, nil)
}

// Recover implements [rotation.Recoverer]. The key gets a new secret, which ends the lost one at once; so the key in use is refused.
func (k *BedrockKeys) Recover(ctx context.Context, key rotation.Key, order rotation.Order) (secrets.Value, error) {
	if key.ID == order.Current {
		return secrets.Value{}, &rotation.Error{Op: "recover", Reason: "it is the key in use, and would get another secret", Err: rotation.ErrRefused}
	}
	var out struct {
		Credential credential `xml:"ResetServiceSpecificCredentialResult>ServiceSpecificCredential"`
	}
	if err := k.user.call(ctx, operation{name: "ResetServiceSpecificCredential", op: "recover"}, k.parameters(key), &out); err != nil {
		return secrets.Value{}, err
	}
	if out.Credential.ID != key.ID || out.Credential.Secret == "" {
		return secrets.Value{}, malformed("recover")
	}
	return secrets.NewValue(out.Credential.Secret), nil
}

// Identify implements [rotation.Identifier]. An API key is ABSK and the Base64 of its alias, a colon and a secret.
func (k *BedrockKeys) Identify(ctx context.Context, value secrets.Value) (string, error) {
	encoded, _ := strings.CutPrefix(strings.TrimSpace(value.Reveal()), "ABSK")
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	alias, _, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok || alias == "" {
		return "", nil
	}
	var found []string
	if err := k.each(ctx, "identify", func(c credential, _ rotation.Key) {
		if c.Alias == alias {
			found = append(found, c.ID)
		}
	}); err != nil || len(found) != 1 {
		return "", err
	}
	return found[0], nil
}

// Verify implements [rotation.Verifier]. It lists models, a few of them, which costs nothing.
func (k *BedrockKeys) Verify(ctx context.Context, value secrets.Value) error {
	return k.user.verifier.Prove(ctx, rotation.Proof{
		URL: k.user.verify + "/foundation-models?byOutputModality=EMBEDDING", Name: "Authorization", Prefix: "Bearer ", Member: "modelSummaries", Judge: judge,
	}, value)
}

// judge tells a key that is not accepted from a right that its user does not have. Both are the same error, AccessDeniedException; but only a
// caller who is known is told which action is missing. A text that says something else is no proof of a good key.
func judge(reply rotation.Reply) (judged bool, err error) {
	var refusal struct {
		Message string `json:"message"`
	}
	if reply.Status != http.StatusForbidden || json.Unmarshal(reply.Body, &refusal, json.MatchCaseInsensitiveNames(true)) != nil {
		return false, nil
	}
	const missing = " is not authorized to perform: bedrock:"
	switch {
	case strings.Contains(refusal.Message, missing+"ListFoundationModels"):
		return true, nil
	case strings.Contains(refusal.Message, missing+"CallWithBearerToken"):
		return true, reply.Refused("the IAM user may not use API keys; it needs bedrock:CallWithBearerToken")
	}
	return false, nil
}
