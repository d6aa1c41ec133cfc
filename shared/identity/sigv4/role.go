package sigv4

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	shortestSession = 15 * time.Minute
	longestSession  = 12 * time.Hour
	// chainedSession is the longest session of a role that is assumed with the credentials of another role, such as a function's own
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
	chainedSession = time.Hour
	defaultSession = time.Hour
	defaultName    = "postern"
	maxTags        = 50
)

// Role is one step of a chain of roles. Its limits are those of
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html.
type Role struct {
	// ARN is the role.
	ARN string
	// ExternalID is what the role's trust policy wants to see from a third party (sts:ExternalId). Empty means that it is not sent.
	ExternalID string
	// SessionName names the session in the role's own ARN and in CloudTrail. Empty means postern.
	SessionName string
	// SourceIdentity names the origin of the session in CloudTrail, for this role and all that follow in the chain. Empty means that it is
	// not sent.
	SourceIdentity string
	// Tags are the session's tags, and TransitiveTags the keys of those that the following roles get too.
	Tags           map[string]string
	TransitiveTags []string
	// Duration is how long a session lasts, in whole seconds from 15 minutes to 12 hours, and to 1 hour when the role is assumed with the
	// credentials of another role. Zero means an hour.
	Duration time.Duration
}

// withDefaults also puts the order of tags right, which has no meaning.
func (r Role) withDefaults() Role {
	if r.SessionName == "" {
		r.SessionName = defaultName
	}
	if r.Duration == 0 {
		r.Duration = defaultSession
	}
	r.Tags = maps.Clone(r.Tags)
	r.TransitiveTags = slices.Sorted(slices.Values(r.TransitiveTags))
	return r
}

// key is the whole identity that a session of the role stands for, as text.
func (r Role) key() string {
	parts := []string{r.ARN, r.ExternalID, r.SessionName, r.SourceIdentity, r.Duration.String()}
	for _, name := range slices.Sorted(maps.Keys(r.Tags)) {
		parts = append(parts, name, r.Tags[name])
	}
	parts = append(parts, "transitive")
	parts = append(parts, r.TransitiveTags...)
	var key strings.Builder
	for _, part := range parts {
		key.WriteString(strconv.Quote(part))
	}
	return key.String()
}

// check refuses what STS would refuse.
func (r Role) check() error {
	switch {
	case !isRoleARN(r.ARN):
		return fmt.Errorf("role %q does not look like arn:aws:iam::123456789012:role/name", r.ARN)
	case !isWord(r.SessionName, "", 64):
		return fmt.Errorf("session name %q must have 2 to 64 letters, digits and characters of _+=,.@-", r.SessionName)
	case r.ExternalID != "" && !isWord(r.ExternalID, ":/", 1224):
		return errors.New("the external id must have 2 to 1224 letters, digits and characters of _+=,.@:/-")
	case r.SourceIdentity != "" && !isWord(r.SourceIdentity, "", 64):
		return fmt.Errorf("source identity %q must have 2 to 64 letters, digits and characters of _+=,.@-", r.SourceIdentity)
	case r.Duration < shortestSession || r.Duration > longestSession || r.Duration%time.Second != 0:
		return fmt.Errorf("a session cannot last %v; give whole seconds from 15 minutes to 12 hours", r.Duration)
	}
	return r.checkTags()
}

func (r Role) checkTags() error {
	if len(r.Tags) > maxTags {
		return fmt.Errorf("a session has at most %d tags", maxTags)
	}
	seen := map[string]bool{}
	for name, value := range r.Tags {
		folded := strings.ToLower(name)
		switch {
		case !isTag(name, 128) || name == "":
			return fmt.Errorf("session tag %q must have 1 to 128 letters, digits, spaces and characters of _.:/=+-@", name)
		case !isTag(value, 256):
			return fmt.Errorf("the value of session tag %q must have at most 256 letters, digits, spaces and characters of _.:/=+-@", name)
		case strings.HasPrefix(folded, "aws:"):
			return fmt.Errorf("session tag %q has the prefix aws:, which is reserved", name)
		case seen[folded]:
			return fmt.Errorf("session tag %q is there twice; upper and lower case are the same", name)
		}
		seen[folded] = true
	}
	for _, name := range r.TransitiveTags {
		if _, ok := r.Tags[name]; !ok {
			return fmt.Errorf("transitive tag %q is not one of the session's tags", name)
		}
	}
	return nil
}

// checkChain also refuses what a role must not change of those before it.
func checkChain(roles []Role) error {
	fixed := map[string]int{} // transitive tags, in lower case, to the role that set them
	origin, originRole := "", 0
	for i, role := range roles {
		number := i + 1
		if err := role.check(); err != nil {
			return fmt.Errorf("role %d of the chain: %w", number, err)
		}
		if i > 0 && role.Duration > chainedSession {
			return fmt.Errorf("role %d of the chain: a session of a role that is assumed with another role's credentials lasts at most 1 hour, not %v", number, role.Duration)
		}
		for name := range role.Tags {
			if by, ok := fixed[strings.ToLower(name)]; ok {
				return fmt.Errorf("role %d of the chain: session tag %q is a transitive tag of role %d, and cannot be set again", number, name, by)
			}
		}
		for _, name := range role.TransitiveTags {
			fixed[strings.ToLower(name)] = number
		}
		switch {
		case role.SourceIdentity == "":
		case origin == "":
			origin, originRole = role.SourceIdentity, number
		case role.SourceIdentity != origin:
			return fmt.Errorf("role %d of the chain: the source identity was set by role %d and cannot be changed", number, originRole)
		}
	}
	return nil
}

// isRoleARN reports whether a text is arn:PARTITION:iam::ACCOUNT:role/PATH.
func isRoleARN(text string) bool {
	parts := strings.SplitN(text, ":", 6)
	if len(parts) != 6 || len(text) > 2048 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return false
	}
	name, ok := strings.CutPrefix(parts[5], "role/")
	return parts[0] == "arn" && strings.HasPrefix(parts[1], "aws") && isName(parts[1], 3) && parts[2] == "iam" && parts[3] == "" &&
		len(parts[4]) == 12 && strings.Trim(parts[4], "0123456789") == "" && ok && isWord(strings.ReplaceAll(name, "/", "-")+"-", "", 1024) && !strings.HasSuffix(name, "/")
}

// isWord reports whether a text has 2 to so many characters of STS's names.
func isWord(text, more string, longest int) bool {
	return len(text) >= 2 && len(text) <= longest && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_+=,.@-"+more, c)
	})
}

func isTag(text string, longest int) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= longest && !strings.ContainsFunc(text, func(c rune) bool {
		return !unicode.In(c, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", c)
	})
}
