package bench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/awscreds"
	"github.com/postern-ai/postern/localdev/fake/managedid"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/fake/sts"
	"github.com/postern-ai/postern/localdev/stage"
)

const (
	region         = "eu-west-1"
	audience       = "postern"
	identityHeader = "bench-identity-header"
)

// world is everything around a process that is measured: the caller's issuer,
// the platform's identity services, and the canned upstream.
type world struct {
	upstream upstream
	url      string // of the upstream
	issuer   string
	token    string // a caller's
	identity map[string]string
}

func newWorld(b *testing.B) *world {
	b.Helper()
	w := &world{}
	w.url = "http://" + listen(b, &w.upstream)
	var issuer *oidc.Issuer
	w.issuer = "http://" + listen(b, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { issuer.ServeHTTP(rw, r) }))
	issuer = oidc.New(w.issuer)
	token, err := issuer.Mint(oidc.Token{Subject: "bench", Audience: []string{audience}, Groups: []string{"engineering"}, Algorithm: "RS256"})
	if err != nil {
		b.Fatal(err)
	}
	w.token = token
	credentials := awscreds.New(awscreds.Options{})
	key := credentials.Issue()
	w.identity = map[string]string{
		// Where Lambda puts the credentials of a function's role.
		"AWS_ACCESS_KEY_ID":     key.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": key.SecretAccessKey,
		"AWS_SESSION_TOKEN":     key.SessionToken,
		"AWS_ENDPOINT_URL_STS":  "http://" + listen(b, sts.New(credentials.Lookup, region)),
		"GCE_METADATA_HOST":     listen(b, metadata.New(metadata.Options{ProjectID: "p", Region: "europe-west4"})),
		"IDENTITY_ENDPOINT": "http://" + listen(b, managedid.New(managedid.Options{
			Secret: identityHeader,
			System: managedid.Identity{ClientID: "22222222-3333-4444-8555-666666666666", ObjectID: "33333333-4444-4555-8666-777777777777"},
		})) + "/msi/token",
		"IDENTITY_HEADER": identityHeader,
		"UPSTREAM_KEY":    "sk-bench",
	}
	return w
}

// document configures a gateway with one provider behind it, and callers that
// have to show a token.
func (w *world) document(provider string) string {
	options := map[string]string{
		openAI:  "base_url: " + w.url + "/v1, auth_type: api_key, credential_ref: env://UPSTREAM_KEY",
		azure:   "base_url: " + w.url + ", auth_type: azure_ad",
		vertex:  "base_url: " + w.url + ", location_id: global",
		bedrock: "base_url: " + w.url + ", aws_region: " + region,
	}[provider]
	return fmt.Sprintf(`
callers: [{name: local, issuer: %q, audience: %s}]
policy: [{name: everyone, match: {groups: [engineering]}, models: ["*"]}]
upstreams: [{provider: %s, models: [{name: m, model: m}], %s}]
`, w.issuer, audience, provider, options)
}

// gateway is the environment of a gateway on any platform.
func (w *world) gateway(provider string) map[string]string {
	env := maps.Clone(w.identity)
	env["POSTERN_CONFIG"] = w.document(provider)
	return env
}

// gatewayServer runs a gateway that is a server: the one on the provider's own
// cloud, for AWS without Lambda, or for the wire of OpenAI Azure's, which is the
// plainest.
func (w *world) gatewayServer(b *testing.B, provider string) *process {
	b.Helper()
	address := freeAddress(b)
	_, port, _ := net.SplitHostPort(address)
	switch provider {
	case vertex:
		return serve(b, programs[stage.GCP], address, joined(w.gateway(provider), functionEnvironment(address)))
	case bedrock:
		return serve(b, programs["plain"], address, joined(w.gateway(provider), map[string]string{"PORT": port}))
	}
	root, err := stage.Root()
	if err != nil {
		b.Fatal(err)
	}
	return serve(b, programs[stage.Azure], address, joined(w.gateway(provider), map[string]string{
		"FUNCTIONS_CUSTOMHANDLER_PORT": port, "FUNCTIONS_APP_ROOT_PATH": filepath.Join(root, "functions", "azure", "gateway"),
	}))
}

// functionEnvironment is what Google Cloud sets for a function, but for the
// name of the service: with that the framework writes two empty lines per
// request, which is not the gateway's doing.
func functionEnvironment(address string) map[string]string {
	host, port, _ := net.SplitHostPort(address)
	return map[string]string{"LOCAL_HOST": host, "PORT": port, "FUNCTION_TARGET": "Gateway", "CLOUD_RUN_TIMEOUT_SECONDS": "300"}
}

// proxyServer runs the bare proxy.
func (w *world) proxyServer(b *testing.B) *process {
	b.Helper()
	address := freeAddress(b)
	_, port, _ := net.SplitHostPort(address)
	return serve(b, programs["proxy"], address, map[string]string{"PORT": port, "UPSTREAM_URL": w.url})
}

// function runs a function on a Runtime API of its own.
func (w *world) function(b *testing.B, name string, env map[string]string) (*process, *runtimeAPI) {
	b.Helper()
	api := newRuntimeAPI(b)
	return start(b, programs[name], joined(env, api.environment())), api
}

func joined(environments ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, env := range environments {
		maps.Copy(all, env)
	}
	return all
}

// call returns a request of the caller, to no address yet.
func (w *world) call(method, path string, body []byte) *http.Request {
	r, err := http.NewRequest(method, "http://bench"+path, bytes.NewReader(body))
	if err != nil {
		panic(err) // the addresses are this package's own
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// request is a chat as an application sends it.
func request(stream bool) []byte {
	return fmt.Appendf(nil, `{"model":"m","stream":%t,"temperature":0.2,"max_tokens":200,"messages":[`+
		`{"role":"system","content":"You answer in one line."},`+
		`{"role":"user","content":"What is the capital of France, and why is it not Lyon?"}]}`, stream)
}

// extras are what the gateways are compared with, and one without its platform.
var extras = map[string]stage.Binary{
	"plain":       {Package: "localdev/bench/plain", Name: "server"},
	"lambda":      {Package: "localdev/bench/baseline/lambda", Name: "bootstrap"},
	"function":    {Package: "localdev/bench/baseline/function", Name: "server"},
	"proxy":       {Package: "localdev/bench/baseline/proxy", Name: "proxy"},
	"lambdaproxy": {Package: "localdev/bench/baseline/lambdaproxy", Name: "bootstrap"},
}

// folder is where everything is built.
var folder string

// programs are the paths of everything that is measured, by the names of
// [stage.Binaries] and extras. TestMain sets it once.
var programs map[string]string

func TestMain(m *testing.M) {
	flag.Parse()
	// Each measurement is a whole benchmark in itself; see once.
	if times := flag.Lookup("test.benchtime"); times.Value.String() == times.DefValue {
		_ = times.Value.Set("1x")
	}
	code := 1
	var err error
	folder, err = os.MkdirTemp("", "postern-bench")
	if err == nil && flag.Lookup("test.bench").Value.String() != "" {
		programs, err = build(folder)
	}
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// build makes both sides alike.
func build(folder string) (map[string]string, error) {
	root, err := stage.Root()
	if err != nil {
		return nil, err
	}
	all := stage.Binaries()
	maps.Copy(all, extras)
	paths := map[string]string{}
	for name, binary := range all {
		if paths[name], err = stage.Build(context.Background(), root, folder, binary); err != nil {
			return nil, err
		}
	}
	return paths, nil
}
