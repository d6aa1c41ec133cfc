package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/localdev/fake/authority"
	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/bedrock"
	"github.com/postern-ai/postern/localdev/fake/brain"
)

// TestCertificatesCountWhereTheirFrontIs sends the same certificate by each way
// into a function whose document declares a load balancer and an API.
func TestCertificatesCountWhereTheirFrontIs(t *testing.T) {
	t.Parallel()
	env := map[string]string{"AWS_REGION": "eu-west-1", "POSTERN_CONFIG": `{"fronts":{"alb":{"admit":true},"api_gateway":{"admit":true}},"policy":[{"models":["*"]}],"upstreams":[{"provider":"bedrock"}]}`}
	handle, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	invoke := handle.(func(context.Context, json.RawMessage) (any, error))
	// Fronts that verify would not let it pass; here nothing is in front.
	certificate, err := (&authority.Authority{}).Client(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := authority.PEM(certificate)
	named := func(name string) string { return fmt.Sprintf("%q:%q", name, authority.Leaf(certificate)) }
	header := named("x-amzn-mtls-clientcert-leaf")
	request := func(domain, headers, context string) string {
		return fmt.Sprintf(`{"version":"2.0","rawPath":"/v1/models","headers":{%s},"requestContext":{"domainName":%q,"stage":"$default",%s"http":{"method":"GET"}}}`, headers, domain, context)
	}
	balanced := func(headers string) string {
		return `{"requestContext":{"elb":{"targetGroupArn":"arn"}},"httpMethod":"GET","path":"/v1/models","headers":{"host":"x"` + headers + `}}`
	}
	verified := fmt.Sprintf(`"authentication":{"clientCert":{"clientCertPem":%q}},`, text)
	for _, c := range []struct {
		name, event string
		admitted    bool
	}{
		{"the load balancer's header, through the load balancer", balanced("," + header), true},
		{"a load balancer that has passed none on", balanced(""), false},
		{"what a load balancer has not verified", balanced("," + named("x-amzn-mtls-clientcert")), false},
		{"a client's own header, with underscores, through the load balancer", balanced("," + named("x_amzn_mtls_clientcert_leaf")), false},
		{"a client's own header beside the load balancer's", balanced("," + header + "," + named("X-Amzn-Mtls-Clientcert-Leaf")), false},
		{"the load balancer's header, through the function URL", request("abc.lambda-url.eu-west-1.on.aws", header, ""), false},
		{"the load balancer's header, through an API", request("llm.example.com", header, ""), false},
		{"a certificate in an API's event", request("llm.example.com", "", verified), true},
		{"a certificate in a function URL's event", request("abc.lambda-url.eu-west-1.on.aws", "", verified), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reply, err := invoke(t.Context(), json.RawMessage(c.event))
			if err != nil {
				t.Fatal(err)
			}
			got, ok := reply.(json.RawMessage)
			if stream, streamed := reply.(io.Reader); streamed {
				got, err = io.ReadAll(stream)
				ok = err == nil
			}
			if admitted := strings.Contains(strings.ReplaceAll(string(got), `\`, ""), `"object":"list"`); !ok || admitted != c.admitted {
				t.Errorf("admitted: %v, want %v: %s", admitted, c.admitted, got)
			}
		})
	}
}

// TestALoadBalancerGetsAnswersInOnePiece sends the sample of a load balancer's event, whose certificate is one, and others like it.
func TestALoadBalancerGetsAnswersInOnePiece(t *testing.T) {
	t.Parallel()
	creds := awscreds.New(awscreds.Options{})
	role := creds.Issue()
	models := httptest.NewServer(bedrock.New(bedrock.Options{Brain: brain.Echo{}, Keys: creds.Lookup, Region: "eu-west-1"}))
	t.Cleanup(models.Close)
	env := map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": role.AccessKeyID, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": models.URL,
		"AWS_SECRET_ACCESS_KEY": role.SecretAccessKey, "AWS_SESSION_TOKEN": role.SessionToken,
		"POSTERN_CONFIG": `{"fronts":{"alb":{"admit":true}},"policy":[{"match":{"issuer":"mtls:alb","subjects":["CN=app,O=Partner"]},"models":["*"]}],
			"upstreams":[{"provider":"bedrock","models":[{"name":"claude-sonnet","model":"amazon.nova-lite-v1:0"}]}]}`,
	}
	handle, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sample, err := fs.ReadFile(events.Files(), "aws/alb-certificate.json")
	if err != nil {
		t.Fatal(err)
	}
	asking := func(question string) []byte { return bytes.Replace(sample, []byte("Hello"), []byte(question), 1) }
	whole := func(event []byte) []byte {
		return bytes.Replace(event, []byte(`\"stream\":true`), []byte(`\"stream\":false`), 1)
	}
	for _, c := range []struct {
		name              string
		event             []byte
		status            int
		kind, first, last string
	}{
		{"a streamed answer has all its events", sample, http.StatusOK, "text/event-stream", `data: {"id":`, "data: [DONE]"},
		{"an answer that is not streamed is itself", whole(sample), http.StatusOK, "application/json", `{"id":`, "}"},
		{"a streamed answer that is too large for it is refused", asking("#long(6000)"), http.StatusBadGateway, "application/json", `{"error":`, `"code":"response_too_large"}}`},
		{"the same answer is not too large in one piece", whole(asking("#long(6000)")), http.StatusOK, "application/json", `{"id":`, "}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reply, err := handle.(func(context.Context, json.RawMessage) (any, error))(t.Context(), c.event)
			if err != nil {
				t.Fatal(err)
			}
			document, ok := reply.(json.RawMessage)
			if !ok || len(document) > 1<<20 {
				t.Fatalf("a reply of %d bytes in a %T, which a load balancer does not take", len(document), reply)
			}
			var got struct {
				StatusCode int               `json:"statusCode"`
				Headers    map[string]string `json:"headers"`
				Body       string            `json:"body"`
				Base64     bool              `json:"isBase64Encoded"`
			}
			if err := json.Unmarshal(document, &got); err != nil {
				t.Fatal(err)
			}
			if got.StatusCode != c.status || got.Headers["Content-Type"] != c.kind || got.Base64 ||
				!strings.HasPrefix(got.Body, c.first) || !strings.HasSuffix(strings.TrimSpace(got.Body), c.last) {
				t.Errorf("got %d %v: %.300s", got.StatusCode, got.Headers, got.Body)
			}
		})
	}
}
