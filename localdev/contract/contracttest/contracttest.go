// Package contracttest holds what a test sends and receives against a vendor's own description of its API. It is for _test.go files.
//
// The package must not know any service.
package contracttest

import (
	"net/http"
	"sync"
	"testing"

	"github.com/postern-ai/postern/localdev/contract"
)

// Description is a vendor's description, which is read when it is first needed and then kept. It is safe for concurrent use.
type Description struct {
	load func() (*contract.Description, error)
}

// AWS returns the description of a service of AWS, such as events.
func AWS(service string) *Description { return describe(contract.AWS, service) }

// Google returns the description of an API of Google's, such as pubsub-v1.
func Google(api string) *Description { return describe(contract.Google, api) }

// OpenAI returns OpenAI's description, as a service departs from it that is of another age.
func OpenAI(variant contract.Variant) *Description {
	return describe(func(dir, _ string) (*contract.Description, error) {
		description, err := contract.OpenAI(dir)
		if err != nil {
			return nil, err
		}
		return description.With(variant), nil
	}, "")
}

func describe(read func(dir, name string) (*contract.Description, error), name string) *Description {
	return &Description{sync.OnceValues(func() (*contract.Description, error) {
		dir, ok := contract.Dir()
		if !ok {
			return nil, nil
		}
		return read(dir, name)
	})}
}

// Requests returns a handler that serves as next does and fails the test where requests depart from the description. Replies are not looked at:
// tests make stand-ins misbehave.
func (d *Description) Requests(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	return d.check(t, next, contract.Problem.OfRequest)
}

// Replies is the same for the replies: tests send stand-ins what no client would.
func (d *Description) Replies(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	return d.check(t, next, func(p contract.Problem) bool { return !p.OfRequest() })
}

// Traffic is the same for both.
func (d *Description) Traffic(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	return d.check(t, next, func(contract.Problem) bool { return true })
}

func (d *Description) check(t *testing.T, next http.Handler, counts func(contract.Problem) bool) http.Handler {
	t.Helper()
	description, err := d.load()
	if err != nil {
		t.Fatal(err)
	}
	if description == nil {
		t.Log("the vendors' descriptions are not here, so the traffic is not checked against them")
		return next
	}
	return contract.Check(description, next, func(problems ...contract.Problem) {
		for _, problem := range problems {
			if counts(problem) {
				t.Error(problem)
			}
		}
	})
}
