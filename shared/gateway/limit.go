package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/quota"
)

// The keys of what is counted. Those of a rule have its name behind them.
const (
	countRequests = "requests"
	countTokens   = "tokens"
	countStreams  = "streams"
)

// quotaPatience bounds what a request waits to be counted, when that is done
// outside of the instance.
const quotaPatience = time.Second

// bytesPerToken turns the length of a body into the least that its prompt will
// cost. Languages differ; what it really costs is counted in the end.
const bytesPerToken = 4

// reserve counts the request for its caller, by the document's limits and those
// of the rule that allowed it. Tokens are reserved as far as they can be known.
func (x *exchange) reserve(req *chat.Request, size int) *chat.Error {
	use := x.needs(req, size)
	states, err := x.take(use)
	if len(states.Windows) > 0 {
		x.limitHeaders(use, states)
	}
	return err
}

// needs is what a request for an upstream uses.
func (x *exchange) needs(req *chat.Request, size int) quota.Use {
	use := quota.Use{Owner: owner(x.principal), ID: newRequestID()}
	estimate := int64(size/bytesPerToken) + 1
	if limit := req.OutputLimit(); limit != nil {
		estimate += choicesOf(req) * min(*limit, math.MaxInt32)
	}
	x.count(&use, x.g.limits.PerCaller, "", estimate)
	x.count(&use, x.grant.Limits, " "+x.grant.Rule, estimate)
	return use
}

// take has a use counted, which is then what is to be settled. It returns how
// everything stands, as far as that is known.
func (x *exchange) take(use quota.Use) (quota.States, *chat.Error) {
	if len(use.Windows) == 0 && len(use.Leases) == 0 {
		return quota.States{}, nil
	}
	ctx, cancel := context.WithTimeout(x.ctx, quotaPatience)
	defer cancel()
	states, ok, err := x.g.quota.Take(ctx, use)
	if err != nil {
		return quota.States{}, asError(err)
	}
	if !ok {
		return states, exceeded(inTheWay(use, states))
	}
	x.use = use
	return states, nil
}

// count adds what one set of limits counts.
func (x *exchange) count(use *quota.Use, l config.CallerLimits, of string, tokens int64) {
	if l.RequestsPerMinute > 0 {
		use.Windows = append(use.Windows, quota.Window{Key: countRequests + of, Limit: l.RequestsPerMinute, Amount: 1})
	}
	if l.TokensPerMinute > 0 {
		use.Windows = append(use.Windows, quota.Window{Key: countTokens + of, Limit: l.TokensPerMinute, Amount: min(tokens, l.TokensPerMinute)})
	}
	if l.ConcurrentStreams > 0 && x.streamed {
		use.Leases = append(use.Leases, quota.Lease{Key: countStreams + of, Limit: l.ConcurrentStreams, For: x.g.limits.RequestTimeout + time.Minute})
	}
}

// owner is who is counted: the caller within its tenant and issuer. It is a
// hash, with the lengths in it, so that no two callers ever share one.
func owner(p *caller.Principal) string {
	h := sha256.New()
	for _, part := range []string{string(p.Method), p.Issuer, p.Tenant, subject(p)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// subject is the caller's subject without what the caller chooses himself: whoever
// assumes a role of AWS gives the session its name. IAM Identity Center names the
// sessions of its own roles for their users.
func subject(p *caller.Principal) string {
	before, rest, ok := strings.Cut(p.Subject, ":assumed-role/")
	role, _, ok2 := strings.Cut(rest, "/")
	if p.Method != caller.AWSIAM || !ok || !ok2 || strings.HasPrefix(role, "AWSReservedSSO_") {
		return p.Subject
	}
	return before + ":assumed-role/" + role
}

// inTheWay is what keeps a use from being counted, and how long it does.
func inTheWay(use quota.Use, states quota.States) (kind string, wait time.Duration) {
	for i, state := range states.Windows {
		if w := use.Windows[i]; !quota.Within(state.Used, w.Amount, w.Limit) && state.Reset > wait {
			kind, wait = kindOf(w.Key), state.Reset
		}
	}
	if kind == "" {
		return countStreams, streamWait
	}
	return kind, wait
}

// limitHeaders writes the headers that OpenAI's clients know, of the window that
// is nearest to its end of each kind.
func (x *exchange) limitHeaders(use quota.Use, states quota.States) {
	h := x.w.Header()
	least := map[string]int64{}
	for i, state := range states.Windows {
		w := use.Windows[i]
		name, left := kindOf(w.Key), max(w.Limit-state.Used, 0)
		if known, ok := least[name]; ok && known <= left {
			continue
		}
		least[name] = left
		h.Set("X-Ratelimit-Limit-"+name, strconv.FormatInt(w.Limit, 10))
		h.Set("X-Ratelimit-Remaining-"+name, strconv.FormatInt(left, 10))
		h.Set("X-Ratelimit-Reset-"+name, max(state.Reset, 0).Round(time.Millisecond).String())
	}
}

// streamWait is what a caller is told to wait while its streams are under way:
// nobody knows when one ends.
const streamWait = time.Second

// kindOf is what a key counts.
func kindOf(key string) string {
	if len(key) >= len(countTokens) && key[:len(countTokens)] == countTokens {
		return countTokens
	}
	return countRequests
}

func exceeded(kind string, wait time.Duration) *chat.Error {
	message := fmt.Sprintf("Your identity has used its %s for this minute.", kind)
	if kind == countStreams {
		message = "Your identity has as many streams under way as it may have."
	}
	return &chat.Error{
		Status: http.StatusTooManyRequests, Type: chat.TypeRateLimit, Code: chat.CodeRateLimitExceeded,
		Message: message + " Try again after the time in the Retry-After header.", RetryAfter: wait,
		Err: &reasonError{"the caller has used its " + kind},
	}
}

// settle gives back what the request no longer needs, and counts what it really
// used. It is done before the handler returns: a function does nothing after.
func (x *exchange) settle() {
	if x.use.Owner == "" {
		return
	}
	back := quota.Use{Owner: x.use.Owner, ID: x.use.ID, Leases: x.use.Leases}
	for _, w := range x.use.Windows {
		if kindOf(w.Key) != countTokens {
			continue
		}
		switch {
		case x.usage != nil:
			w.Amount = x.usage.TotalTokens - w.Amount
		case x.first > 0:
			continue // a part of the answer came, and nobody knows how much
		default:
			w.Amount = -w.Amount
		}
		if w.Amount != 0 {
			back.Windows = append(back.Windows, w)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), quotaPatience)
	defer cancel()
	if err := x.g.quota.Give(ctx, back); err != nil {
		x.g.log.WarnContext(ctx, "what a caller used could not be counted", slog.String("request_id", x.id), slog.String("cause", cause(err)))
	}
}
