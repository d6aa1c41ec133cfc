package awssecrets

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/postern-ai/postern/shared/secrets"
)

// deleted is what a secret is that can still be restored.
const deleted = "it is scheduled for deletion; restore it or remove the reference"

// isCode reports whether this can be an error code. Anything else that stands in its place is not shown.
func isCode(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') })
}

// The permissions that requests take.
const (
	actionRead    = "secretsmanager:GetSecretValue"
	actionInspect = "secretsmanager:DescribeSecret"
	actionPut     = "secretsmanager:PutSecretValue"
	actionLabel   = "secretsmanager:UpdateSecretVersionStage"
)

// needs says what a role lacks that may not do something with a secret.
func needs(action string) string {
	switch action {
	case actionRead:
		return "this function's role may not read it; it needs " + action + " on this secret, and kms:Decrypt on its key unless that is aws/secretsmanager"
	case actionInspect:
		return "this function's role may not inspect it; it needs " + action + " on this secret"
	case actionPut:
		return "this function's role may not store a version of it; it needs " + action + " on this secret, and kms:GenerateDataKey and kms:Decrypt " +
			"on its key unless that is aws/secretsmanager"
	}
	return "this function's role may not move its staging labels; it needs " + action + " on this secret"
}

// explain says in our own words why something could not be done. What the service wrote stays in the cause, because it may repeat ARNs of
// callers and parts of requests.
func explain(of target, action string, err error) error {
	ref := of.ref
	refuse := func(reason string, cause error) error { return &secrets.Error{Ref: ref, Reason: reason, Err: cause} }
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return secrets.Unreachable(ref, err)
	}
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return refuse("this function has no AWS credentials for the store", err)
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		if _, ok := errors.AsType[*smithy.GenericAPIError](err); !ok {
			return refuse("the store's reply is not what its API describes", err)
		}
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return refuse("AWS Secrets Manager has no such secret or version in "+of.region, errors.Join(secrets.ErrNotFound, err))
	}
	if _, ok := errors.AsType[*types.InvalidRequestException](err); ok && action == actionRead {
		return refuse(deleted, errors.Join(secrets.ErrUnusable, err))
	}
	if _, ok := errors.AsType[*types.InvalidRequestException](err); ok {
		return refuse("it takes no change; it may be scheduled for deletion, or belong to another service of AWS", errors.Join(secrets.ErrUnusable, err))
	}
	if _, ok := errors.AsType[*types.ResourceExistsException](err); ok {
		return refuse("the cycle has stored another value already", errors.Join(secrets.ErrConflict, err))
	}
	// Nothing else is wrong with a request of ours than that a label is elsewhere by now.
	if _, ok := errors.AsType[*types.InvalidParameterException](err); ok && action == actionLabel {
		return refuse("its staging labels have been moved", errors.Join(secrets.ErrConflict, err))
	}
	if _, ok := errors.AsType[*types.LimitExceededException](err); ok {
		return refuse("it has too many versions; store a new one every ten minutes at most", err)
	}
	if _, ok := errors.AsType[*types.DecryptionFailure](err); ok {
		return refuse("AWS cannot decrypt it; check the state of its KMS key, and that this function's role has kms:Decrypt on it", err)
	}
	if _, ok := errors.AsType[*types.EncryptionFailure](err); ok {
		return refuse("AWS cannot encrypt it; check the state of its KMS key, and that this function's role has kms:GenerateDataKey on it", err)
	}
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return secrets.Unreachable(ref, err)
	}
	code := answer.ErrorCode()
	if !isCode(code) {
		code = "unknown error"
	}
	switch {
	case code == "AccessDeniedException":
		return refuse(needs(action), errors.Join(secrets.ErrDenied, err))
	case notAccepted(err):
		return refuse("AWS does not accept this function's credentials ("+code+")", err)
	case code == "ThrottlingException":
		return refuse("the store is throttling ("+code+")", errors.Join(secrets.ErrThrottled, err))
	}
	return refuse("the store has failed ("+code+")", err)
}

// notAccepted reports whether AWS refused the signature rather than what was asked for
// (https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html).
func notAccepted(err error) bool {
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch answer.ErrorCode() {
	case "ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationTokenException",
		"InvalidClientTokenId", "IncompleteSignatureException":
		return true
	}
	return false
}
