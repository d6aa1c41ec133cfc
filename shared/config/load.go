package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The defaults and bounds of a request. The largest request body of a platform is Cloud Run's 32 MiB; the longest request is
// Cloud Run's hour.
const (
	defaultMaxBodyBytes   = 6 << 20
	mostBodyBytes         = 32 << 20
	defaultMaxDepth       = 64
	mostDepth             = 1000
	defaultMaxMessages    = 2048
	mostMessages          = 100_000
	defaultRequestTimeout = 5 * time.Minute
	leastTimeout          = 100 * time.Millisecond
	mostTimeout           = time.Hour
)

// Load reads one document, in YAML or JSON. Every error that it returns is a *Problems with all that is wrong.
func Load(data []byte) (*Document, error) {
	root, problems := parse(data)
	l := &loader{problems: problems}
	if root.kind == kindInvalid {
		return nil, l.err()
	}
	return l.load(root)
}

func (l *loader) load(root node) (*Document, error) {
	if isUpstream(root) {
		return l.single(root)
	}
	o, ok := place{loader: l, node: root}.object()
	if !ok {
		return nil, l.err()
	}
	d := &Document{}
	d.Limits = l.limits(o)
	d.Cache = l.cache(o)
	d.Logging = l.logging(o)
	d.Audit = l.audit(o)
	l.admission(o, d)
	d.Upstreams = l.upstreams(o, d.Limits)
	d.Policy = l.policy(o)
	d.MFA = l.mfa(o)
	d.PublicURL = l.publicURL(o)
	d.Rotation = l.rotation(o, d)
	l.later(o)
	o.finish(documentHint)
	l.conflicts(o, d)
	read := len(l.problems) == 0
	l.policyEffect(o, d)
	l.mfaEffect(o, d)
	if read {
		l.fallbackEffect(o, d)
		l.shadowed(o, d)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	d.Warnings = l.warnings
	return d, nil
}

// isUpstream reports whether a document is one upstream by itself.
func isUpstream(root node) bool {
	return slices.ContainsFunc(root.fields, func(f field) bool { return f.key == "provider" })
}

// single loads a document that is one upstream by itself. Its callers are those that the platform's own IAM admits.
func (l *loader) single(root node) (*Document, error) {
	for _, f := range root.fields {
		if slices.Contains([]string{"upstreams", "callers", "api_tokens", "fronts", "platform_callers", "policy", "mfa", "public_url", "audit", "limits", "logging", "cache", "rotation"}, f.key) {
			p := place{loader: l, path: f.key, node: node{line: f.line}}
			p.wrong("the document is both one upstream entry, because it has a provider, and a whole document", "put the entry into the list upstreams")
			return nil, l.err()
		}
	}
	d, err := l.load(node{kind: kindMapping, line: root.line, fields: []field{
		{key: "platform_callers", line: root.line, value: node{kind: kindFlag, text: "true"}},
		{key: "upstreams", line: root.line, value: node{kind: kindList, items: []node{root}}},
	}})
	const path = "upstreams[0]"
	local := func(list []Problem) {
		for i, p := range list {
			list[i].Path = strings.TrimPrefix(strings.TrimPrefix(p.Path, path), ".")
		}
	}
	if problems, ok := errors.AsType[*Problems](err); ok {
		local(problems.List)
		return nil, err
	}
	local(d.Warnings)
	return d, nil
}

// later refuses the sections that this version would otherwise have to ignore.
func (l *loader) later(o object) {
	if section, ok := o.field("pipelines"); ok {
		section.hidden = true
		section.wrong("this section is not available in this version", "remove it")
	}
}

func documentHint(name string) (string, bool) {
	switch name {
	case "providers", "targets", "models", "model":
		return "list the model services under upstreams", true
	case "auth", "options", "plugins", "config", "_format_version":
		return "this looks like another gateway's configuration; describe the model services under upstreams", true
	}
	return "", false
}

func (l *loader) limits(o object) Limits {
	limits := Limits{
		MaxBodyBytes: defaultMaxBodyBytes, MaxDepth: defaultMaxDepth, MaxMessages: defaultMaxMessages,
		RequestTimeout: defaultRequestTimeout,
	}
	section, ok := o.field("limits")
	if !ok {
		limits.FirstByteTimeout = limits.RequestTimeout
		return limits
	}
	s, ok := section.object()
	if !ok {
		return limits
	}
	if p, ok := s.field("max_body_bytes"); ok {
		limits.MaxBodyBytes, _ = p.number(1024, mostBodyBytes)
	}
	if p, ok := s.field("max_depth"); ok {
		n, _ := p.number(8, mostDepth)
		limits.MaxDepth = int(n)
	}
	if p, ok := s.field("max_messages"); ok {
		n, _ := p.number(1, mostMessages)
		limits.MaxMessages = int(n)
	}
	if p, ok := s.field("request_timeout"); ok {
		if d, ok := p.duration(leastTimeout, mostTimeout); ok {
			limits.RequestTimeout = d
		}
	}
	limits.FirstByteTimeout = s.within("first_byte_timeout", limits.RequestTimeout)
	if p, ok := s.field("per_caller"); ok {
		limits.PerCaller = p.callerLimits()
	}
	s.finish(func(name string) (string, bool) {
		switch name {
		case "requests_per_minute", "tokens_per_minute", "concurrent_streams":
			return "put it under per_caller", true
		}
		return "", false
	})
	return limits
}

// mostPerMinute keeps sums within the numbers that a Redis server calculates with.
const mostPerMinute = 1_000_000_000_000

// callerLimits reads the bounds of one caller.
func (p place) callerLimits() CallerLimits {
	var c CallerLimits
	o, ok := p.object()
	if !ok {
		return c
	}
	if len(o.fields) == 0 {
		p.wrong("it bounds nothing", "give a bound, or remove it")
	}
	for _, f := range []struct {
		name string
		into *int64
	}{
		{"requests_per_minute", &c.RequestsPerMinute}, {"tokens_per_minute", &c.TokensPerMinute}, {"concurrent_streams", &c.ConcurrentStreams},
	} {
		if p, ok := o.field(f.name); ok {
			*f.into, _ = p.number(1, mostPerMinute)
		}
	}
	o.finish(nil)
	return c
}

// within returns a length of time that is meaningless above the request's own, which is also its default.
func (o object) within(name string, request time.Duration) time.Duration {
	p, ok := o.field(name)
	if !ok {
		return request
	}
	d, ok := p.duration(leastTimeout, mostTimeout)
	if ok && d > request {
		p.wrong(fmt.Sprintf("it has no effect, because limits.request_timeout is %s", request),
			"raise that one or lower this one")
	}
	return d
}

func (l *loader) logging(o object) Logging {
	logging := Logging{LogStatistics: true}
	section, ok := o.field("logging")
	if !ok {
		return logging
	}
	s, ok := section.object()
	if !ok {
		return logging
	}
	if p, ok := s.field("log_statistics"); ok {
		logging.LogStatistics, _ = p.flag()
	}
	if p, ok := s.field("log_payloads"); ok {
		logging.LogPayloads, _ = p.flag()
	}
	s.finish(nil)
	return logging
}

// The events of refusals in a minute: by default, and at most. Each is published before its answer is complete.
const (
	defaultDenied = 60
	mostDenied    = 6000
)

func (l *loader) audit(o object) Audit {
	var a Audit
	section, ok := o.field("audit")
	if !ok {
		return a
	}
	s, ok := section.object()
	if !ok {
		return a
	}
	if p, ok := s.field("denied"); ok {
		a.Denied, _ = p.flag()
	}
	if a.Denied {
		a.DeniedPerMinute = defaultDenied
	}
	if p, ok := s.field("denied_per_minute"); ok {
		n, ok := p.number(1, mostDenied)
		if ok && !a.Denied {
			p.wrong("it has no effect, because refusals are no events", "set denied: true, or remove it")
		}
		a.DeniedPerMinute = int(n)
	}
	s.finish(func(name string) (string, bool) {
		if name == "on_rotate" || name == "audit_on_rotate" {
			return "audit_on_rotate stands with the upstream", true
		}
		return "", false
	})
	return a
}

// admission reads who is let in at all. A gateway without any answer to that is refused: it must never be open by omission.
func (l *loader) admission(o object, d *Document) {
	unreadable := false
	if p, ok := o.field("platform_callers"); ok {
		d.PlatformCallers, ok = p.flag()
		unreadable = !ok
	}
	d.Fronts = l.fronts(o)
	l.certificates = len(d.Fronts.Certificates()) > 0
	l.addressed = o.has("public_url")
	list, hasCallers := o.field("callers")
	if hasCallers {
		d.Callers = l.callers(list)
	}
	d.APITokens = l.apiTokens(o)
	empty := hasCallers && list.kind == kindList && len(list.items) == 0
	switch others := d.PlatformCallers || unreadable || o.has("api_tokens") || d.Fronts.admit(); {
	case !others && (!hasCallers || empty):
		o.missing("callers", "nobody could call this gateway, and it is never open to everybody",
			"add an issuer of caller tokens, or set platform_callers: true if the platform's own IAM guards the function")
	case empty:
		list.wrong("the list is empty", "name at least one or remove the field")
	}
}

// Algorithms are the JWS algorithms that a caller's issuer may use, and a caller's own proofs: the asymmetric ones of RFC 7518 and RFC 8037. An HMAC
// algorithm would let anybody who can verify a token make one.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func (l *loader) callers(list place) []Caller {
	var callers []Caller
	names, issuers := map[string]int{}, map[string]int{}
	for _, item := range list.list() {
		o, ok := item.object()
		if !ok {
			continue
		}
		c := l.caller(o)
		if first, twice := issuers[c.Issuer]; twice && c.Issuer != "" {
			o.wrong(fmt.Sprintf("callers[%d] has the same issuer", first), "keep one entry and give it all the audiences")
		} else if first, twice := names[c.Name]; twice && c.Name != "" {
			o.wrong(fmt.Sprintf("callers[%d] has the same name, %q", first, c.Name), "give each a name of its own")
		}
		issuers[c.Issuer], names[c.Name] = len(callers), len(callers)
		callers = append(callers, c)
	}
	return callers
}

