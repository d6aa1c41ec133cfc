// Package redisquota counts in a Redis server, for all instances of a function together.
//
// Each use is one script on the server, so that it is counted as a whole or not at all, however many instances ask at the same time. While the
// server is away each instance counts for itself: a caller then has its limit once per instance, and is not turned away for the server's
// sake.
//
// The package must not know who calls or what is counted. What it keeps on the server are numbers under hashes.
package redisquota

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/quota"
	"github.com/postern-ai/postern/shared/redis"
)

const (
	prefix     = "postern:limit:v1:"
	usedPrefix = "postern:used:v1:"
	// defaultPatience bounds what a request waits for the server, connecting included.
	defaultPatience = 500 * time.Millisecond
	// idleFor is how long an unused connection is kept. Longer ones may have died while the function was frozen, without a word.
	idleFor = 20 * time.Second
	// mostIdle bounds the connections that are kept.
	mostIdle = 8
	// mostLate bounds the uses that are remembered to be given back once the server answers again.
	mostLate = 64
	// remembered is for how many milliseconds the server knows a command again that is sent once more because its reply was lost.
	remembered = "5000"
)

// takeScript counts a use. KEYS are those of the windows, then those of the leases, then one of this command alone. ARGV are the number of
// windows, limit and amount of each, the id of the leases, and limit and duration in milliseconds of each. It returns 1 or 0, and what is
// used and, for windows, what is left of the minute.
const takeScript = `local said = redis.call('GET', KEYS[#KEYS])
if said then return said end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local windows, at = tonumber(ARGV[1]), 2
local ok, out = 1, {}
local function window(i)
  local left = redis.call('PTTL', KEYS[i])
  if left < 0 then
    redis.call('DEL', KEYS[i])
    return 0, 60000
  end
  return tonumber(redis.call('GET', KEYS[i])), left
end
for i = 1, windows do
  local used, left = window(i)
  local limit, amount = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if used + math.min(amount, limit) > limit then ok = 0 end
  out[#out + 1] = string.format('%.0f', used)
  out[#out + 1] = left
  at = at + 2
end
local id = ARGV[at]
at = at + 1
local leases = at
for i = windows + 1, #KEYS - 1 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  local held = redis.call('ZCARD', KEYS[i])
  if held >= tonumber(ARGV[at]) then ok = 0 end
  out[#out + 1] = held
  at = at + 2
end
if ok == 1 then
  for i = 1, windows do
    redis.call('INCRBY', KEYS[i], ARGV[2 * i + 1])
    if redis.call('PTTL', KEYS[i]) < 0 then redis.call('PEXPIRE', KEYS[i], 60000) end
  end
  for i = windows + 1, #KEYS - 1 do
    local life = tonumber(ARGV[leases + 2 * (i - windows) - 1])
    redis.call('ZADD', KEYS[i], now + life, id)
    if redis.call('PTTL', KEYS[i]) < life then redis.call('PEXPIRE', KEYS[i], life) end
  end
end
said = ok .. ' ' .. table.concat(out, ' ')
redis.call('SET', KEYS[#KEYS], said, 'PX', ` + remembered + `)
return said`

// giveScript settles a use. KEYS are as those of takeScript. ARGV are the number of windows, what is added to each, and the id of the leases.
const giveScript = `if not redis.call('SET', KEYS[#KEYS], '1', 'NX', 'PX', ` + remembered + `) then return 1 end
local windows = tonumber(ARGV[1])
for i = 1, windows do
  if redis.call('PTTL', KEYS[i]) > 0 then
    local used = redis.call('INCRBY', KEYS[i], ARGV[i + 1])
    if used < 0 then redis.call('INCRBY', KEYS[i], string.format('%.0f', -used)) end
  end
end
for i = windows + 1, #KEYS - 1 do
  redis.call('ZREM', KEYS[i], ARGV[windows + 2])
end
return 1`

// Options describes a Store.
type Options struct {
	// Server is where is counted.
	Server *redis.Server
	// Deployment sets this function apart from others that use the same server.
	Deployment []string
	// Patience bounds what a request waits for the server, connecting included. Zero means 500 ms.
	Patience time.Duration
	// OnFault, when set, is told of everything that went wrong with the server, for the log. It runs within a request and has to be quick.
	OnFault func(ctx context.Context, fault Fault)
}

// Fault is something that went wrong with the server. Until then each instance counts for itself.
type Fault struct {
	// Err is safe for logs.
	Err   error
	Until time.Time
}

// Store counts. It is safe for concurrent use.
type Store struct {
	options Options
	pause   redis.Pause
	memory  quota.Memory

	mu   sync.Mutex
	idle []idle
	own  map[string]bool // the uses under way that this instance has counted itself, and whether the server may have done so too
	late []quota.Use     // the leases that have ended while the server was away, the latest last
}

