package rotation

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/secrets"
)

// Proof is a request that only a working key can make, by which a key is verified.
type Proof struct {
	// URL is what is read.
	URL string
	// Name is the header that carries the key, and Prefix what stands before the key in it, such as "Bearer ".
	Name, Prefix string
	// Header is sent along.
	Header http.Header
	// Member is a member of the JSON object that is the service's answer. It tells a success from the page of something in between.
	Member string
	// Judge, when set, looks at each reply first. It reports false for one that says of the key what its status says.
	Judge func(reply Reply) (judged bool, err error)
}

// Prove finds out whether a key works, as [Verifier] describes.
func (r *Remote) Prove(ctx context.Context, proof Proof, value secrets.Value) error {
	const op = "verify"
	if !fits(value.Reveal()) {
		return &Error{Op: op, Reason: "the key is empty or holds characters that do not fit into a header; store the key alone, without quotes or line breaks", Err: ErrRejected}
	}
	header := maps.Clone(proof.Header)
	if header == nil {
		header = http.Header{}
	}
	header.Set(proof.Name, proof.Prefix+value.Reveal())
	reply, err := r.Call(ctx, Call{Purpose: Purpose{Op: op}, Method: http.MethodGet, URL: proof.URL, Header: header})
	if err != nil {
		return err
	}
	if proof.Judge != nil {
		if judged, err := proof.Judge(reply); judged {
			return err
		}
	}
	if err := reply.Verified(); err != nil {
		return err
	}
	var members map[string]jsontext.Value
	if json.Unmarshal(reply.Body, &members) != nil || members[proof.Member] == nil || members[proof.Member].Kind() == 'n' {
		return reply.Malformed()
	}
	return nil
}

// Grant is a request to a token endpoint that only a working key can make (RFC 6749, section 4).
type Grant struct {
	// URL is the token endpoint.
	URL string
	// Form is what is sent.
	Form url.Values
	// Judge looks at each reply that is not a success. It returns nil for one that says what its status says.
	Judge func(reply Reply) error
}

// Grant finds out whether a key works, as [Verifier] describes, by getting a token with it.
func (r *Remote) Grant(ctx context.Context, grant Grant) error {
	const op = "verify"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, grant.URL, strings.NewReader(grant.Form.Encode()))
	if err != nil {
		return unsent(op, err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	reply, err := r.Send(request, Purpose{Op: op})
	if err != nil {
		return err
	}
	if reply.Status != http.StatusOK {
		return cmp.Or(grant.Judge(reply), reply.Unexpected())
	}
	var out struct {
		Token string `json:"access_token"`
	}
	if err := reply.Decode(&out); err != nil || out.Token != "" {
		return err
	}
	return reply.Malformed()
}

// fits reports whether a text fits into a header as it is.
func fits(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Address reads the URL of a service that makes keys. What is sent there are credentials, so anything but TLS is for this machine only.
func Address(text string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.User != nil || parsed.Fragment != "" {
		return nil, errors.New("the address of a service that makes keys has to be a URL, such as https://host/path")
	}
	if _, err := secrets.Endpoint(parsed.Scheme + "://" + parsed.Host); err != nil {
		return nil, errors.New("the address of a service that makes keys has to begin with https:// and the name of a host")
	}
	return parsed, nil
}

// Endpoint reads the URL below which a service has its API, and returns it without a slash at its end.
func Endpoint(text string) (string, error) {
	parsed, err := Address(text)
	if err != nil {
		return "", err
	}
	if parsed.RawQuery != "" || parsed.ForceQuery {
		return "", errors.New("the address of a service that makes keys must not have a query")
	}
	return strings.TrimRight(parsed.String(), "/"), nil
}