func (l *loader) caller(o object) Caller {
	var c Caller
	if p, ok := o.field("issuer"); ok {
		if u, ok := p.url(); ok {
			c.Issuer = p.text
			c.Name = strings.ToLower(strings.ReplaceAll(u.Hostname(), ":", "-"))
		}
	} else {
		o.missing("issuer", "the issuer is missing", "give the URL that stands in the iss claim of its tokens, to the letter")
	}
	if p, ok := o.field("name"); ok {
		if s, ok := p.string(); ok {
			if !made(s, 1, 63, small+digits+".-") {
				p.wrong("this cannot be a name", "use lower-case letters, digits, dots and dashes")
			}
			c.Name = s
		}
	}
	c.Audiences = l.audiences(o)
	c.Algorithms = []string{"RS256", "ES256"}
	if p, ok := o.field("algorithms"); ok {
		c.Algorithms = p.strings(isAlgorithm)
	}
	if p, ok := o.field("jwks_uri"); ok {
		// Some issuers select a tenant or a policy in the query of this address.
		path := p
		path.text, _, _ = strings.Cut(p.text, "?")
		if _, ok := path.url(); ok && (path.text == p.text || anyText(p, p.text)) {
			c.JWKSURI = p.text
		}
	}
	if p, ok := o.field("token_type"); ok {
		if s, ok := p.string(); ok {
			if s != TokenTypeAccess {
				p.wrong("there is no such type of tokens", "write "+TokenTypeAccess+" if the issuer's access tokens have that typ (RFC 9068), or remove the field")
			}
			c.TokenType = s
		}
	}
	if p, ok := o.field("id_tokens"); ok {
		c.IDTokens, _ = p.flag()
		if c.IDTokens && c.TokenType != "" {
			p.wrong("it has no effect, because token_type admits access tokens alone", "remove one of the two")
		}
	}
	if p, ok := o.field("certificate_bound"); ok {
		if c.CertificateBound, _ = p.flag(); c.CertificateBound && !l.certificates {
			p.wrong("no front passes clients' certificates on, so no token could be used", "declare it under fronts: alb, api_gateway or app_service")
		}
	}
	if p, ok := o.field("dpop"); ok {
		if s, ok := p.string(); ok && oneOf([]string{DPoPOptional, DPoPRequired}, "there is no such way to check proofs of possession")(p, s) {
			c.DPoP = s
			if !l.addressed {
				p.wrong("a proof is for an address, and public_url does not say which one callers use", "give public_url, such as https://llm.example.com")
			}
		}
	}
	o.finish(nil)
	return c
}

