package bedrock_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// failing says one word and then fails.
type failing struct{ err error }

func (f failing) Answer(context.Context, brain.Prompt) iter.Seq2[brain.Piece, error] {
	return func(yield func(brain.Piece, error) bool) {
		if yield(brain.Piece{Text: "one"}, nil) {
			yield(brain.Piece{}, f.err)
		}
	}
}

func TestAFaultIsAnsweredAsTheServiceWould(t *testing.T) {
	t.Parallel()
	tests := []struct {
		prompt string
		status int
		name   string
		wait   string
	}{
		{"#fail(400)", 400, "ValidationException", ""},
		{"#fail(401)", 403, "UnrecognizedClientException", ""},
		{"#fail(403)", 403, "AccessDeniedException", ""},
		{"#fail(404)", 404, "ResourceNotFoundException", ""},
		{"#fail(408)", 408, "ModelTimeoutException", ""},
		{"#fail(413)", 413, "RequestEntityTooLargeException", ""},
		{"#fail(424)", 424, "ModelErrorException", ""},
		{"#fail(429,3)", 429, "ThrottlingException", "3"},
		{"#fail(500)", 500, "InternalServerException", ""},
		{"#fail(502)", 502, "", ""},
		{"#fail(503)", 503, "ServiceUnavailableException", ""},
		{"#error()", 500, "InternalServerException", ""},
	}
	s := new(stand)
	s.serve(t, s.handler(brain.Echo{}))
	for _, test := range tests {
		t.Run(test.prompt, func(t *testing.T) {
			t.Parallel()
			_, err := s.client().Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(haiku), Messages: []types.Message{user(test.prompt)}})
			var answered *awshttp.ResponseError
			if !errors.As(err, &answered) || answered.HTTPStatusCode() != test.status {
				t.Fatalf("got %v", err)
			}
			name, _, _ := strings.Cut(answered.Response.Header.Get("X-Amzn-Errortype"), ":")
			if name != test.name || answered.Response.Header.Get("Retry-After") != test.wait {
				t.Errorf("got %s and %v", name, answered.Response.Header)
			}
		})
	}
}

func TestAMessageChoosesAmongTheExceptionsOfAStatus(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"ModelNotReadyException": 429, "ServiceQuotaExceededException": 400, "ExpiredTokenException": 403, "FTUFormNotFilled": 404} {
		s := new(stand)
		s.serve(t, s.handler(failing{&brain.Fault{Kind: brain.FaultStatus, Status: 500, Message: name + ": as asked"}}))
		got := s.post(t, "/model/"+haiku+"/converse", `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`)
		if want := (answer{status, name, "as asked"}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestAStreamFailsInEveryWay(t *testing.T) {
	t.Parallel()
	const begun = "start assistant\n0 text \"You\"\n0 text \" said\"\n0 text \" in\"\n0 text \" 4\"\n"
	tests := []struct{ prompt, text, err string }{
		{"#error() and so on then", begun, "InternalServerException: The model stopped with an internal error, as the prompt asked."},
		{"#garbage() and so on then", begun, "decode event: message checksum mismatch"},
		{"#truncate() and so on then", begun, ""}, // which the official client takes for an end
		{"#break() and so on then", begun, "decode event: "},
		{"#fail(503) and so on then", "", "ServiceUnavailableException: The prompt asked for the status 503."},
		{"#reset() and so on then", "", "operation error Bedrock Runtime: ConverseStream, "},
	}
	s := new(stand)
	s.serve(t, s.handler(brain.Echo{}))
	for _, test := range tests {
		t.Run(test.prompt, func(t *testing.T) {
			t.Parallel()
			got, err := transcript(t, s, &bedrockruntime.ConverseStreamInput{ModelId: aws.String(haiku), Messages: []types.Message{user(test.prompt)}})
			if got != test.text || !strings.HasPrefix(exception(err), test.err) || (err == nil) != (test.err == "") {
				t.Errorf("got %q and %v", got, err)
			}
		})
	}
}

func TestAWholeAnswerFailsInEveryWay(t *testing.T) {
	t.Parallel()
	s := new(stand)
	s.serve(t, s.handler(brain.Echo{}))
	for _, prompt := range []string{"#break()", "#truncate()", "#garbage()", "#reset()"} {
		out, err := s.client().Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(haiku), Messages: []types.Message{user(prompt)}})
		if err == nil {
			t.Errorf("%s: got %v", prompt, out)
		}
	}
}

func TestAHangLastsUntilTheClientGivesUp(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.client().Converse(ctx, &bedrockruntime.ConverseInput{ModelId: aws.String(haiku), Messages: []types.Message{user("#hang()")}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestABlockedPromptIsAnAnswerOfTheGuardrail(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	out, err := s.client().Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: aws.String(haiku), Messages: []types.Message{user("#blocked()")}})
	if err != nil || out.StopReason != types.StopReasonGuardrailIntervened {
		t.Errorf("got %v and %v", out, err)
	}
	got, err := transcript(t, s, &bedrockruntime.ConverseStreamInput{ModelId: aws.String(haiku), Messages: []types.Message{user("#blocked()")}})
	if err != nil || !strings.Contains(got, "end guardrail_intervened") {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestABrainThatFailsIsAModelError(t *testing.T) {
	t.Parallel()
	s := new(stand)
	s.serve(t, s.handler(failing{errors.New("out of order")}))
	got := s.post(t, "/model/"+haiku+"/converse", `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`)
	if want := (answer{http.StatusFailedDependency, "ModelErrorException", "The model failed."}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	_, err := transcript(t, s, &bedrockruntime.ConverseStreamInput{ModelId: aws.String(haiku), Messages: []types.Message{user("hi")}})
	if got := exception(err); got != "ModelStreamErrorException: The model failed." {
		t.Errorf("got %q", got)
	}
}
