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
	seen  time.Time
}

// fresh is for how long what was seen counts. A reply that was on its way while
// the function was frozen has an old date, and a run that ends nothing because
// of it need not ask any server that would tell better.
const fresh = 10 * time.Minute

// RoundTrip sends a request and looks at the date of its reply.
func (c *clock) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		c.mu.Lock()
		// Both are wall clocks: one that stood still is what is looked for.
		c.seen = time.Now().Round(0)
		c.ahead = c.seen.Sub(date)
		c.mu.Unlock()
	}
	return response, nil
}

// skew is how far the function's clock was ahead when that was last seen. It is
// zero when that was not lately.
func (c *clock) skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := time.Now().Round(0).Sub(c.seen); age < 0 || age > fresh {
		return 0
	}
	return c.ahead
}
