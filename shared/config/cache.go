package config

import (
	"cmp"
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
	if p, ok := o.field("auth_type"); ok {
		// What else is wrong is told of the one way that there is.
		r.AuthType = Native
		if s, ok := p.string(); ok && s != string(Native) {
			p.wrong("this is no way to log in to a Redis server", "use native for the function's own identity, or leave it out and give credential_ref")
		}
	}
	local := false
	if p, ok := o.field("url"); ok {
		if s, ok := p.string(); ok {
			r.URL, local = s, true
			if u, problem := parseRedis(s); problem != "" {
				p.wrong(problem, redisRemedy)
			} else {
				local = isLoopback(u.Hostname())
			}
		}
	} else if r.AuthType != Native {
		o.missing("url", "the server's address is missing", "give it as rediss://host:6379")
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
		if r.AuthType == Native {
			p.wrong("the function's own identity logs in, and has no password", "remove it, or remove auth_type")
		}
	} else if r.AuthType != Native && (!local || r.Username != "") {
		// Without a password nobody logs in, whatever the name.
		o.missing("credential_ref", "the place of the password is missing", referenceRemedy)
	}
	if p, ok := o.field("key_ref"); ok {
		r.KeyRef, _ = p.reference()
		if r.KeyRef == r.CredentialRef && r.KeyRef != "" {
			p.wrong("the key is the password, which the server learns, and it must not be able to read what is stored there", "keep the key in a secret of its own")
		}
	} else {
		o.missing("key_ref", "the place of the encryption key is missing, and tokens are never shared in clear", referenceRemedy)
	}
	if p, ok := o.field("aws_cache_name"); ok {
		if s, ok := p.string(); ok && !isCacheName(s) {
			p.wrong("this cannot be the name of a cache of ElastiCache", "use small letters, digits and dashes")
		} else if ok && r.AuthType != Native {
			p.wrong("without auth_type native nobody needs the name", "remove it, or give auth_type: native")
		} else {
			r.AWSCacheName = s
		}
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

const redisRemedy = "give it as rediss://host:6379/0; redis:// is for this machine itself, and user and password are username and credential_ref"

func isCacheName(s string) bool { return made(s, 1, 40, small+digits+"-") && s[0] != '-' }

// settleRedis fills in what the document leaves to the deployment that has made the server.
func (d *Document) settleRedis(cloud Cloud, getenv func(string) string) []Problem {
	r := d.Cache.Redis
	if r == nil {
		return nil
	}
	r.Authorities = getenv("POSTERN_REDIS_CA")
	if r.AuthType != Native {
		return nil
	}
	var problems []Problem
	if r.URL == "" {
		r.URL = getenv("POSTERN_REDIS_URL")
		if _, problem := parseRedis(r.URL); r.URL == "" {
			problems = append(problems, Problem{
				Path: "cache.redis.url", Message: "the server's address is missing, and POSTERN_REDIS_URL is not set",
				Remedy: "set that variable, as the modules in infra do for the server that they make, or give the address of your own server",
			})
		} else if problem != "" {
			problems = append(problems, Problem{Path: "POSTERN_REDIS_URL", Value: r.URL, Message: problem, Remedy: redisRemedy})
		}
	}
	if cloud == GCP && r.Authorities == "" && strings.HasPrefix(strings.ToLower(r.URL), "rediss:") {
		d.Warnings = append(d.Warnings, Problem{
			Path: "POSTERN_REDIS_CA", Message: "it is not set, and the system knows none of the authorities from which Memorystore has its certificates",
			Remedy: "set it to the instance's own authority in PEM (managedServerCa)",
		})
	}
	if cloud != AWS {
		if r.Username != "" {
			d.Warnings = append(d.Warnings, Problem{
				Path: "cache.redis.username", Value: r.Username, Message: "it has no effect here, because the function's own identity is the user", Remedy: "remove it",
			})
			r.Username = ""
		}
		return problems
	}
	made := getenv("POSTERN_REDIS_USERNAME")
	if r.Username != "" && made != "" && r.Username != made {
		problems = append(problems, Problem{
			Path: "cache.redis.username", Value: r.Username, Message: "the deployment has made another user for this function, whom POSTERN_REDIS_USERNAME names", Remedy: "remove it",
		})
	}
	r.Username = cmp.Or(r.Username, made)
	if r.Username == "" {
		problems = append(problems, Problem{
			Path: "cache.redis.username", Message: "the user of ElastiCache who logs in with IAM is missing, and POSTERN_REDIS_USERNAME is not set",
			Remedy: "give the id of a user whose authentication mode is iam",
		})
	}
	if name, _ := r.ElastiCache(); name == "" && len(problems) == 0 {
		problems = append(problems, Problem{
			Path: "cache.redis.aws_cache_name", Message: "the address does not say which cache of ElastiCache it is",
			Remedy: "give the name of the serverless cache or the id of the replication group",
		})
	}
	return problems
}

// ElastiCache returns what ElastiCache calls the server, and whether it is a serverless cache. Addresses of those are
// NAME-ID.serverless.REGION.cache.amazonaws.com; of replication groups with TLS master.NAME.ID.REGION.cache.amazonaws.com or, with shards,
// clustercfg.NAME.ID.REGION.cache.amazonaws.com (ElastiCache User Guide, "Finding connection endpoints").
func (r *Redis) ElastiCache() (name string, serverless bool) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return r.AWSCacheName, false
	}
	host, ok := strings.CutSuffix(strings.TrimSuffix(u.Hostname(), ".cn"), ".cache.amazonaws.com")
	if !ok {
		return r.AWSCacheName, false
	}
	labels := strings.Split(host, ".")
	switch {
	case len(labels) == 3 && labels[1] == "serverless":
		if i := strings.LastIndexByte(labels[0], '-'); i > 0 {
			name = labels[0][:i]
		}
		return cmp.Or(r.AWSCacheName, name), true
	case len(labels) == 4 && (labels[0] == "master" || labels[0] == "clustercfg"):
		name = labels[1]
	}
	return cmp.Or(r.AWSCacheName, name), false
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
