// Package stage puts all of Postern on one machine: every function as it is
// deployed, behind a front that speaks its platform's contract, and strict
// stand-ins for every service that it calls. `make run`, the demo, the
// benchmarks and the end-to-end tests all run on it.
//
// It starts programs and wires addresses. It must not know how a front, a
// stand-in or a function does its work.
package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/front"
)

// The clouds.
const (
	AWS   = "aws"
	GCP   = "gcp"
	Azure = "azure"
)

// Clouds are the clouds in the order of their ports.
func Clouds() []string { return []string{AWS, GCP, Azure} }

// Ports are counted from the first one: the control page, the gateways in the
// order of [Clouds], after one more the rotation functions of Google Cloud and
// Azure, and from firstService on the stand-ins.
const firstService = 10

// Options says how a stage is set up. The zero value takes free ports, answers
// by [brain.Echo] and prints nothing.
type Options struct {
	// Port is the first of the ports. Zero means that each listener takes a free
	// one.
	Port int
	// Brain is the model behind the stand-ins.
	Brain brain.Brain
	// Env comes on top of each function's environment.
	Env map[string]string
	// Output receives the log lines of the functions. It must be safe for
	// concurrent use.
	Output io.Writer
	// Problem is told where the traffic of a stand-in departs from the vendor's
	// own description of the API, if those descriptions are at hand. It may be
	// called concurrently.
	Problem func(service string, p contract.Problem)
	// Bin holds programs that [Build] has made, so that they are not built
	// again. Empty means a temporary folder.
	Bin string
	// CrossCloud has each gateway serve the model services of the other two clouds,
	// OpenAI and Anthropic too, by nothing but its own platform's identity.
	CrossCloud bool
	// Document changes the document of a cloud's functions before it is used.
	Document func(cloud, document string) string
	// Withheld are the names of secrets that no function has any right to, though
	// the document says that it needs one.
	Withheld []string
}

// Stage is everything, running. It is safe for concurrent use.
type Stage struct {
	// Control is the address of the control page.
	Control string
	// Gateways are the addresses of the gateways by cloud.
	Gateways map[string]string

	o         Options
	services  services
	documents map[string]string // by cloud
	rotations map[string]func() (*Rotation, error)
	operators map[string]string // where operators send commands to the rotation functions that listen

	lambda *front.Lambda

	mu      sync.Mutex
	calls   []Call
	rights  map[string]rights // by cloud
	closers []func()
	closed  bool
}

