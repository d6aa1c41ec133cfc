package rotationtest

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Admin is an admin credential that is one header, for both the issuer and the stand-in of its service. It is an authorizer, and its Expire and
// Lose are those of a [World].
type Admin struct {
	// Header is its name, empty for Authorization. Prefix stands before the credential, such as "Bearer ".
	Header, Prefix string

	mu      sync.Mutex
	issued  int
	expired bool
	err     error
}

func (a *Admin) header() string {
	if a.Header == "" {
		return "Authorization"
	}
	return a.Header
}

func (a *Admin) credential() string { return Canary + "-admin-" + strconv.Itoa(a.issued) }

// Accepts reports whether a credential, without the prefix, is good.
func (a *Admin) Accepts(credential string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return credential == a.credential() && !a.expired
}

// Authorize puts the credential on a request.
func (a *Admin) Authorize(request *http.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	request.Header.Set(a.header(), a.Prefix+a.credential())
	return nil
}

// Rejected makes the next credential, if the one on the request is the last.
func (a *Admin) Rejected(request *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.TrimPrefix(request.Header.Get(a.header()), a.Prefix) == a.credential() {
		a.issued, a.expired = a.issued+1, false
	}
}

// Expire makes the credential no longer good. The next one is.
func (a *Admin) Expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expired = true
}

// Lose makes the credential unobtainable.
func (a *Admin) Lose(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// Fixed is an admin credential that is always the same: a header, as "Name: value".
type Fixed string

// Authorize puts the credential on a request.
func (f Fixed) Authorize(request *http.Request) error {
	name, value, _ := strings.Cut(string(f), ": ")
	request.Header.Set(name, value)
	return nil
}

// Rejected does nothing: there is no other.
func (f Fixed) Rejected(*http.Request) {}
