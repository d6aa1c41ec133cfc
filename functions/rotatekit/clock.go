package rotatekit

import (
	"net/http"
	"sync"
	"time"
)

// clock compares the function's clock with those of the servers that it calls,
// by the dates of their replies. A date has whole seconds, and a reply may be
// on its way for some of them.
type clock struct {
	next http.RoundTripper

	mu    sync.Mutex
	ahead time.Duration
}

// RoundTrip sends a request and looks at the date of its reply.
func (c *clock) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		c.mu.Lock()
		// Both are wall clocks: one that stood still is what is looked for.
		c.ahead = time.Now().Round(0).Sub(date)
		c.mu.Unlock()
	}
	return response, nil
}

// skew is how far the function's clock was ahead when that was last seen. It is
// zero before any reply.
func (c *clock) skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}
