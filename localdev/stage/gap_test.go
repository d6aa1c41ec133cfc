package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/traffic"
)

// keep is for how long the gateways of this test keep a key that they have read.
const keep = 2 * time.Second

// TestNoRequestIsLostWhileKeysAreRotated keeps streams and short calls on each
// gateway while its key is replaced and the old one is revoked at once, and then
// while a new key is current that OpenAI does not take yet.
func TestNoRequestIsLostWhileKeysAreRotated(t *testing.T) {
	t.Parallel()
	s, log := own(t, Options{Document: func(_, document string) string {
		return strings.Replace(document, "secret_ttl: 10s", "secret_ttl: "+keep.String(), 1)
	}})
	bearer, err := s.Token(oidc.Token{})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("at once", func(t *testing.T) {
		onEach(t, func(t *testing.T, cloud string) {
			o := traffic.Options{
				Base: s.Gateways[cloud], Token: bearer, Model: StoredModel, Call: "#say(hi)",
				Stream: "#slow(150ms) one two three four five six seven", Streams: 50, PerSecond: 100,
			}
			if cloud == AWS {
				o.Streams, o.PerSecond, o.Outstanding = 8, 20, 8 // each is an instance of the function
			}
			result, err := traffic.Run(t.Context(), o, func(ctx context.Context) error { return s.strain(ctx, t, cloud, log) })
			t.Logf("%v", result)
			if err != nil || result.Failed > 0 || result.Calls == 0 || result.Streams < o.Streams {
				t.Errorf("%v: %v, %v", result, result.First, err)
			}
		})
	})
	times := fallbacks(log)
	t.Logf("OpenAI refused %d requests, which were sent again with the key that was read then; an instance fell back %v times", s.Refused(), times)
	if s.Refused() < int64(len(Clouds())) || len(times) != len(Clouds()) {
		t.Error("not every gateway was shown that a key has ended")
	}
}

// strain rotates the stored key under load.
func (s *Stage) strain(ctx context.Context, t *testing.T, cloud string, log *lines) error {
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	pause(keep / 8)
	// On a machine under this load a function may not get its own credential in
	// time. Whoever orders a rotation asks again then.
	order := func(verb string) (text []byte, err error) {
		for tries := 0; tries < 5; tries++ {
			if text, err = s.Rotate(ctx, cloud, Command{Verb: verb, Credential: StoredKey}); err == nil {
				return text, nil
			}
			pause(keep)
		}
		return text, err
	}
	text, err := order("emergency")
	if err != nil {
		return err
	}
	if got := outcomeOf(t, text); got != "rotated idle" {
		return errors.New(got)
	}
	pause(keep) // nobody has a key at hand then that has ended: a request is sent again once, and not twice
	if text, err = order("force"); err != nil {
		return err
	}
	if got := outcomeOf(t, text); got != "rotated grace" {
		return errors.New(got)
	}
	id := s.standing(t, cloud, StoredKey).Current.ID
	if _, ok := s.services.openAIKeys.Keys.Change(id, func(k *keyring.Key) { k.Disabled = true }); !ok {
		return fmt.Errorf("the vendor does not have the key %s", id)
	}
	pause(keep + keep/4)
	// The load goes on until a request has met that key, which takes a machine that
	// is busy with other things longer.
	for range 100 {
		if fallbacks(log)[cloud] > 0 || ctx.Err() != nil {
			break
		}
		pause(keep / 4)
	}
	return ctx.Err()
}

// fallbacks are how often instances went back to the key before, by cloud. Their
// log says so also where the bus has not taken the event in the time that a
// request has for it.
func fallbacks(log *lines) map[string]int {
	times := map[string]int{}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, `"metric":"upstream_auth_fallback"`) {
			continue
		}
		for _, cloud := range Clouds() {
			if strings.HasPrefix(line, "[gateway-"+cloud) { // an instance of AWS has a number too
				times[cloud]++
			}
		}
	}
	return times
}
