package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/authority"
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
	header := fmt.Sprintf(`"x-amzn-mtls-clientcert-leaf":%q`, authority.Leaf(certificate))
	request := func(domain, headers, context string) string {
		return fmt.Sprintf(`{"version":"2.0","rawPath":"/v1/models","headers":{%s},"requestContext":{"domainName":%q,"stage":"$default",%s"http":{"method":"GET"}}}`, headers, domain, context)
	}
	verified := fmt.Sprintf(`"authentication":{"clientCert":{"clientCertPem":%q}},`, text)
	for _, c := range []struct {
		name, event string
		admitted    bool
	}{
		{"the load balancer's header, through the load balancer", `{"requestContext":{"elb":{"targetGroupArn":"arn"}},"httpMethod":"GET","path":"/v1/models","headers":{"host":"x",` + header + `}}`, true},
		{"a load balancer that has passed none on", `{"requestContext":{"elb":{"targetGroupArn":"arn"}},"httpMethod":"GET","path":"/v1/models","headers":{"host":"x"}}`, false},
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
