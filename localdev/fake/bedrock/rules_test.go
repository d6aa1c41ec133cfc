package bedrock_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// answer is what came back for a body that was sent as it is.
type answer struct {
	status        int
	name, message string
}

// post signs and sends a body that no client would build.
func (s *stand) post(t *testing.T, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(body))
	signer := aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), signer, req, hex.EncodeToString(sum[:]), "bedrock", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	var said struct{ Message string }
	_ = json.Unmarshal(got, &said)
	return answer{resp.StatusCode, name, said.Message}
}

func pixels(width, height int) string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	const (
		hi     = `{"role":"user","content":[{"text":"hi"}]}`
		called = `{"role":"assistant","content":[{"toolUse":{"toolUseId":"a","name":"f","input":{}}}]}`
		result = `{"role":"user","content":[{"toolResult":{"toolUseId":"a","content":[]}}]}`
		tools  = `"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}]}`
	)
	tests := []struct{ name, body, want string }{
		{"no messages", `{}`, "A conversation must start with a user message. Try again"},
		{"the assistant first", `{"messages":[{"role":"assistant","content":[{"text":"hi"}]}]}`, "A conversation must start with a user message."},
		{"the user twice", `{"messages":[` + hi + `,` + hi + `]}`, "A conversation must alternate between user and assistant roles."},
		{"a role for instructions", `{"messages":[` + hi + `,{"role":"system","content":[{"text":"x"}]}]}`, "Member must satisfy enum value set: [user, assistant]"},
		{"a message without content", `{"messages":[{"role":"user","content":[]}]}`, "The content field in the Message object at messages.0 is empty."},
		{"a text of nothing", `{"messages":[{"role":"user","content":[{"text":""}]}]}`, "The text field in the ContentBlock object at messages.0.content.0 is blank."},
		{"a text of space", `{"messages":[{"role":"user","content":[{"text":"hi"},{"text":" \n"}]}]}`, "The text field in the ContentBlock object at messages.0.content.1 is blank."},
		{"a block of two kinds", `{"messages":[{"role":"user","content":[{"text":"a","image":{"format":"png","source":{"bytes":""}}}]}]}`, "must set one and only one of its members"},
		{"a block of no kind", `{"messages":[{"role":"user","content":[{}]}]}`, "must set one and only one of its members"},
		{"a blank instruction", `{"messages":[` + hi + `],"system":[{"text":" "}]}`, "at system.0 is blank"},
		{"a member that does not exist", `{"messages":[` + hi + `],"max_tokens":1}`, "extraneous key [max_tokens] is not permitted"},
		{"a member of another type", `{"messages":"hi"}`, "The value at messages has another type"},
		{"no JSON", `{`, "not valid JSON"},
		{"a guardrail", `{"messages":[` + hi + `],"guardrailConfig":{}}`, "does not play"},

		{"an image of the assistant", `{"messages":[` + hi + `,{"role":"assistant","content":[{"image":{"format":"png","source":{"bytes":"` + pixels(1, 1) + `"}}}]}]}`, "Images are allowed in user messages only."},
		{"an image of another format", `{"messages":[{"role":"user","content":[{"image":{"format":"jpeg","source":{"bytes":"` + pixels(1, 1) + `"}}}]}]}`, "Could not process image"},
		{"an image of an unknown format", `{"messages":[{"role":"user","content":[{"image":{"format":"bmp","source":{"bytes":"` + pixels(1, 1) + `"}}}]}]}`, "[png, jpeg, gif, webp]"},
		{"an image without bytes", `{"messages":[{"role":"user","content":[{"image":{"format":"png","source":{"bytes":""}}}]}]}`, "between 1 and 3932160 bytes"},
		{"an image that is too wide", `{"messages":[{"role":"user","content":[{"image":{"format":"png","source":{"bytes":"` + pixels(8001, 1) + `"}}}]}]}`, "larger than 8000 pixels"},
		{"too many images", `{"messages":[{"role":"user","content":[` + strings.TrimSuffix(strings.Repeat(`{"image":{"format":"png","source":{"bytes":"`+pixels(1, 1)+`"}}},`, 21), ",") + `]}]}`, "more than 20"},

		{"calls without tools", `{"messages":[` + hi + `,` + called + `,` + result + `]}`, "The toolConfig field must be defined when using toolUse and toolResult content blocks."},
		{"a call without a result", `{"messages":[` + hi + `,` + called + `,` + hi + `],` + tools + `}`, "Expected toolResult blocks at messages.2.content for the following Ids: a"},
		{"a call at the end", `{"messages":[` + hi + `,` + called + `],` + tools + `}`, "Expected toolResult blocks at messages.2.content for the following Ids: a"},
		{"a result without a call", `{"messages":[` + result + `],` + tools + `}`, "The number of toolResult blocks at messages.0.content exceeds the number of toolUse blocks of previous turn."},
		{"the same id twice", `{"messages":[` + hi + `,` + called + `,` + result + `,` + called + `,` + result + `],` + tools + `}`, "`tool_use` ids must be unique"},
		{"a call of the user", `{"messages":[{"role":"user","content":[{"toolUse":{"toolUseId":"a","name":"f","input":{}}}]}],` + tools + `}`, "allowed in assistant messages only"},
		{"arguments that are no object", `{"messages":[` + hi + `,{"role":"assistant","content":[{"toolUse":{"toolUseId":"a","name":"f","input":[]}}]},` + result + `],` + tools + `}`, "Provide a json object for the field"},
		{"an id with a blank", `{"messages":[` + hi + `,{"role":"assistant","content":[{"toolUse":{"toolUseId":"a b","name":"f","input":{}}}]}],` + tools + `}`, "[a-zA-Z0-9_.:-]+"},
		{"a result without content", `{"messages":[` + hi + `,` + called + `,{"role":"user","content":[{"toolResult":{"toolUseId":"a"}}]}],` + tools + `}`, "Member must not be null"},
		{"no tools in toolConfig", `{"messages":[` + hi + `],"toolConfig":{"tools":[]}}`, "length greater than or equal to 1"},
		{"a tool's name with a blank", `{"messages":[` + hi + `],"toolConfig":{"tools":[{"toolSpec":{"name":"a b","inputSchema":{"json":{"type":"object"}}}}]}}`, "[a-zA-Z0-9_-]+"},
		{"two tools of a name", `{"messages":[` + hi + `],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}},{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}]}}`, "Tool names must be unique"},
		{"a schema of no object", `{"messages":[` + hi + `],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"string"}}}}]}}`, "inputSchema.json.type must be one of the following: object."},
		{"an empty description", `{"messages":[` + hi + `],"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"","inputSchema":{"json":{"type":"object"}}}}]}}`, "length greater than or equal to 1"},
		{"a choice of an unknown tool", `{"messages":[` + hi + `],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}],"toolChoice":{"tool":{"name":"g"}}}}`, "is not one of the tools"},
		{"a choice of nothing", `{"messages":[` + hi + `],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}],"toolChoice":{}}}`, "one and only one"},
		{"two choices", `{"messages":[` + hi + `],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}],"toolChoice":{"any":{}}},"additionalModelRequestFields":{"tool_choice":{"type":"any"}}}`, "The additional field tool_choice/type conflicts with the existing field toolConfig.toolChoice.any."},
		{"an additional choice without a type", `{"messages":[` + hi + `],` + tools + `,"additionalModelRequestFields":{"tool_choice":{"disable_parallel_tool_use":true}}}`, "tool_choice.type: Field required"},
		{"an additional choice without tools", `{"messages":[` + hi + `],"additionalModelRequestFields":{"tool_choice":{"type":"auto"}}}`, "may only be specified while providing tools"},
		{"an unknown additional field", `{"messages":[` + hi + `],"additionalModelRequestFields":{"seed":1}}`, "extraneous key [seed] is not permitted"},

		{"a temperature above one", `{"messages":[` + hi + `],"inferenceConfig":{"temperature":1.5}}`, "less than or equal to 1"},
		{"a negative topP", `{"messages":[` + hi + `],"inferenceConfig":{"topP":-1}}`, "greater than or equal to 0"},
		{"no tokens", `{"messages":[` + hi + `],"inferenceConfig":{"maxTokens":0}}`, "greater than or equal to 1"},
		{"an empty stop sequence", `{"messages":[` + hi + `],"inferenceConfig":{"stopSequences":[""]}}`, "length greater than or equal to 1"},
		{"an unknown tier", `{"messages":[` + hi + `],"serviceTier":{"type":"scale"}}`, "[priority, default, flex, reserved]"},
		{"an unknown effort", `{"messages":[` + hi + `],"outputConfig":{"effort":"none"}}`, "[low, medium, high, xhigh, max]"},
		{"a schema that is none", `{"messages":[` + hi + `],"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"x"}}}}}`, "is not a JSON schema"},
		{"metadata with a strange sign", `{"messages":[` + hi + `],"requestMetadata":{"user":"auth0|1"}}`, "regular expression pattern"},
		{"no metadata in requestMetadata", `{"messages":[` + hi + `],"requestMetadata":{}}`, "between 1 and 16"},
	}
	s := new(stand)
	s.serve(t, s.handler(brain.Echo{}))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := s.post(t, "/model/"+haiku+"/converse", test.body)
			if got.status != http.StatusBadRequest || got.name == "" || !strings.Contains(got.message, test.want) {
				t.Errorf("got %+v, want %q", got, test.want)
			}
		})
	}
}

