package redistokens

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"

	"github.com/postern-ai/postern/shared/redis"
)

const (
	// lockLife is how long a lock lasts when its holder does not release it: longer than any fetch, and short enough that instances do
	// not suffer long from one that died.
	lockLife   = 5 * time.Second
	lockSuffix = ":lock"
	// storeScript stores a token if and only if the lock is still the caller's, and releases it. An instance that was frozen while it
	// fetched finds the lock gone, and cannot put its old token over a newer one.
	storeScript = `if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1`
	releaseScript = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`
)

// session is one connection, for one token.
type session struct {
	cache *Cache
	conn  *redis.Conn
	keys  keys
	name  string
	owner string // of the lock, while it is held
}

// connect opens a session for the token of an identity.
func (c *Cache) connect(ctx context.Context, parts []string) (*session, Step, error) {
	key, err := c.options.Key(ctx)
	if err != nil {
		return nil, StepKey, err
	}
	keys, err := parseKey(key)
	if err != nil {
		return nil, StepKey, err
	}
	s := &session{cache: c, keys: keys, name: keys.nameOf(parts)}
	if s.conn, err = c.options.Server.Connect(ctx); err != nil {
		return nil, StepConnect, err
	}
	return s, "", nil
}

func (s *session) close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// do sends one command within its own short time.
func (s *session) do(ctx context.Context, command ...string) (redis.Reply, error) {
	return s.cache.options.Server.Do(ctx, s.conn, command...)
}

// read returns the entry that is stored, or nil when there is none that can be used. An error means that the server cannot be used.
func (s *session) read(ctx context.Context) (*entry, error) {
	// A range of a value is never longer than it, and an unreasonable value never in memory.
	box, err := s.do(ctx, "GETRANGE", s.name, "0", strconv.Itoa(maxSealed-1))
	if moved, problem := s.follow(ctx, err); problem != nil {
		return nil, problem
	} else if moved {
		box, err = s.do(ctx, "GETRANGE", s.name, "0", strconv.Itoa(maxSealed-1))
	}
	if refused, ok := errors.AsType[*redis.Refusal](err); ok && refused.Code == "WRONGTYPE" {
		s.passOver(ctx, unusable("is not a text"))
		return nil, nil
	}
	if err != nil || box.Text == "" {
		return nil, err
	}
	left, err := s.do(ctx, "PTTL", s.name)
	if err != nil {
		return nil, err
	}
	const endless = -1
	if left.Number == endless {
		s.passOver(ctx, unusable("has no end"))
		return nil, nil
	}
	e, err := s.keys.open(s.name, box.Text)
	if err != nil {
		s.passOver(ctx, err)
		return nil, nil
	}
	// Whoever stored the token may have had another idea of the time. How long the server keeps it does not depend on that. A token that
	// the server has just dropped has less than nothing left, and is not valid.
	margin := e.margin()
	if end := wall().Add(time.Duration(left.Number)*time.Millisecond + margin); end.Before(e.token.Expires) {
		life := e.lifetime()
		e.token.Expires, e.issued = end, end.Add(-life)
	}
	return &e, nil
}

// passOver reports an entry that is not a token.
func (s *session) passOver(ctx context.Context, err error) {
	s.cache.report(ctx, Fault{Step: StepRead, Err: explain(StepRead, err)})
}

// follow goes on with another node of the cluster, if the error says that the token is there.
func (s *session) follow(ctx context.Context, err error) (bool, error) {
	refused, ok := errors.AsType[*redis.Refusal](err)
	if !ok {
		return false, nil
	}
	conn, err := s.cache.options.Server.Follow(ctx, refused)
	if conn == nil || err != nil {
		return false, err
	}
	s.close()
	s.conn = conn
	return true, nil
}

// lock tries to become the one instance that fetches.
func (s *session) lock(ctx context.Context) (bool, error) {
	owner := rand.Text()
	answer, err := s.do(ctx, "SET", s.name+lockSuffix, owner, "NX", "PX", strconv.FormatInt(lockLife.Milliseconds(), 10))
	if err != nil || answer.Null {
		return false, err
	}
	s.owner = owner
	return true, nil
}

// release gives the lock up, so that another instance may try.
func (s *session) release(ctx context.Context) error {
	_, err := s.do(ctx, "EVAL", releaseScript, "1", s.name+lockSuffix, s.owner)
	return err
}

// store shares an entry, unless the lock has passed to another instance. It releases the lock.
func (s *session) store(ctx context.Context, e entry) error {
	left := e.token.Expires.Add(-e.margin()).Sub(wall()).Milliseconds()
	if left <= 0 {
		return s.release(ctx)
	}
	box, err := s.keys.seal(s.name, e)
	if err != nil {
		return errors.Join(err, s.release(ctx))
	}
	_, err = s.do(ctx, "EVAL", storeScript, "2", s.name, s.name+lockSuffix, s.owner, box, strconv.FormatInt(left, 10))
	return err
}
