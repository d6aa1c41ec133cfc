package quota

import (
	"context"
	"sync"
	"time"
)

// mostKept bounds what an instance remembers. There are only ever that many callers in a minute if somebody makes them up, for which it takes
// an issuer.
const mostKept = 1 << 16

// Memory counts within one instance. Its zero value is ready for use.
type Memory struct {
	mu      sync.Mutex
	windows map[string]*window
	leases  map[string]int64
}

// wall is the time without its monotonic reading, which stands still while a function is frozen.
func wall() time.Time { return time.Now().Round(0) }

type window struct {
	used int64
	end  time.Time
}

// Take implements Store.
func (m *Memory) Take(_ context.Context, use Use) (States, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := wall()
	states, ok := m.look(use, now)
	if !ok {
		return states, false, nil
	}
	for i, w := range use.Windows {
		m.add(use.Owner+" "+w.Key, w.Amount, now)
		states.Windows[i].Used += w.Amount
	}
	for i, l := range use.Leases {
		if m.leases == nil {
			m.leases = map[string]int64{}
		}
		m.leases[use.Owner+" "+l.Key]++
		states.Leases[i].Used++
	}
	return states, true, nil
}

// look returns how everything stands, and whether there is room.
func (m *Memory) look(use Use, now time.Time) (States, bool) {
	states, ok := States{Windows: make([]State, len(use.Windows)), Leases: make([]State, len(use.Leases))}, true
	for i, w := range use.Windows {
		state := State{Reset: Minute}
		if known := m.current(use.Owner+" "+w.Key, now); known != nil {
			state = State{Used: known.used, Reset: known.end.Sub(now)}
		}
		states.Windows[i] = state
		ok = ok && Within(state.Used, w.Amount, w.Limit)
	}
	for i, l := range use.Leases {
		held := m.leases[use.Owner+" "+l.Key]
		states.Leases[i] = State{Used: held}
		ok = ok && held < l.Limit
	}
	return states, ok
}

// current returns a window that is not over. One that seems longer than any was begun before the clock was set back, and is over.
func (m *Memory) current(key string, now time.Time) *window {
	w := m.windows[key]
	if w == nil {
		return nil
	}
	if left := w.end.Sub(now); left <= 0 || left > Minute {
		delete(m.windows, key)
		return nil
	}
	return w
}

func (m *Memory) add(key string, amount int64, now time.Time) {
	if w := m.current(key, now); w != nil {
		w.used += amount
		return
	}
	if m.windows == nil {
		m.windows = map[string]*window{}
	}
	if len(m.windows) >= mostKept {
		m.forget(now)
	}
	m.windows[key] = &window{used: amount, end: now.Add(Minute)}
}

// forget makes room: what is over goes first, then whatever comes first.
func (m *Memory) forget(now time.Time) {
	for key := range m.windows {
		m.current(key, now)
	}
	for key := range m.windows {
		if len(m.windows) < mostKept {
			return
		}
		delete(m.windows, key)
	}
}

// Give implements Store.
func (m *Memory) Give(_ context.Context, use Use) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := wall()
	for _, w := range use.Windows {
		if known := m.current(use.Owner+" "+w.Key, now); known != nil {
			known.used = max(known.used+w.Amount, 0)
		}
	}
	for _, l := range use.Leases {
		key := use.Owner + " " + l.Key
		if m.leases[key]--; m.leases[key] <= 0 {
			delete(m.leases, key)
		}
	}
	return nil
}
