package awssecrets_test

import (
	"context"
	"crypto/rand"
	"flag"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
	"github.com/postern-ai/postern/shared/secrets/secretstest"
)

// live has the conformance suite run against the real service:
//
//	AWS_REGION=... AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... go test ./shared/secrets/awssecrets -run Live -live postern-test
//
// It makes some hundred secrets whose names begin so, and deletes them.
var live = flag.String("live", "", "how the names of the secrets begin that are made and deleted in the account of the environment")

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

// account is Secrets Manager, and a store that is to be tested.
type account struct {
	options  awssecrets.Options
	official *client.Client
	prefix   string
	made     *names
}

// names are those of the secrets that have been made.
type names struct {
	mu  sync.Mutex
	all []string
}

func newAccount(options awssecrets.Options, prefix string) account {
	config := aws.Config{Region: options.Region, Credentials: options.Credentials, RetryMaxAttempts: 1}
	if options.Endpoint != "" {
		config.BaseEndpoint = &options.Endpoint
	}
	return account{options: options, official: client.NewFromConfig(config), prefix: prefix, made: &names{}}
}

func (a account) store(t *testing.T) *awssecrets.Store {
	t.Helper()
	store, err := awssecrets.NewStore(a.options)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// put does what an operator does at the console.
func (a account) put(t *testing.T, p secretstest.Put, labels ...string) string {
	t.Helper()
	name := a.prefix + p.Name
	out, err := a.official.PutSecretValue(t.Context(), &client.PutSecretValueInput{SecretId: &name, SecretString: &p.Text, VersionStages: labels})
	if err == nil {
		return *out.VersionId
	}
	return a.create(t, client.CreateSecretInput{Name: &name, SecretString: &p.Text})
}

// create returns the id of the first version, if there is one.
func (a account) create(t *testing.T, in client.CreateSecretInput) string {
	t.Helper()
	a.made.mu.Lock()
	a.made.all = append(a.made.all, *in.Name)
	a.made.mu.Unlock()
	out, err := a.official.CreateSecret(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.VersionId)
}

// remove deletes a secret as an operator does, who may still change his mind.
func (a account) remove(t *testing.T, name string) {
	t.Helper()
	if _, err := a.official.DeleteSecret(t.Context(), &client.DeleteSecretInput{SecretId: aws.String(a.prefix + name)}); err != nil {
		t.Fatal(err)
	}
}

// clear deletes what has been made, at once.
func (a account) clear(t *testing.T) {
	t.Helper()
	for _, name := range a.made.all {
		_, err := a.official.DeleteSecret(context.WithoutCancel(t.Context()), &client.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
		if err != nil {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

func (a account) world(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
	t.Helper()
	reader, err := awssecrets.New(a.options)
	if err != nil {
		t.Fatal(err)
	}
	tested := a
	tested.options.Transport, tested.options.Timeout = line, timeout
	return secretstest.World{
		Store: tested.store(t), Another: a.store(t), Reader: reader,
		Ref:            func(name string) secrets.Ref { return secrets.Ref{Store: secrets.StoreAWS, Name: a.prefix + name} },
		Put:            func(p secretstest.Put) string { return a.put(t, p) },
		Pend:           func(p secretstest.Put) { a.put(t, p, "AWSPENDING") },
		Make:           func(name string) { a.create(t, client.CreateSecretInput{Name: aws.String(a.prefix + name)}) },
		Delete:         func(name string) { a.remove(t, name) },
		FirstIsCurrent: true, StagesOnce: true, Swaps: true,
		Throttled: secretstest.Reply{Status: 400, Header: map[string][]string{"Content-Type": {"application/x-amz-json-1.1"}},
			Body: `{"__type":"ThrottlingException","message":"` + secretstest.Canary + `"}`},
	}
}

func TestStoreConformance(t *testing.T) {
	t.Parallel()
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		i, rights := &issuer{}, &rights{}
		server := secretsmanager.New(secretsmanager.Options{Region: region, Keys: i.find, Allow: rights.allow})
		listener := httptest.NewServer(checked(t, server))
		t.Cleanup(listener.Close)
		a := newAccount(awssecrets.Options{Region: region, Credentials: i, Endpoint: listener.URL, Timeout: time.Minute}, "team/")
		w := a.world(t, line, timeout)
		w.Put = func(p secretstest.Put) string {
			return server.Seed(secretsmanager.Secret{Name: "team/" + p.Name, Text: p.Text})
		}
		w.Permissions = []string{
			"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
		}
		w.Deny = rights.deny
		w.Expire = func() { i.set(func(i *issuer) { i.invalidated = true }) }
		w.LoseIdentity = func(err error) { i.set(func(i *issuer) { i.err = err }) }
		return w
	})
}

func TestLive(t *testing.T) {
	if *live == "" {
		t.Skip("it takes an account and the flag -live")
	}
	options := awssecrets.Options{
		Region: os.Getenv("AWS_REGION"), Endpoint: os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER"), Timeout: time.Minute,
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")),
	}
	secretstest.TestStore(t, func(t *testing.T, line *secretstest.Line, timeout time.Duration) secretstest.World {
		// Whatever a test makes begins with what nothing else does, by which it is found again.
		a := newAccount(options, *live+"/"+strings.ToLower(rand.Text())+"/")
		t.Cleanup(func() { a.clear(t) })
		return a.world(t, line, timeout)
	})
}
