package openaiadmin

import (
	"net/http"
	"slices"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

type (
	shownKey struct {
		Object             string `json:"object"`
		ID                 string `json:"id"`
		Name               string `json:"name"`
		RedactedValue      string `json:"redacted_value"`
		CreatedAt          int64  `json:"created_at"`
		LastUsedAt         *int64 `json:"last_used_at"`
		ExpiresAt          *int64 `json:"expires_at,omitzero"`
		OwnerProjectAccess string `json:"owner_project_access"`
		Owner              owner  `json:"owner"`
	}
	owner struct {
		Type           string      `json:"type"`
		User           *shownOwner `json:"user,omitzero"`
		ServiceAccount *shownOwner `json:"service_account,omitzero"`
	}
	shownOwner struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		Email     string `json:"email,omitzero"`
		CreatedAt int64  `json:"created_at"`
		Role      string `json:"role"`
	}
	shownAccount struct {
		Object    string `json:"object"`
		ID        string `json:"id"`
		Name      string `json:"name"`
		Role      string `json:"role"`
		CreatedAt int64  `json:"created_at"`
	}
	madeKey struct {
		Object    string `json:"object"`
		ID        string `json:"id"`
		Name      string `json:"name"`
		Value     string `json:"value"`
		CreatedAt int64  `json:"created_at"`
		ExpiresAt *int64 `json:"expires_at,omitzero"`
	}
)

const (
	keyObject     = "organization.project.api_key"
	accountObject = "organization.project.service_account"
	// firstKey is what the key is called that comes with a service account.
	firstKey = "Secret Key"
)

// redaction is how keys are shown.
var redaction = keyring.Cut{Head: 8, Tail: 4, Gap: "..."}

func (s *Server) show(k keyring.Key) shownKey {
	out := shownKey{
		Object: keyObject, ID: k.ID, Name: k.Name, RedactedValue: k.Redacted(redaction), CreatedAt: k.Created.Unix(),
		LastUsedAt: seconds(k.LastUsed), OwnerProjectAccess: "active",
	}
	if !s.options.Older {
		out.ExpiresAt = seconds(k.Expires)
	}
	if account, ok := s.account(k.Owner); ok {
		out.Owner = owner{Type: "service_account", ServiceAccount: &shownOwner{ID: account.ID, Name: account.Name, CreatedAt: account.Created.Unix(), Role: "member"}}
		return out
	}
	out.Owner = owner{Type: "user", User: &shownOwner{ID: k.Owner, Name: "A Person", Email: "person@example.com", CreatedAt: k.Created.Unix(), Role: "owner"}}
	return out
}

func (a Account) show() shownAccount {
	return shownAccount{Object: accountObject, ID: a.ID, Name: a.Name, Role: "member", CreatedAt: a.Created.Unix()}
}

func made(k keyring.Key) *madeKey {
	return &madeKey{Object: accountObject + ".api_key", ID: k.ID, Name: k.Name, Value: k.Secret, CreatedAt: k.Created.Unix(), ExpiresAt: seconds(k.Expires)}
}

func deleted(w http.ResponseWriter, object, id string) {
	strictjson.Write(w, http.StatusOK, map[string]any{"object": object + ".deleted", "id": id, "deleted": true})
}

func (s *Server) listKeys(w http.ResponseWriter, r *http.Request) {
	var all []shownKey
	// Without the filter, keys of service accounts are among those that need not be listed.
	whole := r.URL.Query().Get("owner_project_access") == "any"
	for _, k := range s.Keys.List() {
		if shown := s.show(k); whole || shown.Owner.User != nil {
			all = append(all, shown)
		}
	}
	paged(w, r, all, func(k shownKey) string { return k.ID })
}

func (s *Server) noKey(w http.ResponseWriter) {
	refuse(w, problem{status: http.StatusNotFound, code: "not_found", message: "API key not found."})
}

func (s *Server) getKey(w http.ResponseWriter, r *http.Request) {
	key, ok := s.Keys.Get(r.PathValue("key"))
	if !ok {
		s.noKey(w)
		return
	}
	strictjson.Write(w, http.StatusOK, s.show(key))
}

func (s *Server) deleteKey(w http.ResponseWriter, r *http.Request) {
	key, ok := s.Keys.Get(r.PathValue("key"))
	if !ok {
		s.noKey(w)
		return
	}
	if _, owned := s.account(key.Owner); owned && s.options.Older {
		refuse(w, problem{status: http.StatusBadRequest, message: "API keys of service accounts cannot be deleted. Delete the service account instead."})
		return
	}
	s.Keys.Remove(func(k keyring.Key) bool { return k.ID == key.ID })
	deleted(w, keyObject, key.ID)
}

// end is when a new key of a service account ends.
func (s *Server) end(l life) (time.Time, *problem) {
	if s.options.Older && l.ExpiresInSeconds != nil {
		return time.Time{}, &problem{status: http.StatusBadRequest, param: "expires_in_seconds", code: "unknown_parameter", message: "Unknown parameter: 'expires_in_seconds'."}
	}
	return l.end()
}

func (s *Server) createAccount(w http.ResponseWriter, r *http.Request) {
	var in struct {
		life
		Name    string `json:"name"`
		Keyless *bool  `json:"create_service_account_only"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, problem{status: http.StatusBadRequest, message: err.Error()})
		return
	}
	end, wrong := s.end(in.life)
	switch {
	case in.Name == "":
		wrong = &problem{status: http.StatusBadRequest, param: "name", message: "Missing required parameter: 'name'."}
	case s.options.Archived:
		wrong = &problem{status: http.StatusBadRequest, message: "Project is archived."}
	}
	if wrong != nil {
		refuse(w, *wrong)
		return
	}
	account := s.AddAccount(in.Name)
	out := struct {
		shownAccount
		APIKey *madeKey `json:"api_key"`
	}{shownAccount: account.show()}
	if in.Keyless != nil && *in.Keyless {
		out.Role = "none"
	} else {
		out.APIKey = made(s.Keys.Add(keyring.Key{ID: "key_", Name: firstKey, Secret: "sk-svcacct-", Owner: account.ID, Expires: end}))
	}
	strictjson.Write(w, http.StatusOK, out)
}

func (s *Server) createAccountKey(w http.ResponseWriter, r *http.Request) {
	var in struct {
		life
		Name   string   `json:"name"`
		Scopes []string `json:"scopes"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, problem{status: http.StatusBadRequest, message: err.Error()})
		return
	}
	account, ok := s.account(r.PathValue("account"))
	if !ok {
		refuse(w, problem{status: http.StatusNotFound, code: "not_found", message: "Service account not found."})
		return
	}
	end, wrong := s.end(in.life)
	if wrong != nil {
		refuse(w, *wrong)
		return
	}
	key := s.Keys.Add(keyring.Key{ID: "key_", Name: in.Name, Secret: "sk-svcacct-", Owner: account.ID, Scopes: in.Scopes, Expires: end})
	strictjson.Write(w, http.StatusOK, made(key))
}

// deleteAccount deletes a service account with its keys.
func (s *Server) deleteAccount(w http.ResponseWriter, r *http.Request) {
	account, ok := s.account(r.PathValue("account"))
	if !ok {
		refuse(w, problem{status: http.StatusNotFound, code: "not_found", message: "Service account not found."})
		return
	}
	s.Keys.Remove(func(k keyring.Key) bool { return k.Owner == account.ID })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts = slices.DeleteFunc(s.accounts, func(a Account) bool { return a.ID == account.ID })
	deleted(w, accountObject, account.ID)
}
