package ledgertest

import (
	"context"
	"strconv"
	"sync"

	"github.com/postern-ai/postern/shared/ledger"
)

// Memory is a [ledger.Store] for the tests of what stands on a ledger. The zero value is empty.
type Memory struct {
	mu      sync.Mutex
	entries map[string]ledger.Entry
	count   int
}

// Read implements [ledger.Store].
func (m *Memory) Read(_ context.Context, key string) (ledger.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry, ok := m.entries[key]
	if !ok {
		return ledger.Entry{}, &ledger.Error{Key: key, Reason: "there is no such record", Err: ledger.ErrNotFound}
	}
	return entry, nil
}

// Write implements [ledger.Store].
func (m *Memory) Write(_ context.Context, key string, entry ledger.Entry) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[key].Revision != entry.Revision {
		return "", conflict(key)
	}
	if m.entries == nil {
		m.entries = map[string]ledger.Entry{}
	}
	m.count++
	entry.Revision = strconv.Itoa(m.count)
	entry.Data = append([]byte{}, entry.Data...)
	m.entries[key] = entry
	return entry.Revision, nil
}

// Remove implements [ledger.Store].
func (m *Memory) Remove(_ context.Context, key string, entry ledger.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found, ok := m.entries[key]; !ok || found.Revision != entry.Revision {
		return conflict(key)
	}
	delete(m.entries, key)
	return nil
}

func conflict(key string) error {
	return &ledger.Error{Key: key, Reason: "somebody else has changed it", Err: ledger.ErrConflict}
}