func isAlgorithm(p place, s string) bool {
	switch {
	case slices.Contains(Algorithms(), s):
		return true
	case strings.HasPrefix(s, "HS") || strings.EqualFold(s, "none"):
		p.wrong("with this algorithm anybody could make tokens", "use one of "+list(Algorithms(), "or"))
	default:
		p.wrong("this is not an algorithm for caller tokens", "use one of "+list(Algorithms(), "or"))
	}
	return false
}

// audiences reads the list or the single audience, which many find more natural.
func (l *loader) audiences(o object) []string {
	one, hasOne := o.field("audience")
	many, hasMany := o.field("audiences")
	exact := func(p place, s string) bool {
		if strings.Contains(s, "*") {
			p.wrong("an audience is compared as it is, without patterns", "write it out")
			return false
		}
		return anyText(p, s)
	}
	switch {
	case hasOne && hasMany:
		one.wrong("audience and audiences are both given", "keep audiences")
	case hasMany:
		return many.strings(exact)
	case hasOne:
		if s, ok := one.string(); ok && exact(one, s) {
			return []string{s}
		}
	default:
		o.missing("audiences", "the audience is missing, so a token that was meant for another service would be accepted",
			"give the value that stands in the aud claim of tokens for this gateway")
	}
	return nil
}
