package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/secrets"
)

// The headers of Standard Webhooks.
const (
	idHeader        = "Webhook-Id"
	timestampHeader = "Webhook-Timestamp"
	signatureHeader = "Webhook-Signature"
)

const (
	secretPrefix         = "whsec_"
	minSecret, maxSecret = 24, 64 // bytes
)

var errSecret = errors.New("the webhook's secret has to be whsec_ and the base64 of 24 to 64 random bytes; make one with: echo whsec_$(openssl rand -base64 32)")

// signer puts the time and the signature on a request that has an id.
type signer struct {
	secret   func(ctx context.Context) (secrets.Value, error)
	rejected func(secret secrets.Value)
}

// Authorize signs the request. Its body is one that can be read again.
func (s signer) Authorize(request *http.Request) error {
	secret, err := s.secret(request.Context())
	if err != nil {
		return err
	}
	body, err := request.GetBody()
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	signature, err := sign(secret, request.Header.Get(idHeader)+"."+timestamp+"."+string(content))
	if err != nil {
		return err
	}
	request.Header.Set(timestampHeader, timestamp)
	request.Header.Set(signatureHeader, signature)
	return nil
}

// Rejected passes the secret on that the request was signed with, or the one that there is now.
func (s signer) Rejected(request *http.Request) {
	if s.rejected == nil {
		return
	}
	if secret, err := s.secret(request.Context()); err == nil {
		s.rejected(secret)
	}
}

// sign returns the signature of a content, as Standard Webhooks 1.0 writes it.
func sign(secret secrets.Value, content string) (string, error) {
	text, ok := strings.CutPrefix(secret.Reveal(), secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return "", errSecret // the cause would quote the secret
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(content))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}
