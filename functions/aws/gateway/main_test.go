package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/bedrock"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/sts"
)

// event is a request to a function URL. The identity is what AWS adds for
// authorization type AWS_IAM.
func event(identity, body string) json.RawMessage {
	authorizer := ""
	if identity != "" {
		authorizer = fmt.Sprintf(`"authorizer":{"iam":{"accessKey":"AKIAEXAMPLE","accountId":"123456789012","callerId":"AIDAEXAMPLE","userArn":%q,"userId":"AIDAEXAMPLE"}},`, identity)
	}
	return json.RawMessage(fmt.Sprintf(`{"version":"2.0","routeKey":"$default","rawPath":"/v1/chat/completions","rawQueryString":"",
		"headers":{"content-type":"application/json","host":"abc.lambda-url.eu-west-1.on.aws"},
		"requestContext":{%s"accountId":"123456789012","apiId":"abc","domainName":"abc.lambda-url.eu-west-1.on.aws","domainPrefix":"abc",
			"http":{"method":"POST","path":"/v1/chat/completions","protocol":"HTTP/1.1","sourceIp":"192.0.2.1","userAgent":"test"},
			"requestId":"r1","routeKey":"$default","stage":"$default","time":"12/Mar/2026:19:03:58 +0000","timeEpoch":1773342238000},
		"body":%q,"isBase64Encoded":false}`, authorizer, body))
}

// TestWithoutADocument is the function as it comes: no document, the role of
// the environment, and AWS_IAM in front.
func TestWithoutADocument(t *testing.T) {
	t.Parallel()
	creds := awscreds.New(awscreds.Options{})
	role := creds.Issue()
	models := httptest.NewServer(bedrock.New(bedrock.Options{Brain: brain.Echo{}, Keys: creds.Lookup, Region: "eu-west-1"}))
	defer models.Close()
	identity := httptest.NewServer(sts.New(creds.Lookup, "eu-west-1"))
	defer identity.Close()
	env := map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": role.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": role.SecretAccessKey, "AWS_SESSION_TOKEN": role.SessionToken,
		"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": models.URL, "AWS_ENDPOINT_URL_STS": identity.URL,
		// A key in the environment must never be preferred to the role.
		"AWS_BEARER_TOKEN_BEDROCK": "a-key-that-is-not-used",
	}
	var log bytes.Buffer
	handle, err := handler(func(name string) string { return env[name] }, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	invoke := handle.(func(context.Context, json.RawMessage) (any, error))
	const body = `{"model":"amazon.nova-lite-v1:0","messages":[{"role":"user","content":"#say(good morning)"}]}`
	for _, c := range []struct{ name, caller, want string }{
		{"a caller whom IAM has admitted is answered", "arn:aws:iam::123456789012:user/alice", `"content":"good morning"`},
		{"a caller whom nobody has admitted is refused", "", `"code":"invalid_api_key"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply, err := invoke(t.Context(), event(c.caller, body))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(reply.(io.Reader))
			if err != nil || !strings.Contains(string(text), c.want) {
				t.Errorf("got %s, %v", text, err)
			}
		})
	}
	if !strings.Contains(log.String(), `"caller":"arn:aws:iam::123456789012:user/alice"`) || !strings.Contains(log.String(), `"identity_source":"environment"`) {
		t.Errorf("the log does not say who called and who signed: %s", log.String())
	}
	if strings.Contains(log.String(), role.SecretAccessKey) || strings.Contains(log.String(), role.SessionToken) {
		t.Error("a credential is in the log")
	}
}

func TestAModeThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	env := map[string]string{"AWS_REGION": "eu-west-1", "POSTERN_INVOKE_MODE": "STREAM"}
	_, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "POSTERN_INVOKE_MODE") || !strings.Contains(err.Error(), "RESPONSE_STREAM") {
		t.Errorf("got %v", err)
	}
}
