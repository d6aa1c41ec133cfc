// Package bench measures what the gateway functions cost beside bare servers:
// the time until a new process has answered, CPU per request and per streamed
// chunk, memory, and size. The functions are the programs that are deployed.
//
// Both sides of a ratio are measured in the same run, in turns, and each figure
// is a median, so that a busy machine spoils the figures and not the ratios.
// The upstream and the load are in this process, and cost neither side.
//
// It must not know how a gateway does its work.
package bench

import (
	"cmp"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/stage"
)

// The goals, as ratios to the baseline, in bytes, and in bytes.
var (
	goalColdStart = 1.5
	goalCPU       = map[string]float64{openAI: 1.5, azure: 1.5, vertex: 2, bedrock: 3}
	goalMemory    = 60.0 * (1 << 20)
	goalSize      = 25e6
)

// once runs a measurement that is a whole benchmark in itself and reports its
// figures instead of the time it took.
func once(b *testing.B, measure func()) {
	b.Helper()
	for b.Loop() {
		measure()
	}
	b.ReportMetric(0, "ns/op")
}

// median returns the middle one.
func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// BenchmarkColdStart measures from the start of a process to the end of its
// first answer. The baselines answer "ok"; the gateways answer a health check,
// which shows what starting costs, or a chat, for which they also fetch the keys
// of the caller's issuer, their own credential, and the answer of the model.
func BenchmarkColdStart(b *testing.B) {
	w := newWorld(b)
	const health, chat = `{"status":"ok"}`, "A short answer"
	onLambda := func(event []byte, want string) func(*testing.B) {
		return func(b *testing.B) {
			compareStarts(b, lambdaStart(b, stage.AWS, w.gateway(bedrock), event, want), lambdaStart(b, "lambda", nil, event, `"ok"`))
		}
	}
	onFramework := func(call func() *http.Request, want string) func(*testing.B) {
		return func(b *testing.B) {
			compareStarts(b, serverStart(b, stage.GCP, w.gateway(vertex), call, want), serverStart(b, "function", nil, call, "ok"))
		}
	}
	b.Run("aws/health", onLambda(functionURLEvent(b, "GET", "/healthz", w.token, nil), health))
	b.Run("aws/chat", onLambda(functionURLEvent(b, "POST", "/v1/chat/completions", w.token, request(false)), chat))
	b.Run("gcp/health", onFramework(func() *http.Request { return w.call(http.MethodGet, "/health", nil) }, health))
	b.Run("gcp/chat", onFramework(func() *http.Request { return w.call(http.MethodPost, "/v1/chat/completions", request(false)) }, chat))
}

// startup is what one start took.
type startup struct{ wall, cpu time.Duration }

// starts is how often each side is started.
const starts = 101

func compareStarts(b *testing.B, gateway, bare func() startup) {
	b.Helper()
	once(b, func() {
		var walls, cpus [2][]time.Duration
		for range starts {
			for side, start := range []func() startup{gateway, bare} {
				s := start()
				walls[side], cpus[side] = append(walls[side], s.wall), append(cpus[side], s.cpu)
			}
		}
		ours, theirs := milliseconds(median(walls[0])), milliseconds(median(walls[1]))
		b.ReportMetric(ours, "ms")
		b.ReportMetric(theirs, "ms-bare")
		b.ReportMetric(milliseconds(median(cpus[0])), "ms-cpu")
		b.ReportMetric(milliseconds(median(cpus[1])), "ms-cpu-bare")
		b.ReportMetric(ours/theirs, "x-ratio")
		b.ReportMetric(goalColdStart, "x-goal")
	})
}

// lambdaStart starts a function on the Runtime API with an event waiting.
func lambdaStart(b *testing.B, name string, env map[string]string, event []byte, want string) func() startup {
	path := programs[name]
	return func() startup {
		// A new one each time: the last process may still wait for an event there.
		api := newRuntimeAPI(b)
		api.events <- event
		begin := time.Now()
		p := start(b, path, joined(env, api.environment()))
		return p.started(b, begin, <-api.replies, want)
	}
}

// serverStart starts a server and calls it as soon as it listens.
func serverStart(b *testing.B, name string, env map[string]string, call func() *http.Request, want string) func() startup {
	path := programs[name]
	return func() startup {
		address := freeAddress(b)
		begin := time.Now()
		p := start(b, path, joined(env, functionEnvironment(address)))
		resp, err := oneConnection(address).RoundTrip(call())
		if err != nil {
			b.Fatal(err)
		}
		reply, err := io.ReadAll(resp.Body)
		if err != nil {
			b.Fatal(err)
		}
		return p.started(b, begin, reply, want)
	}
}

// started ends a process that has given its first answer.
func (p *process) started(b *testing.B, begin time.Time, reply []byte, want string) startup {
	b.Helper()
	s := startup{wall: time.Since(begin)}
	p.stop()
	if !strings.Contains(string(reply), want) {
		b.Fatalf("the first answer is not what was asked for: %s", reply)
	}
	s.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	return s
}

