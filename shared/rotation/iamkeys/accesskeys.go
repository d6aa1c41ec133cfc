package iamkeys

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// AccessKeys is a [rotation.Issuer] of a user's access keys. They have no names and no end of their own, and a user has two of them at most.
type AccessKeys struct{ user *user }

// NewAccessKeys returns an AccessKeys. It makes no network call. The credentials need iam:CreateAccessKey, iam:ListAccessKeys,
// iam:UpdateAccessKey and iam:DeleteAccessKey on the user, and iam:GetAccessKeyLastUsed.
func NewAccessKeys(options Options) (*AccessKeys, error) {
	made, err := newUser(options, "sts")
	if err != nil {
		return nil, err
	}
	return &AccessKeys{user: made}, nil
}

// Traits implements [rotation.Issuer]. The sessions of roles that a key has assumed outlive it.
func (k *AccessKeys) Traits() rotation.Traits {
	return rotation.Traits{
		Overlap: rotation.Parallel, Recovery: rotation.Listed, Lasting: true, LastUsed: true,
		MaxLive: perUser, Successes: successes, Propagation: propagation,
	}
}

// accessKey is a key as IAM describes it.
type accessKey struct {
	ID      string `xml:"AccessKeyId"`
	Secret  string `xml:"SecretAccessKey"`
	Status  string `xml:"Status"`
	Created string `xml:"CreateDate"`
}

func (k accessKey) key() (rotation.Key, bool) {
	created, ok := moment(k.Created)
	return rotation.Key{ID: k.ID, Created: created, Disabled: disabled(k.Status)}, ok && k.ID != ""
}

// disabled reports whether a key with a status does not work. There is one more than Active and Inactive, which is Expired.
func disabled(status string) bool { return status != "Active" }

// moment reads a time, which may be missing.
func moment(text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC(), err == nil
}

// Create implements [rotation.Issuer].
func (k *AccessKeys) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	var out struct {
		Key accessKey `xml:"CreateAccessKeyResult>AccessKey"`
	}
	if err := k.user.call(ctx, operation{name: "CreateAccessKey", op: "create"}, map[string]string{"UserName": k.user.name}, &out); err != nil {
		return rotation.Issued{}, err
	}
	made, ok := out.Key.key()
	if !ok || out.Key.Secret == "" {
		return rotation.Issued{}, malformed("create")
	}
	value, err := replace(order.Content, out.Key)
	if err != nil {
		return rotation.Issued{}, &rotation.Error{Op: "create", Reason: "the secret in use cannot be written anew", Err: errors.Join(rotation.ErrUnanswered, err)}
	}
	return rotation.Issued{Key: made, Value: value}, nil
}

func malformed(op string) error {
	return &rotation.Error{Op: op, Reason: "the reply is not what the API of AWS IAM describes", Err: rotation.ErrUnanswered}
}

// The names under which the parts of a key are stored: those of the shared files, and those of AWS's APIs.
var (
	idNames     = []string{"aws_access_key_id", "AccessKeyId"}
	secretNames = []string{"aws_secret_access_key", "SecretAccessKey"}
	tokenNames  = []string{"aws_session_token", "SessionToken"}
)

// replace returns what is to be stored: what is stored now, with the new key under the names of the old one.
func replace(content secrets.Value, key accessKey) (secrets.Value, error) {
	members, _ := rotation.ParseContent(content)
	for _, name := range tokenNames {
		delete(members, name) // A user's key has none.
	}
	return members.With(map[string]string{members.Name(idNames...): key.ID, members.Name(secretNames...): key.Secret})
}

// parse reads what is stored.
func parse(content secrets.Value) (accessKey, bool) {
	members, _ := rotation.ParseContent(content)
	key := accessKey{ID: members.Text(members.Name(idNames...)), Secret: members.Text(members.Name(secretNames...))}
	return key, key.ID != "" && key.Secret != ""
}

// Find implements [rotation.Issuer]. The keys have no names, so it returns all.
func (k *AccessKeys) Find(ctx context.Context, _ string) ([]rotation.Key, error) {
	keys, err := k.list(ctx, "find")
	if err != nil {
		return nil, err
	}
	for i := range keys {
		var out struct {
			Used string `xml:"GetAccessKeyLastUsedResult>AccessKeyLastUsed>LastUsedDate"`
		}
		if err := k.user.call(ctx, operation{name: "GetAccessKeyLastUsed", op: "find", gone: true}, map[string]string{"AccessKeyId": keys[i].ID}, &out); err != nil {
			return nil, err
		}
		var ok bool
		if keys[i].LastUsed, ok = moment(out.Used); !ok {
			return nil, malformed("find")
		}
	}
	return keys, nil
}