type idle struct {
	conn  *redis.Conn
	since time.Time
}

// New returns a Store. It does not connect.
func New(options Options) *Store {
	options.Patience = cmp.Or(options.Patience, defaultPatience)
	return &Store{options: options, own: map[string]bool{}}
}

// Take implements quota.Store.
func (s *Store) Take(ctx context.Context, use quota.Use) (quota.States, bool, error) {
	asked := !s.pause.Resting()
	if asked {
		states, ok, err := s.take(ctx, use)
		if err == nil {
			s.pause.Worked()
			return states, ok, nil
		}
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.later(use)
			return quota.States{}, false, fmt.Errorf("count a request: %w", ctx.Err())
		}
		s.failed(ctx, err)
	}
	states, ok, err := s.memory.Take(ctx, use)
	if ok {
		s.mu.Lock()
		s.own[use.ID] = asked
		s.mu.Unlock()
	}
	return states, ok, err
}

// Give implements quota.Store. What cannot be given back is with the next use that is counted; and it ends by itself.
func (s *Store) Give(ctx context.Context, use quota.Use) error {
	s.mu.Lock()
	asked, own := s.own[use.ID]
	delete(s.own, use.ID)
	s.mu.Unlock()
	if own {
		if err := s.memory.Give(ctx, use); err != nil || !asked {
			return err
		}
		// The server may have counted the use all the same, and only its reply was lost. A minute ends by itself, but a lease is long.
		use.Windows = nil
	}
	if len(use.Windows)+len(use.Leases) == 0 {
		return nil
	}
	if s.pause.Resting() {
		s.later(use)
		return nil
	}
	if err := s.give(ctx, use); err != nil {
		s.later(use)
		s.failed(ctx, err)
	}
	return nil
}

func (s *Store) give(ctx context.Context, use quota.Use) error {
	keys := s.keys(use)
	command := []string{"EVAL", giveScript, strconv.Itoa(len(keys))}
	command = append(append(command, keys...), strconv.Itoa(len(use.Windows)))
	for _, w := range use.Windows {
		command = append(command, strconv.FormatInt(w.Amount, 10))
	}
	_, err := s.do(ctx, append(command, use.ID))
	return err
}

// later remembers the leases of uses that could not be given back. Their windows are soon over.
func (s *Store) later(uses ...quota.Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, use := range uses {
		if use.Windows = nil; len(use.Leases) > 0 {
			s.late = append(s.late, use)
		}
	}
	s.late = s.late[max(0, len(s.late)-mostLate):]
}

// settle gives back what could not be given back before.
func (s *Store) settle(ctx context.Context) error {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	for i, use := range late {
		if err := s.give(ctx, use); err != nil {
			s.later(late[i:]...)
			return err
		}
	}
	return nil
}

// First notes that something has been used, for as long as the span, and reports whether that was the first time. While the server is away
// that is not known, and taken for the first time.
func (s *Store) First(ctx context.Context, what string, span time.Duration) bool {
	if s.pause.Resting() {
		return true
	}
	key := usedPrefix + hash(append(append([]string(nil), s.options.Deployment...), what)...)
	mine := rand.Text()
	reply, err := s.do(ctx, []string{"SET", key, mine, "NX", "PX", strconv.FormatInt(span.Milliseconds(), 10)})
	if err == nil && reply.Null {
		// A command whose reply was lost is sent again, and then finds what it has noted itself.
		reply, err = s.do(ctx, []string{"GET", key})
		if err == nil {
			s.pause.Worked()
			return reply.Text == mine
		}
	}
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.failed(ctx, err)
		}
		return true
	}
	s.pause.Worked()
	return true
}

func (s *Store) take(ctx context.Context, use quota.Use) (quota.States, bool, error) {
	if err := s.settle(ctx); err != nil {
		return quota.States{}, false, err
	}
	keys := s.keys(use)
	command := []string{"EVAL", takeScript, strconv.Itoa(len(keys))}
	command = append(append(command, keys...), strconv.Itoa(len(use.Windows)))
	for _, w := range use.Windows {
		command = append(command, strconv.FormatInt(w.Limit, 10), strconv.FormatInt(w.Amount, 10))
	}
	command = append(command, use.ID)
	for _, l := range use.Leases {
		command = append(command, strconv.FormatInt(l.Limit, 10), strconv.FormatInt(l.For.Milliseconds(), 10))
	}
	reply, err := s.do(ctx, command)
	if err != nil {
		return quota.States{}, false, err
	}
	return parse(reply.Text, use)
}

