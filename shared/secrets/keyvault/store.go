package keyvault

import (
	"context"
	"net/http"
	"strconv"

	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// pendingSuffix makes the name of the secret that holds the staged version: the newest version of the secret itself is the one that is read.
	pendingSuffix = "--pending"
	// pendingID is before the version in the id of a staged version.
	pendingID = "pending/"
	// maxName is the longest name of a secret (https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates).
	maxName = 127
	// maxValue and maxTags are from https://learn.microsoft.com/azure/key-vault/secrets/about-secrets.
	maxValue = 25 << 10
	maxTags  = 15

	// tagPrefix is that of the tags of a rotation, of which there are three: which cycle the version was staged for, which version it is a
	// copy of, and which one it took the place of.
	tagPrefix   = "postern-"
	tagCycle    = tagPrefix + "cycle"
	tagFrom     = tagPrefix + "from"
	tagPrevious = tagPrefix + "previous"
)

// Store replaces secrets in Key Vault. It is a [secrets.Store], and safe for concurrent use by callers that hold a lease on their secret:
// nothing can be written here under a condition.
//
// A staged version is a version of another secret, whose name ends in --pending. Whoever sets that secret by hand has staged a version. To
// promote one is to copy it into the secret itself, with tags that say so; its id becomes another one. The secret keeps the tags that it has.
// What is dropped or has been promoted is disabled there: a deleted name could not be used again for weeks.
//
// The role Key Vault Secrets Officer on the vault has all rights that are needed, which are the data actions getSecret, readMetadata,
// setSecret and update of Microsoft.KeyVault/vaults/secrets.
type Store struct{ reader *Reader }

// NewStore returns a Store. It makes no network call. The timeout of the options bounds each request.
func NewStore(options Options) (*Store, error) {
	reader, err := New(options)
	if err != nil {
		return nil, err
	}
	return &Store{reader}, nil
}

func (s *Store) open(ref secrets.Ref) (*desk, error) {
	if _, err := ref.Whole(secrets.StoreKeyVault); err != nil {
		return nil, err
	}
	one, err := s.reader.session(ref)
	if err != nil {
		return nil, err
	}
	one.send, one.missing = s.send, mayNotReplace
	other := *one
	beside := *one.base
	beside.Path += pendingSuffix
	other.base = &beside
	if len(other.name()) > maxName {
		return nil, &secrets.Error{Ref: ref, Reason: "its name is too long to be rotated: " + pendingSuffix + " has to fit in after it, within " + strconv.Itoa(maxName) + " characters"}
	}
	return &desk{secret: one, pending: &other, ref: ref}, nil
}

func (s *Store) send(request *http.Request, ref secrets.Ref) (secrets.Reply, error) {
	return s.reader.remote.SendPatiently(request, ref, s.reader.options.Timeout)
}

func mayNotReplace(action string) string {
	return "this function's identity may not replace it; it needs " + action + ", which the role Key Vault Secrets Officer on the vault has"
}

// Inspect implements [secrets.Store]. It reads the current value only to learn which of two versions of one second is the newer one.
func (s *Store) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	d, err := s.open(ref)
	if err == nil {
		err = d.look(ctx)
	}
	if err != nil {
		return secrets.Inventory{}, secrets.Failed("inspect", err)
	}
	return d.inventory(), nil
}

// Value implements [secrets.Store].
func (s *Store) Value(ctx context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	d, err := s.open(ref)
	if err != nil {
		return secrets.Value{}, err
	}
	place, version, ok := d.place(id)
	if !ok {
		return secrets.Value{}, &secrets.Error{Ref: ref, Reason: "a version of Key Vault has 32 hexadecimal digits", Err: secrets.ErrNotFound}
	}
	found, err := place.get(ctx, version)
	if err != nil {
		return secrets.Value{}, err
	}
	return ref.Select(found.value)
}

// Stage implements [secrets.Store].
func (s *Store) Stage(ctx context.Context, ref secrets.Ref, candidate secrets.Candidate) (secrets.Version, error) {
	d, err := s.open(ref)
	if err == nil {
		err = candidate.Check(ref)
	}
	if err == nil && len(candidate.Value.Reveal()) > maxValue {
		err = &secrets.Error{Ref: ref, Reason: "the new version is larger than 25 KB, and Key Vault takes no more"}
	}
	if err != nil {
		return secrets.Version{}, secrets.Failed("stage", err)
	}
	version, err := d.stage(ctx, candidate)
	return version, secrets.Failed("stage", err)
}

// Promote implements [secrets.Store].
func (s *Store) Promote(ctx context.Context, ref secrets.Ref, promotion secrets.Promotion) (secrets.Version, error) {
	d, err := s.open(ref)
	if err != nil {
		return secrets.Version{}, secrets.Failed("promote", err)
	}
	version, err := d.promote(ctx, promotion)
	return version, secrets.Failed("promote", err)
}

// Drop implements [secrets.Store]. The version is disabled, and stays until somebody deletes the secret.
func (s *Store) Drop(ctx context.Context, ref secrets.Ref, id string) error {
	d, err := s.open(ref)
	if err != nil {
		return secrets.Failed("drop", err)
	}
	return secrets.Failed("drop", d.drop(ctx, id))
}
