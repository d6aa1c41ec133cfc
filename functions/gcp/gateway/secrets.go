package gateway

import (
	"context"
	"sync"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/gcpsecrets"
)

// store reads from Secret Manager in the function's own project. The platform
// puts the project's id into the environment of some generations of functions
// only; the metadata server always knows it.
type store struct {
	project  string
	endpoint string
	metadata *googleid.Metadata

	mu     sync.Mutex
	reader *gcpsecrets.Reader
}

func newStore(getenv func(string) string) *store {
	return &store{
		project: getenv("GOOGLE_CLOUD_PROJECT"), endpoint: getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"),
		metadata: googleid.New(googleid.Options{Getenv: getenv}),
	}
}

func (s *store) Read(ctx context.Context, ref secrets.Ref) (secrets.Value, error) {
	secret, err := s.Current(ctx, ref)
	return secret.Value, err
}

func (s *store) Current(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	reader, err := s.open(ctx, ref)
	if err != nil {
		return secrets.Secret{}, err
	}
	return reader.Current(ctx, ref)
}

func (s *store) Previous(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	reader, err := s.open(ctx, ref)
	if err != nil {
		return secrets.Secret{}, err
	}
	return reader.Previous(ctx, ref)
}

// open is called before each read, so that a metadata server which did not
// answer is asked again.
func (s *store) open(ctx context.Context, ref secrets.Ref) (*gcpsecrets.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != nil {
		return s.reader, nil
	}
	if s.project == "" {
		var err error
		if s.project, err = s.metadata.ProjectID(ctx); err != nil {
			return nil, &secrets.Error{Ref: ref, Reason: "the project is not known; set GOOGLE_CLOUD_PROJECT", Err: err}
		}
	}
	reader, err := gcpsecrets.New(gcpsecrets.Options{
		Project: s.project, Endpoint: s.endpoint,
		Authorizer: identity.Bearer(identity.NewCache(s.metadata, identity.CacheOptions{})),
	})
	if err != nil {
		return nil, &secrets.Error{Ref: ref, Reason: "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER is not the address of a store", Err: err}
	}
	s.reader = reader
	return reader, nil
}
