package gcpsecrets

import (
	"context"
	"errors"
	"net/http"

	"github.com/postern-ai/postern/shared/secrets"
)

// refusal is a status in which the service answered, one of those that this package acts on
// (https://cloud.google.com/apis/design/errors).
type refusal struct{ status string }

func (r *refusal) Error() string { return r.status }

func statusIs(err error, status string) bool {
	refused, ok := errors.AsType[*refusal](err)
	return ok && refused.status == status
}

// noSuchAlias reports whether a version was not found by an alias. That the secret itself is missing gives the same answer, and is found
// out by what is asked next.
func (s *session) noSuchAlias(err error) bool {
	return statusIs(err, notFound) || statusIs(err, invalid)
}

func (s *session) get(ctx context.Context, path, permission string) (secrets.Reply, error) {
	request, err := secrets.Call{URL: s.base + path}.Request(ctx, s.ref)
	if err != nil {
		return secrets.Reply{}, err
	}
	reply, err := s.reader.remote.Send(request, s.ref)
	if err != nil {
		return secrets.Reply{}, err
	}
	if reply.Status != http.StatusOK {
		return secrets.Reply{}, s.explain(reply, permission)
	}
	return reply, nil
}

// explain says in our own words why the service refused. What it wrote is not shown, because it repeats names and callers.
func (s *session) explain(reply secrets.Reply, permission string) error {
	refuse := func(reason string, cause error) error {
		return &secrets.Error{Ref: s.ref, Reason: reason, Err: cause}
	}
	if reply.Status == http.StatusUnauthorized {
		return refuse("Google does not accept this function's access token", nil)
	}
	var out struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	// A reply that is no error of this API, such as a proxy's page, has no status and is told by its number.
	_ = reply.Decode(&out, s.ref)
	cause := &refusal{out.Error.Status}
	missing := errors.Join(secrets.ErrDenied, cause)
	switch {
	case reply.Status == http.StatusForbidden && out.Error.Status == denied && permission == permissionList:
		return refuse("this function's service account may not list its versions, which is needed because no alias says which one is meant; "+
			"give it "+permissionList+" (roles/secretmanager.viewer) or give the version an alias", missing)
	case reply.Status == http.StatusForbidden && out.Error.Status == denied && permission != permissionRead:
		return refuse("this function's service account may not replace it; it needs "+permission+" on this secret", missing)
	case reply.Status == http.StatusForbidden && out.Error.Status == denied:
		return refuse("this function's service account may not read it; it needs "+permissionRead+" (roles/secretmanager.secretAccessor) on this secret", missing)
	case reply.Status == http.StatusNotFound && out.Error.Status == notFound:
		return refuse("Google Secret Manager has no such secret or version", errors.Join(secrets.ErrNotFound, cause))
	case reply.Status == http.StatusBadRequest && out.Error.Status == precondition:
		return refuse("this version is disabled or destroyed", errors.Join(secrets.ErrUnusable, cause))
	case reply.Status == http.StatusConflict && out.Error.Status == aborted:
		return refuse("somebody else is changing it", cause)
	case reply.Status == http.StatusBadRequest && out.Error.Status == invalid:
		return refuse("Google Secret Manager does not take this name or version", cause)
	}
	return reply.Unexpected(s.ref)
}