// Start builds the functions and runs everything until ctx ends or Close is
// called. It returns when all gateways can be called.
func Start(ctx context.Context, o Options) (*Stage, error) {
	if o.Brain == nil {
		o.Brain = brain.Echo{}
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	if o.Problem == nil {
		o.Problem = func(string, contract.Problem) {}
	}
	s := &Stage{Gateways: map[string]string{}, o: o, documents: map[string]string{}, operators: map[string]string{}}
	if err := s.run(ctx); err != nil {
		s.Close()
		return nil, err
	}
	context.AfterFunc(ctx, s.Close)
	return s, nil
}

func (s *Stage) run(ctx context.Context) error {
	// Ports first: a port that is taken is the usual mistake, and building
	// takes a while.
	control, err := s.listen(0)
	if err != nil {
		return err
	}
	s.Control = "http://" + control.Addr().String()
	s.rotations = s.later(ctx)
	if err := s.serve(s.o); err != nil {
		return err
	}
	doors := map[string]net.Listener{}
	for i, cloud := range Clouds() {
		if doors[cloud], err = s.listen(1 + i); err != nil {
			return err
		}
		s.Gateways[cloud] = "http://" + doors[cloud].Addr().String()
	}
	for cloud, at := range map[string]struct {
		offset int
		path   string
	}{GCP: {5, "/"}, Azure: {6, "/operate"}} {
		door, err := s.listen(at.offset)
		if err != nil {
			return err
		}
		s.operators[cloud] = "http://" + door.Addr().String() + at.path
		s.start(door, s.rotationDoor(cloud))
	}
	s.write()
	programs, err := s.build(ctx)
	if err != nil {
		return err
	}
	if err := s.launch(ctx, programs, doors); err != nil {
		return err
	}
	s.start(control, s.control())
	return nil
}

// write writes the documents, and gives the functions the rights that they need.
func (s *Stage) write() {
	all := map[string]rights{}
	for _, cloud := range Clouds() {
		s.documents[cloud] = s.document(cloud)
		all[cloud] = rightsOf(s.documents[cloud])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rights = all
}

// listen opens a port: the one at that distance from the first, or a free one.
func (s *Stage) listen(offset int) (net.Listener, error) {
	port := 0
	if s.o.Port != 0 {
		port = s.o.Port + offset
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is taken by another program: stop that, or choose others with -port (ports from there on are used, %d of them)", port, firstService+portsOfServices)
	}
	if err == nil {
		s.onClose(func() { _ = l.Close() })
	}
	return l, err
}

// portsOfServices is how many ports the stand-ins take.
const portsOfServices = 29

// start serves until the stage is closed.
func (s *Stage) start(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	s.onClose(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
}

// onClose has something done when the stage is closed, or at once if it has been.
func (s *Stage) onClose(do func()) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.closers = append(s.closers, do)
	}
	s.mu.Unlock()
	if closed {
		do()
	}
}

// Close stops everything. It may be called more than once.
func (s *Stage) Close() {
	s.mu.Lock()
	closers := s.closers
	s.closers, s.closed = nil, true
	s.mu.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
}

// build compiles the gateways that have not been built yet, one program after
// the other: they share most of their packages.
func (s *Stage) build(ctx context.Context) (map[string]string, error) {
	if s.o.Bin == "" {
		out, err := os.MkdirTemp("", "postern")
		if err != nil {
			return nil, err
		}
		s.o.Bin = out
		s.onClose(func() { _ = os.RemoveAll(out) })
	}
	programs := map[string]string{}
	for cloud, b := range Binaries() {
		var err error
		if programs[cloud], err = s.program(ctx, b); err != nil {
			return nil, err
		}
	}
	return programs, nil
}

// program returns where a program is, and compiles it if it has not been.
func (s *Stage) program(ctx context.Context, b Binary) (string, error) {
	path := filepath.Join(s.o.Bin, filepath.FromSlash(b.Package), b.Name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	return Build(ctx, root, s.o.Bin, b)
}

// launch starts the functions behind their fronts.
func (s *Stage) launch(ctx context.Context, programs map[string]string, doors map[string]net.Listener) error {
	aws, err := front.StartLambda(ctx, front.LambdaOptions{
		Binary: programs[AWS], Name: "gateway-aws", Region: Region, AccountID: "123456789012",
		Env: s.env(AWS), Timeout: 5 * time.Minute, MaxInstances: 20,
		Listener: doors[AWS], Output: s.o.Output,
	})
	if err != nil {
		return err
	}
	s.onClose(func() { _ = aws.Close() })
	s.lambda = aws
	gcp, err := front.StartCloudRun(ctx, front.CloudRunOptions{
		Binary: programs[GCP], Service: "gateway-gcp", Target: "Gateway",
		Env: s.env(GCP), Listener: doors[GCP], Output: s.o.Output,
	})
	if err != nil {
		return err
	}
	s.onClose(func() { _ = gcp.Close() })
	root, err := Root()
	if err != nil {
		return err
	}
	azure, err := front.StartFunctions(ctx, front.FunctionsOptions{
		Root: filepath.Join(root, "functions", "azure", "gateway"), Executable: programs[Azure], Name: "gateway-azure",
		Env: s.env(Azure), Listener: doors[Azure], Output: s.o.Output,
	})
	if err != nil {
		return err
	}
	s.onClose(func() { _ = azure.Close() })
	return nil
}

// note keeps the latest calls.
func (s *Stage) note(c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 1000 {
		s.calls = s.calls[1:]
	}
	s.calls = append(s.calls, c)
}

// Calls returns the latest model calls that the stand-ins have let in, the
// oldest first.
func (s *Stage) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Invoke calls the function on AWS past its URL, as who may do that does. See
// [front.Lambda].
func (s *Stage) Invoke(ctx context.Context, payload []byte) (reply []byte, functionError string, err error) {
	return s.lambda.Invoke(ctx, payload)
}

// Token returns a token of the stage's issuer that the gateways accept, unless
// t says otherwise.
func (s *Stage) Token(t oidc.Token) (string, error) {
	t.Subject = cmp.Or(t.Subject, "developer")
	if t.Audience == nil {
		t.Audience = []string{audience}
	}
	return s.services.issuer.Mint(t)
}

// Witness returns the addresses by which the vendors' own clients reach the
// stand-ins, as environment variables.
func (s *Stage) Witness() map[string]string {
	return map[string]string{
		"POSTERN_E2E_VERTEX_URL": s.services.url(vertex),
		"GCE_METADATA_HOST":      host(s.services.url("metadata server")),
		"IDENTITY_ENDPOINT":      s.services.url("managed identity") + "/msi/token",
		"IDENTITY_HEADER":        identityHeader,

		"POSTERN_E2E_SECRETMANAGER_URL": s.services.url(secretManager),
		"POSTERN_E2E_KEYVAULT_URL":      s.services.url(keyVault),
		"NODE_EXTRA_CA_CERTS":           s.services.federation.roots,

		"POSTERN_E2E_OPERATOR_METADATA_HOST":     host(s.services.url(operatorMetadata)),
		"POSTERN_E2E_OPERATOR_IDENTITY_ENDPOINT": s.services.url(operatorIdentity) + "/msi/token",
	}
}
