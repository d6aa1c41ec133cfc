package awssecrets

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/postern-ai/postern/shared/secrets"
)

// isCode reports whether this can be an error code. Anything else that stands in its place is not shown.
func isCode(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') })
}

// explain says in our own words why a secret could not be read. What the service wrote stays in the cause, because it may repeat ARNs of
// callers and parts of requests.
func explain(ref secrets.Ref, region string, err error) error {
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
		return refuse("AWS Secrets Manager has no such secret or version in "+region, errors.Join(secrets.ErrNotFound, err))
	}
	if _, ok := errors.AsType[*types.InvalidRequestException](err); ok {
		return refuse("it is scheduled for deletion; restore it or remove the reference", errors.Join(secrets.ErrUnusable, err))
	}
	if _, ok := errors.AsType[*types.DecryptionFailure](err); ok {
		return refuse("AWS cannot decrypt it; check the state of its KMS key, and that this function's role has kms:Decrypt on it", err)
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
		return refuse("this function's role may not read it; it needs secretsmanager:GetSecretValue on this secret, "+
			"and kms:Decrypt on its key unless that is aws/secretsmanager", err)
	case notAccepted(err):
		return refuse("AWS does not accept this function's credentials ("+code+")", err)
	case code == "ThrottlingException":
		return refuse("the store is throttling ("+code+")", err)
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
