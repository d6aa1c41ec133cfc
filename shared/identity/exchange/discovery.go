package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
)

const (
	// A server's description is used for freshFor, and while the server cannot be asked for it, for staleFor.
	freshFor = time.Hour
	staleFor = 24 * time.Hour
	// refreshTimeout bounds the fetch of a description when there is an old one: the rest of the time is for the token.
	refreshTimeout = time.Second
)

// discovery finds an issuer's token endpoint. It keeps one description, and is safe for concurrent use.
type discovery struct {
	issuer string
	url    *url.URL // of the issuer
	hosts  []string
	http   *http.Client

	mu      sync.Mutex
	known   *metadata
	fetched time.Time // by the wall clock: the other one stands still while a function is frozen
}

// metadata is what is used of a description.
type metadata struct {
	endpoint  *url.URL
	mutualTLS *url.URL // nil when it is the same
	methods   []string
}

func newDiscovery(options Server, client *http.Client) (*discovery, error) {
	at, err := parseURL(options.Issuer)
	if err != nil {
		return nil, err
	}
	if at.RawQuery != "" || at.ForceQuery {
		return nil, errors.New("the URL must not have a query")
	}
	d := &discovery{issuer: options.Issuer, url: at, http: client}
	for _, host := range options.EndpointHosts {
		if host == "" || strings.Trim(host, hostCharacters) != "" || strings.Contains(host, ":") {
			return nil, fmt.Errorf("%q is not the name of a host, without port or path", host)
		}
		d.hosts = append(d.hosts, strings.ToLower(host))
	}
	return d, nil
}

// find returns the description, and fetches it if need be.
func (d *discovery) find(ctx context.Context) (*metadata, error) {
	known, age := d.kept()
	if known != nil && age >= 0 && age < freshFor {
		return known, nil
	}
	stale := known != nil && age >= 0 && age < staleFor
	if stale {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
	}
	found, err := d.fetch(ctx)
	problem, _ := errors.AsType[*identity.Error](err)
	switch {
	case err == nil:
		d.keep(found)
		return found, nil
	case stale && problem != nil && problem.Retryable:
		return known, nil
	}
	return nil, err
}

func (d *discovery) kept() (*metadata, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known, time.Now().Round(0).Sub(d.fetched)
}

func (d *discovery) keep(found *metadata) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known, d.fetched = found, time.Now().Round(0)
}

// forget makes the next fetch look for the endpoint again.
func (d *discovery) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
}

// addresses are where the description may be: OpenID Connect Discovery 1.0 section 4 appends to the issuer's path, RFC 8414 section 3
// puts its name before it.
func (d *discovery) addresses() []string {
	path := strings.TrimSuffix(d.url.EscapedPath(), "/")
	root := d.url.Scheme + "://" + d.url.Host
	return []string{root + path + "/.well-known/openid-configuration", root + "/.well-known/oauth-authorization-server" + path}
}

func (d *discovery) fetch(ctx context.Context) (*metadata, error) {
	name := "the issuer at " + d.url.Host
	for _, address := range d.addresses() {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, &identity.Error{Public: name + " is not an address", Err: err}
		}
		got, err := send(d.http, request, name)
		switch {
		case err != nil:
			return nil, err
		case got.status == http.StatusNotFound:
			continue
		case got.status != ok:
			return nil, &identity.Error{
				Public:    fmt.Sprintf("%s answered with status %d where its description should be", name, got.status),
				Retryable: got.status == http.StatusTooManyRequests || got.status >= http.StatusInternalServerError,
			}
		}
		found, err := d.parse(got.body)
		if err != nil {
			return nil, &identity.Error{Public: fmt.Sprintf("the description of %s cannot be used: %v", name, err)}
		}
		return found, nil
	}
	return nil, &identity.Error{Public: name + " has no description (/.well-known/openid-configuration or oauth-authorization-server); check the issuer, or set its token endpoint in place of it"}
}

// parse reads a description. Its errors do not quote it.
func (d *discovery) parse(body []byte) (*metadata, error) {
	var read struct {
		Issuer   string `json:"issuer"`
		Endpoint string `json:"token_endpoint"`
		Aliases  struct {
			Endpoint string `json:"token_endpoint"`
		} `json:"mtls_endpoint_aliases"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := json.Unmarshal(body, &read); err != nil {
		return nil, errors.New("it is not the JSON of one")
	}
	// RFC 8414 section 3.3 and OpenID Connect Discovery 1.0 section 4.3: the same text, not just an equivalent URL.
	switch {
	case read.Issuer != d.issuer && strings.TrimSuffix(read.Issuer, "/") == strings.TrimSuffix(d.issuer, "/"):
		return nil, errors.New("its issuer differs from the configured one by a slash at the end; the two must be the same to the letter")
	case read.Issuer != d.issuer:
		return nil, errors.New("it names another issuer; configure the issuer exactly as the server calls itself")
	}
	found := &metadata{}
	var err error
	if found.endpoint, err = d.endpoint(read.Endpoint); err != nil {
		return nil, fmt.Errorf("its token endpoint is refused: %w", err)
	}
	if read.Aliases.Endpoint != "" {
		if found.mutualTLS, err = d.endpoint(read.Aliases.Endpoint); err != nil {
			return nil, fmt.Errorf("its token endpoint for client certificates is refused: %w", err)
		}
	}
	for _, method := range methods() {
		if slices.Contains(read.Methods, method) {
			found.methods = append(found.methods, method)
		}
	}
	return found, nil
}

// endpoint parses an address from a description and holds it to the rule at [Server].
func (d *discovery) endpoint(text string) (*url.URL, error) {
	u, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	host, issuer := strings.ToLower(u.Hostname()), strings.ToLower(d.url.Hostname())
	_, notName := netip.ParseAddr(issuer)
	beneath := notName != nil && strings.HasSuffix(host, "."+issuer)
	switch {
	case d.url.Scheme == "https" && u.Scheme != "https":
		return nil, errors.New("the issuer is https and the endpoint is not")
	case host == issuer, beneath, slices.Contains(d.hosts, host):
		return u, nil
	}
	return nil, errors.New("it is on another host than the issuer; if that is right, allow the host, or set the token endpoint in place of the issuer")
}
