package awssecrets

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/postern-ai/postern/shared/secrets"
)

// Store replaces secrets in Secrets Manager. It is a [secrets.Store], and safe for concurrent use.
//
// The id of a version is the id of the cycle that staged it, so that a cycle makes one version whatever is lost. A staged version has the label
// AWSPENDING, and a version without a label is gone: the service deletes it some time later. Promote moves the label AWSCURRENT from where it
// is expected to be, or not at all, and AWSPREVIOUS follows it.
//
// The first version of a secret that has none becomes current at once, because the service makes it so.
type Store struct{ service *service }

// NewStore returns a Store. It makes no network call. The credentials need secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue and
// UpdateSecretVersionStage on the secrets, and kms:GenerateDataKey and kms:Decrypt on keys of one's own.
func NewStore(options Options) (*Store, error) {
	service, err := options.service()
	if err != nil {
		return nil, err
	}
	return &Store{service}, nil
}

func (s *Store) target(ref secrets.Ref) (target, error) {
	own, err := ref.Whole(secrets.StoreAWS)
	if err != nil {
		return target{}, err
	}
	return s.service.target(ref, own), nil
}

// Inspect returns the versions with the labels AWSCURRENT, AWSPREVIOUS and AWSPENDING. A staged version may have no value yet: AWS begins its
// own rotations with such a one, whose cycle is theirs to say.
func (s *Store) Inspect(ctx context.Context, ref secrets.Ref) (secrets.Inventory, error) {
	of, err := s.target(ref)
	if err != nil {
		return secrets.Inventory{}, secrets.Failed("inspect", err)
	}
	labels, err := s.labels(ctx, of)
	if err != nil {
		return secrets.Inventory{}, secrets.Failed("inspect", err)
	}
	return secrets.Inventory{
		Current: version(labels.holder(labelCurrent)), Previous: version(labels.holder(labelPrevious)), Staged: version(labels.staged()),
	}, nil
}

// version returns the version of an id, which is that of its cycle.
func version(id string) secrets.Version { return secrets.Version{ID: id, Cycle: id} }

// labels are the staging labels of a secret, by the ids of the versions that have them.
type labels map[string][]string

func (l labels) holder(label string) string {
	for id, all := range l {
		if slices.Contains(all, label) {
			return id
		}
	}
	return ""
}

// staged returns the id of the version that is to become current. When a rotation has ended, AWSPENDING may stay where AWSCURRENT is.
func (l labels) staged() string {
	if id := l.holder(labelPending); id != l.holder(labelCurrent) {
		return id
	}
	return ""
}

func (s *Store) describe(ctx context.Context, of target) (*secretsmanager.DescribeSecretOutput, error) {
	out, err := send(ctx, s.service, request[secretsmanager.DescribeSecretInput, secretsmanager.DescribeSecretOutput]{
		of: of, action: actionInspect, in: secretsmanager.DescribeSecretInput{SecretId: &of.name}, do: (*secretsmanager.Client).DescribeSecret,
	})
	switch {
	case err != nil:
		return nil, err
	case aws.ToString(out.ARN) == "":
		return nil, &secrets.Error{Ref: of.ref, Reason: "the store's reply is not what its API describes"}
	case out.DeletedDate != nil:
		return nil, &secrets.Error{Ref: of.ref, Reason: deleted, Err: secrets.ErrUnusable}
	}
	return out, nil
}

func (s *Store) labels(ctx context.Context, of target) (labels, error) {
	out, err := s.describe(ctx, of)
	if err != nil {
		return nil, err
	}
	return out.VersionIdsToStages, nil
}

// Value returns the content of a version that has a label.
func (s *Store) Value(ctx context.Context, ref secrets.Ref, id string) (secrets.Value, error) {
	of, err := s.target(ref)
	if err != nil {
		return secrets.Value{}, secrets.Failed("read", err)
	}
	value, err := s.value(ctx, of, id)
	return value, secrets.Failed("read", err)
}

func (s *Store) value(ctx context.Context, of target, id string) (secrets.Value, error) {
	gone := &secrets.Error{Ref: of.ref, Reason: "it has no such version", Err: secrets.ErrNotFound}
	if len(id) < minVersionID || len(id) > maxVersionID {
		return secrets.Value{}, gone
	}
	out, err := send(ctx, s.service, request[secretsmanager.GetSecretValueInput, secretsmanager.GetSecretValueOutput]{
		of: of, action: actionRead, in: secretsmanager.GetSecretValueInput{SecretId: &of.name, VersionId: &id}, do: (*secretsmanager.Client).GetSecretValue,
	})
	if err != nil {
		return secrets.Value{}, err
	}
	secret, err := decode(of.ref, out)
	switch {
	case err != nil:
		return secrets.Value{}, err
	case len(out.VersionStages) == 0:
		return secrets.Value{}, gone
	}
	return secret.Value, nil
}

// Stage stores the value as the version that has the cycle's id, with the label AWSPENDING. The version that AWS begins a rotation with gets
// its value in this way.
func (s *Store) Stage(ctx context.Context, ref secrets.Ref, candidate secrets.Candidate) (secrets.Version, error) {
	of, err := s.target(ref)
	if err == nil {
		err = candidate.Check(ref)
	}
	if err == nil {
		err = s.stage(ctx, of, candidate)
	}
	if err != nil {
		return secrets.Version{}, secrets.Failed("stage", err)
	}
	return version(candidate.Cycle), nil
}

