package dynamodb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/ledger"
)

const (
	targetPrefix = "DynamoDB_20120810."
	contentType  = "application/x-amz-json-1.0"
)

// signer is the authorizer for AWS Signature Version 4.
type signer struct {
	credentials aws.CredentialsProvider
	region      string
	v4          *v4.Signer
}

// Authorize implements [ledger.Authorizer]. The request has a body that can be read again.
func (s *signer) Authorize(request *http.Request) error {
	ctx := request.Context()
	credentials, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	body, err := request.GetBody()
	if err != nil {
		return err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, body); err != nil {
		return err
	}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		request.Header.Del(name) // of an earlier signature
	}
	return s.v4.SignHTTP(ctx, credentials, request, hex.EncodeToString(hash.Sum(nil)), "dynamodb", s.region, time.Now())
}

// Rejected implements [ledger.Authorizer].
func (s *signer) Rejected(*http.Request) {
	if cached, ok := s.credentials.(interface{ Invalidate() }); ok {
		cached.Invalidate()
	}
}

// operation is an operation of the API on one record.
type operation struct{ name, key string }

// call returns the members of the reply. Nothing is asked for but the item, so there is no other member.
func (s *store) call(ctx context.Context, o operation, in any) (map[string]attributes, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, &ledger.Error{Key: o.key, Reason: "no request can be made of it", Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, &ledger.Error{Key: o.key, Reason: "no request can be made of it", Err: err}
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Amz-Target", targetPrefix+o.name)
	// The checksum is that of the body as it travels, so nothing may unpack it on the way.
	request.Header.Set("Accept-Encoding", "identity")
	reply, err := s.remote.Send(request, o.key)
	if err != nil {
		return nil, err
	}
	if sum := reply.Header.Get("X-Amz-Crc32"); sum != "" && sum != strconv.FormatUint(uint64(crc32.ChecksumIEEE(reply.Body)), 10) {
		return nil, &ledger.Error{Key: o.key, Reason: "the store's reply was damaged on its way: the checksum differs", Err: ledger.ErrUnanswered}
	}
	if reply.Status != http.StatusOK {
		return nil, s.explain(o, reply)
	}
	var out map[string]attributes
	if json.Unmarshal(reply.Body, &out) != nil || out == nil || len(out) > 1 || len(out) == 1 && out["Item"] == nil {
		return nil, ledger.Malformed(o.key)
	}
	return out, nil
}

// code returns the name of the error that a reply reports, without the service's own namespace. A reply that is no error of this protocol, such
// as a proxy's page, has none.
func code(reply ledger.Reply) string {
	var out struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal(reply.Body, &out) != nil || out.Type == "" {
		out.Type = reply.Header.Get("X-Amzn-Errortype")
	}
	name, _, _ := strings.Cut(out.Type, ":")
	return name[strings.LastIndexByte(name, '#')+1:]
}

// notAccepted reports whether AWS refused the signature rather than what was asked for
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html).
func notAccepted(reply ledger.Reply) bool {
	if reply.Status != http.StatusBadRequest && reply.Status != http.StatusForbidden {
		return false
	}
	switch code(reply) {
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationTokenException",
		"MissingAuthenticationToken", "InvalidClientTokenId", "IncompleteSignatureException":
		return true
	}
	return false
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func (s *store) explain(o operation, reply ledger.Reply) error {
	refuse := func(reason string, cause error) error {
		return &ledger.Error{Key: o.key, Reason: reason, Err: cause}
	}
	if notAccepted(reply) {
		return refuse("AWS does not accept this function's credentials ("+code(reply)+")", nil)
	}
	if reply.Status != http.StatusBadRequest {
		return reply.Unexpected(o.key)
	}
	switch name := code(reply); name {
	case "ConditionalCheckFailedException":
		return refuse("somebody else has changed it", ledger.ErrConflict)
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "TransactionConflictException",
		"ReplicatedWriteConflictException":
		return refuse("the store is throttling ("+name+")", ledger.ErrUnavailable)
	case "AccessDeniedException":
		return refuse("this function's role may not use the table; it needs dynamodb:"+o.name+" on it, and the rights to the table's KMS key if that is "+
			"one of your own", nil)
	case "ResourceNotFoundException":
		return refuse("DynamoDB has no table of the configured name in this region, or it is not ready yet", nil)
	case "ValidationException":
		return refuse("DynamoDB does not take the request; the table has to have the partition key pk, of type string, and no sort key", nil)
	}
	return reply.Unexpected(o.key)
}
