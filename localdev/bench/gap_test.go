package bench

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/stage"
	"github.com/postern-ai/postern/localdev/traffic"
)

// BenchmarkRotation keeps 500 streams open on one instance of a gateway and has
// 1000 short calls a second begin, while the stored key that it signs with is
// replaced and the old one revoked at once. No call may fail. The stand-in of the
// model service and the load are on the same machine, so that the times say what
// such a machine does, and not what the gateway costs.
func BenchmarkRotation(b *testing.B) {
	for _, cloud := range []string{stage.GCP, stage.Azure} {
		b.Run(cloud, func(b *testing.B) {
			s, err := stage.Start(b.Context(), stage.Options{Bin: folder, Document: func(_, document string) string {
				// The gateway finds out by being refused, and not because it would have read the key anew.
				return strings.Replace(document, "secret_ttl: 10s", "secret_ttl: 10m", 1)
			}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			token, err := s.Token(oidc.Token{})
			if err != nil {
				b.Fatal(err)
			}
			// The rotation's own start is not part of it.
			if _, err := s.Rotate(b.Context(), cloud, stage.Command{}); err != nil {
				b.Fatal(err)
			}
			once(b, func() {
				result, err := traffic.Run(b.Context(), traffic.Options{
					Base: s.Gateways[cloud], Token: token, Model: stage.StoredModel, Call: "#say(hi)",
					Stream:  "#slow(250ms) one two three four five six seven eight nine ten",
					Streams: 500, PerSecond: 1000,
				}, func(ctx context.Context) error {
					time.Sleep(4 * time.Second)
					report, err := s.Rotate(ctx, cloud, stage.Command{Verb: "emergency", Credential: stage.StoredKey})
					if err == nil && !bytes.Contains(report, []byte(`"rotated"`)) {
						err = fmt.Errorf("not rotated: %s", report)
					}
					time.Sleep(4 * time.Second)
					return err
				})
				if err != nil || result.Failed > 0 || s.Refused() == 0 {
					b.Errorf("%v; %d refused; %v, %v", result, s.Refused(), result.First, err)
				}
				b.ReportMetric(float64(result.Failed), "failed")
				b.ReportMetric(float64(result.Calls)/result.Elapsed.Seconds(), "calls/s")
				b.ReportMetric(float64(result.Missed), "missed")
				b.ReportMetric(float64(result.Streams), "streams")
				b.ReportMetric(float64(s.Refused()), "resent")
				b.ReportMetric(milliseconds(result.Half), "ms-p50")
				b.ReportMetric(milliseconds(result.Most), "ms-p99")
			})
		})
	}
}
