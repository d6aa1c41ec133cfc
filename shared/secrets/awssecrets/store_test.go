package awssecrets_test

import (
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// rights are what the callers of a stand-in may not do.
type rights struct {
	mu     sync.Mutex
	denied []string
}

func (r *rights) deny(permissions ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.denied = permissions
}

func (r *rights) allow(access secretsmanager.Access) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.Contains(r.denied, access.Action)
}

func TestStoreConformance(t *testing.T) {
	t.Parallel()
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		i, rights := &issuer{}, &rights{}
		server := secretsmanager.New(secretsmanager.Options{Region: region, Keys: i.find, Allow: rights.allow})
		listener := httptest.NewServer(checked(t, server))
		t.Cleanup(listener.Close)
		options := awssecrets.Options{Region: region, Credentials: i, Endpoint: listener.URL, Timeout: time.Minute}
		reader, err := awssecrets.New(options)
		if err != nil {
			t.Fatal(err)
		}
		another, err := awssecrets.NewStore(options)
		if err != nil {
			t.Fatal(err)
		}
		options.Transport, options.Timeout = line, timeout
		store, err := awssecrets.NewStore(options)
		if err != nil {
			t.Fatal(err)
		}
		official := client.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &listener.URL, Credentials: i, RetryMaxAttempts: 1})
		return secretstest.World{
			Store: store, Another: another, Reader: reader,
			Ref: func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreAWS, Name: "team/" + name} },
			Put: func(p secretstest.Put) string {
				return server.Seed(secretsmanager.Secret{Name: "team/" + p.Name, Text: p.Text})
			},
			Pend: func(p secretstest.Put) {
				if _, err := official.PutSecretValue(t.Context(), &client.PutSecretValueInput{
					SecretId: aws.String("team/" + p.Name), SecretString: &p.Text, VersionStages: []string{"AWSPENDING"}}); err != nil {
					t.Fatal(err)
				}
			},
			Make: func(name string) {
				if _, err := official.CreateSecret(t.Context(), &client.CreateSecretInput{Name: aws.String("team/" + name)}); err != nil {
					t.Fatal(err)
				}
			},
			Delete:         func(name string) { remove(t, listener.URL, i, "team/"+name) },
			FirstIsCurrent: true, StagesOnce: true, Swaps: true,
			Permissions: []string{
				"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
			},
			Deny:         rights.deny,
			Expire:       func() { i.set(func(i *issuer) { i.invalidated = true }) },
			LoseIdentity: func(err error) { i.set(func(i *issuer) { i.err = err }) },
			Throttled: secretstest.Reply{Status: 400, Header: map[string][]string{"Content-Type": {"application/x-amz-json-1.1"}},
				Body: `{"__type":"ThrottlingException","message":"` + secretstest.Canary + `"}`},
		}
	})
}
