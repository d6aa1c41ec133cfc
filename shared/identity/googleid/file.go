package googleid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// The types of credential files.
const (
	// ServiceAccountFile is a service account's key: the one kind with a secret of its own that never expires.
	ServiceAccountFile = "service_account"
	// AuthorizedUserFile is a person's, written by gcloud auth application-default login.
	AuthorizedUserFile = "authorized_user"
	// ExternalAccountFile configures workload identity federation, and holds no secret.
	ExternalAccountFile = "external_account"
	// ImpersonatedFile is one of the others, and a service account to act as with it.
	ImpersonatedFile = "impersonated_service_account"
)

// FileOptions describes a credential file and what it may do.
type FileOptions struct {
	Services
	// Read returns the file's content. It is called for each token, so it keeps what is costly to read.
	Read func(ctx context.Context) (secrets.Value, error)
	// Types are those that are accepted. Empty means all.
	Types []string
	// Scopes limits what tokens may be used for. Empty means those of the file, where it names some, or else CloudPlatform.
	Scopes []string
	// SelfSigned has a service account sign its access tokens itself (https://google.aip.dev/auth/4111), so that no service has to be asked.
	// Outside googleapis.com it is always so.
	SelfSigned bool

	// AWS signs requests to STS in AWSRegion, for configurations of federation from AWS. Nil means that these are refused.
	AWS       identity.Authorizer
	AWSRegion string
	// Azure returns the source of a managed identity's tokens for a resource, for configurations of federation from Azure. Without it these
	// ask the metadata service of a virtual machine, which a function does not have.
	Azure func(resource string) identity.TokenSource
	// TokenFolders are where configurations of federation may read a token from a file. Empty means /var/run/secrets and /run/secrets, where
	// Kubernetes puts them.
	TokenFolders []string
	// MetadataHTTP asks the metadata service of a virtual machine. Nil means an identity.LocalClient.
	MetadataHTTP *http.Client
}

// File gets tokens with a credential file. It is an [identity.TokenSource], and safe for concurrent use.
type File struct {
	options  FileOptions
	services *services
	// anyScopes says that nobody has said which scopes tokens are for, so that a file may.
	anyScopes bool
	quota     atomic.Pointer[string]
}

var _ identity.TokenSource = (*File)(nil)

// NewFile returns a source that has read nothing yet, or says which option is wrong.
func NewFile(options FileOptions) (*File, error) {
	services, err := options.resolve()
	if err != nil {
		return nil, err
	}
	anyScopes := len(options.Scopes) == 0
	options.Scopes = orCloudPlatform(options.Scopes)
	if err := checkScopes(options.Scopes); err != nil {
		return nil, err
	}
	if options.Read == nil {
		return nil, errors.New("the place of the credential file is missing")
	}
	known := []string{ServiceAccountFile, AuthorizedUserFile, ExternalAccountFile, ImpersonatedFile}
	if len(options.Types) == 0 {
		options.Types = known
	}
	for _, kind := range options.Types {
		if !slices.Contains(known, kind) {
			return nil, fmt.Errorf("there is no credential file of type %q", kind)
		}
	}
	if len(options.TokenFolders) == 0 {
		options.TokenFolders = []string{"/var/run/secrets", "/run/secrets"}
	}
	if options.MetadataHTTP == nil {
		options.MetadataHTTP = identity.LocalClient()
	}
	return &File{options: options, services: services, anyScopes: anyScopes}, nil
}

// Token reads the file, checks it, and gets a token with it.
func (f *File) Token(ctx context.Context) (identity.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	_, source, err := f.load(ctx)
	if err != nil {
		identity.Tried(ctx, identity.Attempt{Source: "Google credential file"}, err)
		return identity.Token{}, err
	}
	return source.Token(ctx)
}

// FileDescription is what can be said about a credential file without using it.
type FileDescription struct {
	Type string
	// Name is the identity: an address of a service account, or a provider of a pool.
	Name string
	// QuotaProject is the project that pays for requests with the tokens. Empty means the one that is asked.
	QuotaProject string
}

// Describe reads and checks the file, and asks nobody.
func (f *File) Describe(ctx context.Context) (FileDescription, error) {
	described, _, err := f.load(ctx)
	return described, err
}

func (f *File) load(ctx context.Context) (FileDescription, identity.TokenSource, error) {
	text, err := f.options.Read(ctx)
	if err != nil {
		inner, ours := errors.AsType[*identity.Error](err)
		return FileDescription{}, nil, &identity.Error{Public: "the Google credential file cannot be read", Err: err, Retryable: !ours || inner.Retryable}
	}
	described, source, err := f.parse(text)
	if err != nil {
		return FileDescription{}, nil, err
	}
	f.quota.Store(&described.QuotaProject)
	return described, source, nil
}

// Bearer returns an Authorizer that puts the cache's token on requests, and the project that pays for them where the file names one. The
// cache is one over the file.
func (f *File) Bearer(cache *identity.Cache) identity.Authorizer {
	return quotaBearer{identity.Bearer(cache), f}
}

type quotaBearer struct {
	identity.Authorizer
	file *File
}

const quotaHeader = "X-Goog-User-Project"

// Authorize puts both headers on the request.
func (q quotaBearer) Authorize(request *http.Request) error {
	if err := q.Authorizer.Authorize(request); err != nil {
		return err
	}
	request.Header.Del(quotaHeader)
	if project := q.file.quota.Load(); project != nil && *project != "" {
		request.Header.Set(quotaHeader, *project)
	}
	return nil
}

// invalid is the error for a file that is not accepted. It names the field, and never holds a value.
func invalid(field, problem string) error {
	if field == "" {
		return &identity.Error{Public: "the Google credential file is not accepted: " + problem}
	}
	return &identity.Error{Public: "the Google credential file is not accepted: " + field + " " + problem}
}

// isProject reports whether a text can be a project's id or number. It becomes a header.
func isProject(text string) bool {
	return len(text) <= 100 && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-.:", c)
	})
}
