package caller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// How long an issuer's keys are used and how often they are asked for. A key that the issuer takes back stops working after
// at most freshFor plus the age of a remembered token.
const (
	freshFor     = 10 * time.Minute // then the next request fetches them again, while others go on with the ones there are
	staleFor     = 24 * time.Hour   // how long the last good keys outlive an outage of the issuer
	fetchEvery   = 30 * time.Second // the least time between two fetches once there are keys, whatever tokens come in
	fetchBackoff = time.Second      // after a failed fetch while there are no keys: doubled each time, up to fetchEvery
	fetchTimeout = 5 * time.Second  // for discovery and keys together, when a request cannot go on without
	freshTimeout = 2 * time.Second  // the same, when it can
	discoverFor  = 24 * time.Hour
	maxKeysBytes = 512 << 10
)

// keySet is the keys of one issuer. It fetches them within the requests that need them: a function is frozen between calls, so
// there is nobody else to do it. All times are compared by wall clock, since other clocks stand still while it is frozen.
type keySet struct {
	issuer string
	uri    string // "" to find it by discovery
	client *http.Client

	mu           sync.Mutex
	keys         []publicKey
	fetched      time.Time // when keys were last fetched with success
	attempted    time.Time // when they were last asked for
	failures     int       // since then
	lastErr      error
	flight       *flight
	discovered   string
	discoveredAt time.Time
}

// flight is a fetch that others wait for.
type flight struct {
	done chan struct{}
}

// errUnknownKey says that the issuer answered and does not publish such a key.
var errUnknownKey = errors.New("the issuer publishes no such key")

// find returns the keys that may verify the text. It fetches at most once.
func (s *keySet) find(ctx context.Context, j *jws) ([]publicKey, error) {
	waited := false
	for {
		keys, state, mine := s.look(j, waited)
		switch {
		case state == lookDone:
			return keys, nil
		case state == lookUnknown:
			return nil, errUnknownKey
		case state == lookUnavailable:
			return nil, s.failure()
		case state == lookFetch:
			s.fetch(ctx, mine, len(keys) > 0)
		default:
			select {
			case <-mine.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		waited = true
	}
}

// look states.
type lookState int

const (
	lookDone        lookState = iota // the keys are good to use
	lookFetch                        // the caller has to fetch, and to look again
	lookWait                         // somebody else is fetching
	lookUnknown                      // there is no such key
	lookUnavailable                  // keys cannot be had
)

// look decides what is to be done for a text. When the answer is to fetch, the flight is the caller's to land.
func (s *keySet) look(j *jws, waited bool) ([]publicKey, lookState, *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := wallClock()
	age := now.Sub(s.fetched)
	usable := len(s.keys) > 0 && age < staleFor
	fresh := usable && age >= 0 && age < freshFor
	var fitting []publicKey
	if usable {
		for _, k := range s.keys {
			if k.fits(j) {
				fitting = append(fitting, k)
			}
		}
	}
	mayFetch := !waited && s.flight == nil && s.due(now, usable)
	switch {
	case len(fitting) > 0 && (fresh || !mayFetch):
		return fitting, lookDone, nil
	case mayFetch:
		s.flight = &flight{done: make(chan struct{})}
		s.attempted = now
		return fitting, lookFetch, s.flight
	case s.flight != nil && !waited:
		return nil, lookWait, s.flight
	case usable && s.failures == 0:
		return nil, lookUnknown, nil
	default:
		return nil, lookUnavailable, nil
	}
}

// due reports whether enough time has passed since the last attempt.
func (s *keySet) due(now time.Time, usable bool) bool {
	wait := fetchEvery
	if !usable && s.failures > 0 {
		wait = min(fetchEvery, fetchBackoff<<min(s.failures-1, 10))
	}
	since := now.Sub(s.attempted)
	return since < 0 || since >= wait // a clock that was set back must not lock the issuer out
}

func (s *keySet) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr == nil {
		return errors.New("keys are being fetched too slowly")
	}
	return s.lastErr
}

// fetch gets the keys and lands the flight. It goes on when the request that needed it first is cancelled, because others wait
// for the same answer.
func (s *keySet) fetch(ctx context.Context, f *flight, canGoOn bool) {
	timeout := fetchTimeout
	if canGoOn {
		timeout = freshTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	err := errors.New("the fetch was aborted")
	var keys []publicKey
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight, s.lastErr = nil, err
		if err != nil {
			s.failures++
			s.discovered = "" // the issuer may have moved its keys
		} else {
			s.keys, s.fetched, s.failures = keys, wallClock(), 0
		}
		close(f.done)
	}()
	keys, err = s.get(ctx)
}

// get asks the issuer for its keys.
func (s *keySet) get(ctx context.Context) ([]publicKey, error) {
	uri, err := s.location(ctx)
	if err != nil {
		return nil, fmt.Errorf("discovery of %s: %w", s.issuer, err)
	}
	text, err := s.read(ctx, uri)
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", s.issuer, err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", s.issuer, err)
	}
	return keys, nil
}

// location returns where the keys are, by OpenID Connect Discovery 1.0 if the configuration does not say.
func (s *keySet) location(ctx context.Context) (string, error) {
	if s.uri != "" {
		return s.uri, nil
	}
	s.mu.Lock()
	known, at := s.discovered, s.discoveredAt
	s.mu.Unlock()
	if age := wallClock().Sub(at); known != "" && age >= 0 && age < discoverFor {
		return known, nil
	}
	text, err := s.read(ctx, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return "", errors.New("the document is not JSON, or not a discovery document")
	}
	if document.Issuer != s.issuer {
		return "", errors.New("the document is another issuer's (section 4.3 wants the same one, to the letter)")
	}
	if !mayFetch(document.JWKSURI, s.issuer) {
		return "", errors.New("jwks_uri is not an https URL")
	}
	s.mu.Lock()
	s.discovered, s.discoveredAt = document.JWKSURI, wallClock()
	s.mu.Unlock()
	return document.JWKSURI, nil
}

// mayFetch reports whether an address from a discovery document may be followed: https, or http on this machine if that is
// where the issuer is.
func mayFetch(address, issuer string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	loopback := strings.EqualFold(u.Hostname(), "localhost") || err == nil && ip.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && loopback && strings.HasPrefix(issuer, "http://")
}

// read gets a document. Its errors name no URL beyond the issuer, and nothing of the body.
func (s *keySet) read(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKeysBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeysBytes {
		return nil, errors.New("the answer is too long")
	}
	return text, nil
}

// keyClient returns a client that follows no redirect: an issuer's keys are where the issuer says, not where that place says.
func keyClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: freshTimeout}).DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: freshTimeout,
			ForceAttemptHTTP2:   true,
			IdleConnTimeout:     fetchEvery,
			MaxIdleConns:        4,
		}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// wallClock is the time without the monotonic reading, which stands still while a function is frozen.
func wallClock() time.Time { return time.Now().Round(0) }