// BenchmarkCPU measures the CPU time of a gateway, user and system, beside that
// of a bare reverse proxy in front of the same upstream: per small chat, and
// per streamed chunk of an answer whose events come a millisecond apart
// ("stream") or one right after the other ("burst"). Callers show a token that the gateway has seen before, and the
// log line is written.
func BenchmarkCPU(b *testing.B) {
	for _, provider := range []string{openAI, azure, vertex, bedrock} {
		b.Run(provider, func(b *testing.B) {
			w := newWorld(b)
			gateway, proxy := w.gatewayServer(b, provider), w.proxyServer(b)
			for _, l := range loads {
				b.Run(l.name, func(b *testing.B) {
					compareCPU(b, w, l, goalCPU[provider],
						side{gateway, w.caller(gateway, "/v1/chat/completions", l.stream)},
						side{proxy, w.caller(proxy, l.path(provider), l.stream)})
				})
			}
		})
	}
	b.Run("bedrock-on-lambda", func(b *testing.B) {
		w := newWorld(b)
		gateway, gatewayAPI := w.function(b, stage.AWS, w.gateway(bedrock))
		proxy, proxyAPI := w.function(b, "lambdaproxy", map[string]string{"UPSTREAM_URL": w.url})
		for _, l := range loads {
			l.count, l.concurrency = l.count/8, 1 // an instance has one event at a time
			b.Run(l.name, func(b *testing.B) {
				compareCPU(b, w, l, goalCPU[bedrock],
					side{gateway, gatewayAPI.caller(functionURLEvent(b, "POST", "/v1/chat/completions", w.token, request(l.stream)))},
					side{proxy, proxyAPI.caller(functionURLEvent(b, "POST", l.path(bedrock), w.token, request(l.stream)))})
			})
		}
	})
}

// rounds is how often each side has its turn.
const rounds = 5

func compareCPU(b *testing.B, w *world, l load, goal float64, gateway, bare side) {
	b.Helper()
	w.upstream.pace.Store(int64(l.pace))
	unit, per := "us-cpu/req", float64(l.count)
	if l.stream {
		unit, per = "us-cpu/chunk", float64(l.count*chunks)
	}
	once(b, func() {
		gateway.run(b, l)
		bare.run(b, l)
		var ours, theirs, ratios []float64
		for i := range rounds {
			ours = append(ours, microseconds(gateway.run(b, l))/per)
			theirs = append(theirs, microseconds(bare.run(b, l))/per)
			ratios = append(ratios, ours[i]/theirs[i])
		}
		b.ReportMetric(median(ours), unit)
		b.ReportMetric(median(theirs), unit+"-bare")
		b.ReportMetric(median(ratios), "x-ratio")
		b.ReportMetric(goal, "x-goal")
	})
}

// streams is how many are open at once while memory is measured.
const streams = 200

// BenchmarkMemory measures the most memory that a gateway has resident while it
// passes 200 streams on at the same time. On Lambda an instance has one stream.
func BenchmarkMemory(b *testing.B) {
	l := load{stream: true, pace: 20 * time.Millisecond, count: 3 * streams, concurrency: streams}
	report := func(b *testing.B, p *process, call func() ([]byte, error), w *world, l load) {
		w.upstream.pace.Store(int64(l.pace))
		once(b, func() { side{p, call}.run(b, l) })
		b.ReportMetric(p.peak(b)/(1<<20), "MiB")
		b.ReportMetric(goalMemory/(1<<20), "MiB-goal")
	}
	for _, provider := range []string{openAI, azure, vertex, bedrock} {
		b.Run(provider, func(b *testing.B) {
			w := newWorld(b)
			p := w.gatewayServer(b, provider)
			report(b, p, w.caller(p, "/v1/chat/completions", true), w, l)
		})
	}
	b.Run("bedrock-on-lambda", func(b *testing.B) {
		w := newWorld(b)
		p, api := w.function(b, stage.AWS, w.gateway(bedrock))
		one := load{stream: true, pace: time.Millisecond, count: 20, concurrency: 1}
		report(b, p, api.caller(functionURLEvent(b, "POST", "/v1/chat/completions", w.token, request(true))), w, one)
	})
	b.Run("bare-proxy", func(b *testing.B) {
		w := newWorld(b)
		p := w.proxyServer(b)
		report(b, p, w.caller(p, l.path(openAI), true), w, l)
	})
}

// BenchmarkSize reports how large the stripped programs are, in 10^6 bytes.
func BenchmarkSize(b *testing.B) {
	for _, cloud := range stage.Clouds() {
		b.Run(cloud, func(b *testing.B) {
			info, err := os.Stat(programs[cloud])
			if err != nil {
				b.Fatal(err)
			}
			once(b, func() {})
			b.ReportMetric(float64(info.Size())/1e6, "MB")
			b.ReportMetric(goalSize/1e6, "MB-goal")
		})
	}
}
