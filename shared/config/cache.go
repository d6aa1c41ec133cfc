package config

import (
	"net/url"
	"strings"
	"time"
)

// The bounds of how long a stored secret is used before its store is asked again.
const (
	defaultSecretTTL = 5 * time.Minute
	leastSecretTTL   = time.Second
	mostSecretTTL    = 24 * time.Hour
)

// cache reads the section of that name.
func (l *loader) cache(o object) Cache {
	c := Cache{SecretTTL: defaultSecretTTL}
	section, ok := o.field("cache")
	if !ok {
		return c
	}
	s, ok := section.object()
	if !ok {
		return c
	}
	if p, ok := s.field("secret_ttl"); ok {
		if d, ok := p.duration(leastSecretTTL, mostSecretTTL); ok {
			c.SecretTTL = d
		}
	}
	if p, ok := s.field("redis"); ok {
		// What refers to it is not wrong because something in it is.
		l.shared = true
		p.hidden = true
		if s, ok := p.object(); ok {
			c.Redis = l.redis(s)
		}
	}
	s.finish(nil)
	return c
}

func (l *loader) redis(o object) *Redis {
	var r Redis
	local := false
	if p, ok := o.field("url"); !ok {
		o.missing("url", "the server's address is missing", "give it as rediss://host:6379")
	} else if s, ok := p.string(); ok {
		r.URL, local = s, true
		if u, problem := parseRedis(s); problem != "" {
			p.wrong(problem, "give it as rediss://host:6379/0; redis:// is for this machine itself, and user and password are username and credential_ref")
		} else {
			local = isLoopback(u.Hostname())
		}
	}
	if p, ok := o.field("username"); ok {
		if s, ok := p.string(); ok && isParameter(s) {
			r.Username = s
		} else if ok {
			p.wrong("this cannot be a user's name", "use printable characters without spaces")
		}
	}
	if p, ok := o.field("credential_ref"); ok {
		r.CredentialRef, _ = p.reference()
	} else if !local {
		o.missing("credential_ref", "the place of the password is missing", referenceRemedy)
	}
	if p, ok := o.field("key_ref"); ok {
		r.KeyRef, _ = p.reference()
	} else {
		o.missing("key_ref", "the place of the encryption key is missing, and tokens are never shared in clear", referenceRemedy)
	}
	o.finish(func(name string) (string, bool) {
		switch name {
		case "password":
			return "a document never holds a secret; use credential_ref", true
		case "host", "port", "db", "tls", "address", "addr":
			return "write it into url", true
		}
		return "", false
	})
	return &r
}

// parseRedis parses the address of a Redis server. The problem is "" when there is none.
func parseRedis(s string) (*url.URL, string) {
	u, err := url.Parse(s)
	if err != nil || len(s) > 512 || !isPublicModel(s) || u.Host == "" {
		return nil, "this is not a URL"
	}
	switch {
	case u.User != nil:
		return nil, "the URL holds a user name or password"
	case u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, "?#"):
		return nil, "the URL has a query or a fragment"
	case !made(strings.TrimPrefix(u.Path, "/"), 0, 3, digits):
		return nil, "the URL's path is not the number of a database"
	case !made(strings.ToLower(u.Hostname()), 1, 253, small+digits+".-_:"):
		return nil, "the URL's host has characters that no host has"
	case u.Scheme == "rediss" || u.Scheme == "redis" && isLoopback(u.Hostname()):
		return u, ""
	case u.Scheme == "redis":
		return nil, "the connection would not be encrypted, and its host is not on this machine"
	}
	return nil, "the URL is not rediss"
}