func (k *AccessKeys) list(ctx context.Context, op string) ([]rotation.Key, error) {
	var keys []rotation.Key
	err := rotation.Pages(op, func(marker string) (string, error) {
		var out struct {
			Keys   []accessKey `xml:"ListAccessKeysResult>AccessKeyMetadata>member"`
			Marker string      `xml:"ListAccessKeysResult>Marker"`
		}
		if err := k.user.call(ctx, operation{name: "ListAccessKeys", op: op}, map[string]string{"UserName": k.user.name, "Marker": marker}, &out); err != nil {
			return "", err
		}
		for _, listed := range out.Keys {
			key, ok := listed.key()
			if !ok {
				return "", malformed(op)
			}
			keys = append(keys, key)
		}
		return out.Marker, nil
	})
	return keys, err
}

// Revoke implements [rotation.Issuer].
func (k *AccessKeys) Revoke(ctx context.Context, key rotation.Key) error {
	return k.user.call(ctx, operation{name: "DeleteAccessKey", op: "revoke", gone: true}, map[string]string{"UserName": k.user.name, "AccessKeyId": key.ID}, nil)
}

// Disable implements [rotation.Disabler].
func (k *AccessKeys) Disable(ctx context.Context, key rotation.Key) error {
	return k.update(ctx, operation{name: "UpdateAccessKey", op: "disable", gone: true}, key, "Inactive")
}

// Enable implements [rotation.Disabler].
func (k *AccessKeys) Enable(ctx context.Context, key rotation.Key) error {
	return k.update(ctx, operation{name: "UpdateAccessKey", op: "enable"}, key, "Active")
}

func (k *AccessKeys) update(ctx context.Context, o operation, key rotation.Key, status string) error {
	return k.user.call(ctx, o, map[string]string{"UserName": k.user.name, "AccessKeyId": key.ID, "Status": status}, nil)
}

// Identify implements [rotation.Identifier].
func (k *AccessKeys) Identify(ctx context.Context, value secrets.Value) (string, error) {
	stored, ok := parse(value)
	if !ok {
		return "", nil
	}
	keys, err := k.list(ctx, "identify")
	if err != nil || !slices.ContainsFunc(keys, func(key rotation.Key) bool { return key.ID == stored.ID }) {
		return "", err
	}
	return stored.ID, nil
}

// Verify implements [rotation.Verifier]. It asks STS whose key it is, which needs no permission.
func (k *AccessKeys) Verify(ctx context.Context, value secrets.Value) error {
	failed := func(reason string, cause error) error {
		return &rotation.Error{Op: "verify", Reason: reason, Err: cause}
	}
	stored, ok := parse(value)
	if !ok {
		return failed("the secret is not JSON with aws_access_key_id and aws_secret_access_key", rotation.ErrRefused)
	}
	request, err := query(ctx, k.user.verify, url.Values{"Action": {"GetCallerIdentity"}, "Version": {stsVersion}})
	if err == nil {
		credentials := aws.Credentials{AccessKeyID: stored.ID, SecretAccessKey: stored.Secret}
		err = sign(k.user.signer, request, credentials, scope{"sts", k.user.region})
	}
	if err != nil {
		return failed("no request can be signed with it", rotation.ErrRefused)
	}
	reply, err := k.user.verifier.Send(request, rotation.Purpose{Op: "verify"})
	if err != nil {
		return err
	}
	var out struct {
		XMLName xml.Name `xml:"GetCallerIdentityResponse"`
		ARN     string   `xml:"GetCallerIdentityResult>Arn"`
	}
	switch name := notAccepted(reply); {
	case name != "":
		return reply.Rejected("AWS does not accept the key (" + name + ")")
	case throttled(code(reply)):
		return reply.Throttled("AWS STS is throttling (" + code(reply) + ")")
	case reply.Status != http.StatusOK:
		return reply.Unexpected()
	case xml.Unmarshal(reply.Body, &out) != nil || out.ARN == "":
		return reply.Malformed()
	case !strings.Contains(out.ARN, ":user/") || out.ARN[strings.LastIndexByte(out.ARN, '/')+1:] != k.user.name:
		return reply.Refused("it is a key of somebody else than the configured user (user_name)")
	}
	return nil
}