func (s *Store) stage(ctx context.Context, of target, candidate secrets.Candidate) error {
	labels, err := s.labels(ctx, of)
	if err != nil {
		return err
	}
	// The service would take the label away from the other version without a word.
	if staged := labels.staged(); staged != "" && staged != candidate.Cycle {
		return &secrets.Error{Ref: of.ref, Reason: "a version of another cycle has the label AWSPENDING; promote it or take the label away", Err: secrets.ErrOccupied}
	}
	out, err := send(ctx, s.service, request[secretsmanager.PutSecretValueInput, secretsmanager.PutSecretValueOutput]{
		of: of, action: actionPut, do: (*secretsmanager.Client).PutSecretValue, in: secretsmanager.PutSecretValueInput{
			SecretId: &of.name, ClientRequestToken: &candidate.Cycle, SecretString: aws.String(candidate.Value.Reveal()), VersionStages: []string{labelPending},
		},
	})
	switch {
	case err != nil:
		return err
	case aws.ToString(out.VersionId) != candidate.Cycle:
		return &secrets.Error{Ref: of.ref, Reason: "the store's reply is not what its API describes"}
	case len(out.VersionStages) == 0:
		return &secrets.Error{Ref: of.ref, Reason: "the cycle's version has been dropped", Err: secrets.ErrConflict}
	}
	return nil
}

// Promote moves the label AWSCURRENT, and takes AWSPENDING away from the version that is current then.
func (s *Store) Promote(ctx context.Context, ref secrets.Ref, promotion secrets.Promotion) (secrets.Version, error) {
	of, err := s.target(ref)
	if err == nil {
		err = s.promote(ctx, of, promotion)
	}
	if err != nil {
		return secrets.Version{}, secrets.Failed("promote", err)
	}
	return version(promotion.To), nil
}

func (s *Store) promote(ctx context.Context, of target, promotion secrets.Promotion) error {
	labels, err := s.labels(ctx, of)
	if err != nil {
		return err
	}
	pending := slices.Contains(labels[promotion.To], labelPending)
	if current := labels.holder(labelCurrent); current == "" || current != promotion.To {
		if err := s.swap(ctx, of, labels, promotion); err != nil {
			return err
		}
	}
	if !pending {
		return nil
	}
	// AWS takes a version that is pending for a rotation that goes on. If the label has moved it is of another rotation by now.
	err = s.move(ctx, of, move{label: labelPending, from: promotion.To})
	if errors.Is(err, secrets.ErrConflict) {
		return nil
	}
	return err
}

func (s *Store) swap(ctx context.Context, of target, labels labels, promotion secrets.Promotion) error {
	conflict := func(reason string) error {
		return &secrets.Error{Ref: of.ref, Reason: reason, Err: secrets.ErrConflict}
	}
	pending := slices.Contains(labels[promotion.To], labelPending)
	switch {
	case !pending && !slices.Contains(labels[promotion.To], labelPrevious):
		return conflict("the version to promote is neither the staged nor the previous one")
	case labels.holder(labelCurrent) != promotion.From:
		return conflict("another version is current than expected")
	}
	if pending {
		// A rotation of AWS's own begins with a version that has no value.
		_, err := s.value(ctx, of, promotion.To)
		switch {
		case errors.Is(err, secrets.ErrNotFound):
			return conflict("the version to promote has no value")
		case err != nil:
			return err
		}
	}
	err := s.move(ctx, of, move{label: labelCurrent, from: promotion.From, to: promotion.To})
	if !errors.Is(err, secrets.ErrConflict) {
		return err
	}
	// Somebody else was faster, perhaps with the same promotion.
	now, again := s.labels(ctx, of)
	if again != nil {
		return again
	}
	if now.holder(labelCurrent) == promotion.To {
		return nil
	}
	return err
}

// move says which version a label is to be taken from, and which one is to get it. Either may be empty.
type move struct{ label, from, to string }

func (s *Store) move(ctx context.Context, of target, m move) error {
	in := secretsmanager.UpdateSecretVersionStageInput{SecretId: &of.name, VersionStage: &m.label}
	if m.from != "" {
		in.RemoveFromVersionId = &m.from
	}
	if m.to != "" {
		in.MoveToVersionId = &m.to
	}
	_, err := send(ctx, s.service, request[secretsmanager.UpdateSecretVersionStageInput, secretsmanager.UpdateSecretVersionStageOutput]{
		of: of, action: actionLabel, in: in, do: (*secretsmanager.Client).UpdateSecretVersionStage,
	})
	return err
}

// Drop takes all labels away from a version. The service deletes it some time later; until then whoever has its id and may read the secret can
// still read it.
func (s *Store) Drop(ctx context.Context, ref secrets.Ref, id string) error {
	of, err := s.target(ref)
	if err == nil {
		err = s.drop(ctx, of, id)
	}
	return secrets.Failed("drop", err)
}

func (s *Store) drop(ctx context.Context, of target, id string) error {
	labels, err := s.labels(ctx, of)
	if err != nil {
		return err
	}
	if slices.Contains(labels[id], labelCurrent) {
		return &secrets.Error{Ref: of.ref, Reason: "the version is current", Err: secrets.ErrConflict}
	}
	for _, label := range labels[id] {
		if err := s.move(ctx, of, move{label: label, from: id}); err != nil {
			return err
		}
	}
	return nil
}
