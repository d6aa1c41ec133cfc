// Package bedrock speaks Amazon Bedrock's Converse and ConverseStream, through
// the AWS SDK's bedrockruntime client.
//
// The SDK builds the requests, finds the endpoint and reads the answers. What
// it would do besides is switched off or guarded against: it signs nothing,
// retries nothing, logs nothing and reads no configuration of its own (see
// client.go); a streamed answer that breaks off is noticed, which the SDK's
// own reader does not do (frame.go); and a content block that the SDK does not
// know is an error instead of a copy of the block before it (answer.go).
//
// The package must not know which credential is put on its requests, who the
// caller is, or on which cloud the process runs. Its sources are the API
// reference of Amazon Bedrock Runtime and the SDK's service model.
package bedrock

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go/middleware"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
)

// name is what people call the upstream.
const name = "Amazon Bedrock"

// New returns the Model of an upstream. It is a [provider.Builder].
//
// The upstream must name its region: whoever wires the gateway fills in the
// region of the environment where the document has none. The doer signs the
// requests; see [Rejected] for what a [provider.Sender] must know.
func New(upstream *config.Upstream, doer provider.Doer) (provider.Model, error) {
	if upstream.AWSRegion == "" {
		return nil, fmt.Errorf("upstream %q has no region: set aws_region, or AWS_REGION in the function's environment", upstream.Name)
	}
	target := *upstream
	return &model{
		carries: carries(),
		client:  sync.OnceValue(func() *bedrockruntime.Client { return newClient(&target, doer) }),
	}, nil
}

// model is safe for concurrent use, as the SDK's client is.
type model struct {
	carries chat.Carries
	client  func() *bedrockruntime.Client
}

// Chat implements [provider.Model].
func (m *model) Chat(ctx context.Context, req *chat.Request) (*chat.Response, error) {
	in, err := m.translate(req)
	if err != nil {
		return nil, err
	}
	out, err := m.client().Converse(ctx, in)
	if err != nil {
		return nil, fault(err)
	}
	answer, err := decode(out)
	if err != nil {
		return nil, err
	}
	answer.ID, answer.Created, answer.Model = answerID(out.ResultMetadata), time.Now().Unix(), req.Model
	return answer, nil
}

// Stream implements [provider.Model]. It returns after the first event, since
// the service may accept a request with status 200 and then report an error in
// place of an answer.
func (m *model) Stream(ctx context.Context, req *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
	in, err := m.translate(req)
	if err != nil {
		return nil, err
	}
	out, err := m.client().ConverseStream(ctx, streamed(in), unread)
	if err != nil {
		return nil, fault(err)
	}
	body, err := streamOf(out.ResultMetadata)
	if err != nil {
		return nil, provider.Unreadable(name, err)
	}
	s := &stream{
		events: frames{in: bufio.NewReaderSize(body, 4<<10)},
		chunk:  chat.Chunk{ID: answerID(out.ResultMetadata), Object: chat.ObjectChunk, Created: time.Now().Unix(), Model: req.Model},
	}
	first, err := s.events.event()
	if err != nil {
		_ = body.Close()
		return nil, ended(err)
	}
	return func(yield func(*chat.Chunk, error) bool) {
		defer body.Close()
		s.read(first, yield)
	}, nil
}

// answerID makes the id of an answer from the service's id of the request,
// with which an operator finds the call in AWS's own logs.
func answerID(metadata middleware.Metadata) string {
	if id, ok := awsmiddleware.GetRequestIDMetadata(metadata); ok && id != "" {
		return "chatcmpl-" + id
	}
	return provider.NewID()
}

// streamed returns the same request for the streaming operation.
func streamed(in *bedrockruntime.ConverseInput) *bedrockruntime.ConverseStreamInput {
	return &bedrockruntime.ConverseStreamInput{
		ModelId:                      in.ModelId,
		Messages:                     in.Messages,
		System:                       in.System,
		InferenceConfig:              in.InferenceConfig,
		ToolConfig:                   in.ToolConfig,
		OutputConfig:                 in.OutputConfig,
		ServiceTier:                  in.ServiceTier,
		RequestMetadata:              in.RequestMetadata,
		AdditionalModelRequestFields: in.AdditionalModelRequestFields,
	}
}
