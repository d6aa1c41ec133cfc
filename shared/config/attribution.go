package config

// Attribution is how an upstream is told who calls, so that its own records say so.
type Attribution string

// The ways. ByHash tells callers apart without naming them; the log line of a request has the same hash.
const (
	ByNothing Attribution = "none"
	ByHash    Attribution = "hash"
	ByName    Attribution = "name"
)

func attributions() []Attribution { return []Attribution{ByNothing, ByHash, ByName} }

// Attributes returns how the upstream is told who calls.
func (u *Upstream) Attributes() Attribution {
	switch {
	case u.Attribution != "":
		return u.Attribution
	case len(u.AWSRoles) > 0 && u.AWSRoles[len(u.AWSRoles)-1].PerCaller:
		return ByHash
	case u.Provider == CustomOpenAI:
		return ByNothing // a server may refuse what it does not know
	}
	return ByHash
}