func TestNewerModelsOfAnthropicTakeOneWayOfSampling(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, c := range []struct {
		name, model, sampling string
		want                  int
	}{
		{"both", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", `{"temperature":0.1,"topP":1}`, 400},
		{"one of them", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", `{"temperature":0.1}`, 200},
		{"both of an older model", haiku, `{"temperature":0.1,"topP":1}`, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := s.post(t, "/model/"+c.model+"/converse", `{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":`+c.sampling+`}`)
			if got.status != c.want || got.status == 400 && !strings.Contains(got.message, "cannot both be specified") {
				t.Errorf("got %+v, want %d", got, c.want)
			}
		})
	}
}

func TestAWebpIsKnownByItsFirstBytes(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for data, want := range map[string]int{"RIFF0000WEBPVP8 ": 200, "GIF89a0000000000": 400} {
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":[{"text":"look"},{"image":{"format":"webp","source":{"bytes":%q}}}]}]}`, base64.StdEncoding.EncodeToString([]byte(data)))
		if got := s.post(t, "/model/"+haiku+"/converse", body); got.status != want {
			t.Errorf("%s: got %+v, want %d", data, got, want)
		}
	}
}

func TestOtherPathsAreNoOperations(t *testing.T) {
	t.Parallel()
	s := new(stand)
	s.serve(t, s.handler(brain.Echo{}))
	for _, path := range []string{"/", "/model/" + haiku, "/model/" + haiku + "/invoke", "/model//converse", "/model/a/b/converse"} {
		if got := s.post(t, path, `{}`); got.status != http.StatusNotFound || got.name != "UnknownOperationException" {
			t.Errorf("%s: got %+v", path, got)
		}
	}
}
