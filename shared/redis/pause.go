package redis

import (
	"sync"
	"time"
)

// A server that failed is left alone for 5 s at first and a minute at last, doubling in between.
const (
	firstPause = 5 * time.Second
	lastPause  = time.Minute
)

// Pause leaves a server alone that has failed. Its zero value is ready for use, and it is safe for concurrent use.
type Pause struct {
	mu       sync.Mutex
	failures int
	until    time.Time
}

// Resting reports whether the server is being left alone.
func (p *Pause) Resting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resting(wall())
}

// resting is Resting for those who hold the lock. A pause that seems longer than any was begun before the clock was set back, and is over.
func (p *Pause) resting(now time.Time) bool {
	left := p.until.Sub(now)
	return left > 0 && left <= lastPause
}

// Worked ends the failures.
func (p *Pause) Worked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures, p.until = 0, time.Time{}
}

// Failed makes the server rest, and returns until when. Requests that failed together are one failure.
func (p *Pause) Failed() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := wall(); !p.resting(now) {
		p.until = now.Add(min(lastPause, firstPause<<min(p.failures, 10)))
		p.failures++
	}
	return p.until
}

// wall returns the time without its monotonic reading, which stands still while a function is frozen.
func wall() time.Time { return time.Now().Round(0) }
