package config

import (
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

const (
	digits  = "0123456789"
	small   = "abcdefghijklmnopqrstuvwxyz"
	letters = small + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// made reports whether s has a length from least to most bytes and only characters of the alphabet.
func made(s string, least, most int, alphabet string) bool {
	return len(s) >= least && len(s) <= most && onlyOf(s, alphabet)
}

func onlyOf(s, alphabet string) bool {
	for i := range len(s) {
		if strings.IndexByte(alphabet, s[i]) < 0 {
			return false
		}
	}
	return true
}

// isName reports whether s can name an upstream: it becomes part of public model names and of log lines.
func isName(s string) bool {
	return made(s, 1, 63, small+digits+"-") && s[0] != '-' && s[len(s)-1] != '-'
}

// isRegion reports whether s has the form of an AWS region such as eu-central-1 or us-gov-west-1. It becomes part of a host.
func isRegion(s string) bool {
	parts := strings.Split(s, "-")
	last := parts[len(parts)-1]
	return made(s, 6, 32, small+digits+"-") && len(parts) >= 3 && made(last, 1, 2, digits) &&
		!strings.Contains(s, "--") && onlyOf(s[:1], small)
}

// isLocation reports whether s can be a Google Cloud location such as global, us or europe-west4. It becomes part of a host.
func isLocation(s string) bool {
	return made(s, 2, 32, small+digits+"-") && s[0] != '-' && s[len(s)-1] != '-'
}

// isProject reports whether s can be a Google Cloud project id (with the domain that some old ones have) or number. It
// becomes part of a path.
func isProject(s string) bool {
	domain, id, scoped := strings.Cut(s, ":")
	if !scoped {
		domain, id = "", s
	}
	return made(id, 4, 30, small+digits+"-") && id[0] != '-' && id[len(id)-1] != '-' &&
		(!scoped || made(domain, 3, 63, small+digits+".-"))
}

// isAzureInstance reports whether s can be the custom subdomain of an Azure OpenAI resource. It becomes part of a host.
func isAzureInstance(s string) bool {
	return made(s, 2, 64, letters+digits+"-") && s[0] != '-' && s[len(s)-1] != '-'
}

// isAzureAPIVersion reports whether s has the form of a dated api-version such as 2024-10-21 or 2025-04-01-preview.
func isAzureAPIVersion(s string) bool {
	date := strings.TrimSuffix(s, "-preview")
	return len(date) == 10 && date[4] == '-' && date[7] == '-' &&
		onlyOf(date[:4], digits) && onlyOf(date[5:7], digits) && onlyOf(date[8:], digits)
}

// isGUID reports whether s has the form of an id of Entra's, for one.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && strings.IndexByte(digits+"abcdefABCDEF", s[i]) < 0 {
			return false
		}
	}
	return true
}

// isTenant reports whether s can be an Entra tenant: a GUID, or a domain. It becomes part of a path. The words by which any
// tenant is meant have no dot.
func isTenant(s string) bool {
	return isGUID(s) || made(s, 4, 253, letters+digits+".-") && strings.Contains(s, ".") && !strings.Contains(s, "..") && s[0] != '.' && s[0] != '-'
}

// isHeader reports whether s can be the header that carries a key. Some headers are the transport's own.
func isHeader(s string) bool {
	reserved := []string{"host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "te", "upgrade", "trailer"}
	return made(s, 1, 64, letters+digits+"-_") && !slices.Contains(reserved, strings.ToLower(s))
}

// isAudience reports whether s can be the audience of a token.
func isAudience(s string) bool { return len(s) <= 512 && isPublicModel(s) }

// isParameter reports whether s can be a client's id or the like.
func isParameter(s string) bool { return len(s) <= 256 && isPublicModel(s) }

// isPath reports whether s is an absolute path in its shortest form.
func isPath(s string) bool {
	return len(s) <= 1024 && path.IsAbs(s) && path.Clean(s) == s && s != "/" && isPublicModel(s)
}

// isRoleARN reports whether s is the ARN of an IAM role.
func isRoleARN(s string) bool {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || parts[3] != "" || !made(parts[4], 12, 12, digits) {
		return false
	}
	name, ok := strings.CutPrefix(parts[5], "role/")
	return ok && made(name, 1, 576, letters+digits+"/_+=,.@-") && made(parts[1], 3, 16, small+"-") && strings.HasPrefix(parts[1], "aws")
}

// isServiceAccount reports whether s is the e-mail address of a Google service account. It becomes part of a path.
func isServiceAccount(s string) bool {
	name, domain, ok := strings.Cut(s, "@")
	return ok && made(name, 1, 64, letters+digits+".-_") && made(domain, 3, 253, letters+digits+".-") && strings.Contains(domain, ".")
}

// isWorkloadIdentityProvider reports whether s is the full name of a provider of a workload identity pool.
func isWorkloadIdentityProvider(s string) bool {
	parts := strings.Split(s, "/")
	if len(parts) != 11 || parts[0]+parts[1] != "" || parts[2] != "iam.googleapis.com" || !made(parts[4], 1, 20, digits) {
		return false
	}
	words := []string{parts[3], parts[5], parts[6], parts[7], parts[9]}
	id := func(s string) bool { return made(s, 2, 64, small+digits+"-") }
	return slices.Equal(words, []string{"projects", "locations", "global", "workloadIdentityPools", "providers"}) && id(parts[8]) && id(parts[10])
}

// ValidModel reports whether id can name a model at an upstream of that provider. Everything that becomes part of a host or
// a path is narrow: a caller's model name may end up there, and must not be able to lead a request elsewhere.
func ValidModel(p Provider, id string) bool {
	switch p {
	case Vertex:
		return made(id, 1, 128, letters+digits+"._@-") && onlyOf(id[:1], letters+digits)
	case AzureOpenAI:
		return made(id, 1, 64, letters+digits+"._-") && onlyOf(id[:1], letters+digits)
	case Bedrock:
		return made(id, 1, 2048, letters+digits+".:/_-") && onlyOf(id[:1], letters+digits) && !strings.Contains(id, "..")
	default:
		// The name travels in a JSON body. Printable ASCII keeps it from breaking a log line.
		return len(id) <= 256 && isPublicModel(id)
	}
}

// isPublicModel reports whether s can be a model name that callers use.
func isPublicModel(s string) bool {
	if len(s) < 1 || len(s) > 2048 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// parseEndpoint parses an address that requests will be sent to. It must be https, so that neither tokens nor prompts travel
// in clear, except on loopback, and hold nothing but scheme, host, port and path. The problem is "" when there is none.
func parseEndpoint(s string) (*url.URL, string) {
	u, err := url.Parse(s)
	if err != nil || len(s) > 2048 || !isPublicModel(s) || u.Host == "" || u.Opaque != "" {
		return nil, "this is not a URL"
	}
	host := u.Hostname()
	switch {
	case u.User != nil:
		return nil, "the URL holds a user name or password"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return nil, "the URL has a query or a fragment"
	case !made(strings.ToLower(host), 1, 253, small+digits+".-_:"):
		return nil, "the URL's host has characters that no host has"
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(host):
		return u, ""
	case u.Scheme == "http":
		return nil, "the URL is not https, and its host is not on this machine"
	default:
		return nil, "the URL is not https"
	}
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
