package bedrock_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	fake "github.com/postern-ai/postern/localdev/fake/bedrock"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider/bedrock"
	"github.com/postern-ai/postern/shared/provider/providertest"
)

const (
	region = "eu-central-1"
	haiku  = "anthropic.claude-3-haiku-20240307-v1:0"
	nova   = "amazon.nova-lite-v1:0"
)

var key = awsauth.Key{AccessKeyID: "ASIATEST", SecretAccessKey: "test-secret", SessionToken: "test-token"}

// signer puts on a signature as the official signer makes it.
type signer struct{ key awsauth.Key }

func (s signer) Authorize(r *http.Request) error {
	body, err := r.GetBody()
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return err
	}
	credentials := aws.Credentials{AccessKeyID: s.key.AccessKeyID, SecretAccessKey: s.key.SecretAccessKey, SessionToken: s.key.SessionToken}
	return v4.NewSigner().SignHTTP(r.Context(), credentials, r, hex.EncodeToString(sum.Sum(nil)), "bedrock", region, time.Now())
}

func (signer) Rejected(*http.Request) {}

func upstream(address string) *config.Upstream {
	return &config.Upstream{Name: "bedrock", Provider: config.Bedrock, AuthType: config.Native, AWSRegion: region, BaseURL: address}
}

// service is the stand-in, with AWS's own service model looking on.
func service(t *testing.T) http.Handler {
	t.Helper()
	stand := fake.New(fake.Options{
		Brain: brain.Echo{}, Region: region,
		Keys: func(id string) (awsauth.Key, bool) { return key, id == key.AccessKeyID },
	})
	dir, ok := contract.Dir()
	if !ok {
		return stand
	}
	model, err := contract.AWS(dir, "bedrock-runtime")
	if err != nil {
		t.Fatal(err)
	}
	return contract.Check(model, stand, func(problems ...contract.Problem) {
		for _, p := range problems {
			if p.OfRequest() && p.Path != youngerThanTheModel {
				t.Error(p)
			}
		}
	})
}

// youngerThanTheModel is a member that the SDK has and the service model that
// the tests read has not yet.
const youngerThanTheModel = "request.outputConfig.effort"

func TestConformance(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Harness{
		Service: service(t), Build: bedrock.New, Upstream: upstream,
		Auth: signer{key}, Secret: key.SecretAccessKey,
		Name: "Amazon Bedrock", Model: haiku,
		Fault: func(status int, message string) providertest.Answer {
			names := map[int]string{
				400: "ValidationException", 401: "UnrecognizedClientException", 403: "AccessDeniedException", 404: "ResourceNotFoundException",
				429: "ThrottlingException", 500: "InternalServerException", 503: "ServiceUnavailableException",
			}
			body, _ := json.Marshal(map[string]string{"message": message})
			return providertest.Answer{Status: status, Body: body, Header: http.Header{
				"Content-Type": {"application/json"}, "X-Amzn-Errortype": {names[status] + ":http://internal.amazon.com/coral/com.amazon.bedrock/"},
			}}
		},
		StreamFault: func(message string) []byte {
			body, _ := json.Marshal(map[string]string{"message": message})
			return frame("exception", "internalServerException", string(body))
		},
		Refuses: map[string]string{
			"frequency_penalty": chat.CodeUnsupportedParameter, "presence_penalty": chat.CodeUnsupportedParameter,
			"seed": chat.CodeUnsupportedParameter, "n": chat.CodeUnsupportedParameter,
			"logprobs": chat.CodeUnsupportedParameter, "logit_bias": chat.CodeUnsupportedParameter,
			"top_logprobs":                chat.CodeUnsupportedParameter,
			"response_format json_object": chat.CodeUnsupportedValue,
			"verbosity":                   chat.CodeUnsupportedParameter, "store": chat.CodeUnsupportedParameter,
			"prompt_cache_key": chat.CodeUnsupportedParameter, "prompt_cache_retention": chat.CodeUnsupportedParameter,
			"modalities": chat.CodeUnsupportedParameter, "audio": chat.CodeUnsupportedParameter, "prediction": chat.CodeUnsupportedParameter,
			"web_search_options": chat.CodeUnsupportedParameter, "functions": chat.CodeUnsupportedParameter, "function_call": chat.CodeUnsupportedParameter,
			"unknown members": chat.CodeUnsupportedParameter,
		},
		Want: map[string]providertest.Want{
			"403": {
				Status: 502, Type: chat.TypeServer, Code: chat.CodeUpstreamAuth,
				Message: "Amazon Bedrock does not allow the gateway's own identity to use this model. This is for the gateway's operator to mend; the caller's token is fine.",
			},
		},
		NoReasoningCount: true,
	})
}

// frame makes one message of an event stream; kind is event or exception.
func frame(kind, name, payload string) []byte {
	m := eventstream.Message{Payload: []byte(payload)}
	m.Headers.Set(":"+kind+"-type", eventstream.StringValue(name))
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	m.Headers.Set(":message-type", eventstream.StringValue(kind))
	return encoded(m)
}

func encoded(m eventstream.Message) []byte {
	var w sink
	if err := eventstream.NewEncoder().Encode(&w, m); err != nil {
		panic(err)
	}
	return w
}

type sink []byte

func (s *sink) Write(p []byte) (int, error) { *s = append(*s, p...); return len(p), nil }