// parse reads what takeScript returns. The states of a use that was counted are those after it.
func parse(text string, use quota.Use) (quota.States, bool, error) {
	words := strings.Fields(text)
	if len(words) != 1+2*len(use.Windows)+len(use.Leases) {
		return quota.States{}, false, redis.ErrProtocol
	}
	numbers := make([]int64, len(words))
	for i, word := range words {
		var err error
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return quota.States{}, false, redis.ErrProtocol
		}
	}
	ok, numbers := numbers[0] == 1, numbers[1:]
	var states quota.States
	for i, w := range use.Windows {
		state := quota.State{Used: numbers[2*i], Reset: time.Duration(numbers[2*i+1]) * time.Millisecond}
		if ok {
			state.Used += w.Amount
		}
		states.Windows = append(states.Windows, state)
	}
	for i := range use.Leases {
		state := quota.State{Used: numbers[2*len(use.Windows)+i]}
		if ok {
			state.Used++
		}
		states.Leases = append(states.Leases, state)
	}
	return states, ok, nil
}

// keys are the names on the server, of which the last one is for one command alone. All of one owner are on the same node of a cluster, by
// the hash in braces.
func (s *Store) keys(use quota.Use) []string {
	owner := hash(append(append([]string(nil), s.options.Deployment...), use.Owner)...)
	var keys []string
	for _, w := range use.Windows {
		keys = append(keys, prefix+"{"+owner+"}:"+hash(w.Key))
	}
	for _, l := range use.Leases {
		keys = append(keys, prefix+"{"+owner+"}:"+hash(l.Key))
	}
	return append(keys, prefix+"{"+owner+"}:"+rand.Text())
}

func hash(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// do sends a command over a kept connection, and once more over a new one when there is none or it is of no use any more. So a command has to
// be one that may arrive twice.
func (s *Store) do(ctx context.Context, command []string) (redis.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Patience)
	defer cancel()
	if conn := s.kept(); conn != nil {
		reply, err := s.send(ctx, conn, command)
		if moved, ok := errors.AsType[*redis.Refusal](err); err == nil || ok && moved.Address != "" {
			return s.follow(ctx, command, reply, err)
		}
		// It may have died unnoticed, its login may be over, or the server may no longer be the primary. A new one shows what is true.
	}
	conn, err := s.options.Server.Connect(ctx)
	if err != nil {
		return redis.Reply{}, err
	}
	reply, err := s.send(ctx, conn, command)
	return s.follow(ctx, command, reply, err)
}

// follow sends the command to another node of the cluster if the error says that the keys are there.
func (s *Store) follow(ctx context.Context, command []string, reply redis.Reply, err error) (redis.Reply, error) {
	moved, ok := errors.AsType[*redis.Refusal](err)
	if !ok {
		return reply, err
	}
	node, problem := s.options.Server.Follow(ctx, moved)
	if node == nil || problem != nil {
		return reply, errors.Join(err, problem)
	}
	return s.send(ctx, node, command)
}

// send keeps the connection if it is good for more.
func (s *Store) send(ctx context.Context, conn *redis.Conn, command []string) (redis.Reply, error) {
	reply, err := s.options.Server.Do(ctx, conn, command...)
	if err != nil {
		conn.Close()
		return reply, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) >= mostIdle {
		conn.Close()
		return reply, nil
	}
	s.idle = append(s.idle, idle{conn, wall()})
	return reply, nil
}

// kept returns the connection that was used last, and ends those that were not for too long.
func (s *Store) kept() *redis.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle) > 0 {
		last := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if age := wall().Sub(last.since); age >= 0 && age < idleFor {
			return last.conn
		}
		last.conn.Close()
	}
	return nil
}

func (s *Store) failed(ctx context.Context, err error) {
	until := s.pause.Failed()
	if s.options.OnFault == nil {
		return
	}
	// What listens must not be able to fail the request.
	defer func() { _ = recover() }()
	s.options.OnFault(ctx, Fault{Err: explain(err), Until: until})
}

// explain returns an error whose text is safe for logs: what a server says may quote what it was sent.
func explain(err error) error {
	const server = "the Redis server that counts for all instances"
	if login, ok := errors.AsType[*redis.LoginError](err); ok {
		return errors.New("nobody can log in to " + server + ": " + login.Error())
	}
	refused, ok := errors.AsType[*redis.Refusal](err)
	switch {
	case !ok:
		return errors.New(server + " cannot be reached" + redis.Unreached(err))
	case refused.Code == "NOPERM":
		return errors.New(server + " answered NOPERM; its user needs the commands EVAL, TIME, SET, GET, DEL, INCRBY, PTTL, PEXPIRE, ZADD, ZCARD, ZREM and " +
			"ZREMRANGEBYSCORE on the keys " + prefix + "*, and SET and GET on " + usedPrefix + "*")
	}
	return errors.New(server + " answered " + refused.Code + refused.Remedy())
}

// wall returns the time without its monotonic reading, which stands still while a function is frozen.
func wall() time.Time { return time.Now().Round(0) }
