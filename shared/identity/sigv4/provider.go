package sigv4

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Provider hands an identity's credentials to a client of the AWS SDK. It is safe for concurrent use.
type Provider struct {
	identity *Identity

	mu   sync.Mutex
	last keys
}

var _ aws.CredentialsProvider = (*Provider)(nil)

// NewProvider returns a Provider of the identity's credentials, which stay the identity's to keep fresh.
func NewProvider(who *Identity) *Provider { return &Provider{identity: who} }

// Retrieve returns credentials that are valid now. Errors are as those of Authorize.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	held, err := p.identity.keys(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = held
	return held.Credentials, nil
}

// Invalidate says that AWS did not accept the credentials that were retrieved last.
func (p *Provider) Invalidate() {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	p.identity.reject(last.AccessKeyID, last.SessionToken)
}
