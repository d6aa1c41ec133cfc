package openaiadmin

import (
	"net/http"
	"slices"

	"github.com/postern-ai/postern/localdev/fake/keyring"
	"github.com/postern-ai/postern/localdev/fake/strictjson"
)

type shownAdminKey struct {
	Object        string     `json:"object"`
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	RedactedValue string     `json:"redacted_value"`
	CreatedAt     int64      `json:"created_at"`
	ExpiresAt     *int64     `json:"expires_at"`
	LastUsedAt    *int64     `json:"last_used_at"`
	Owner         adminOwner `json:"owner"`
	Value         string     `json:"value,omitzero"`
}

type adminOwner struct {
	Type      string `json:"type"`
	Object    string `json:"object"`
	ID        string `json:"id"`
	Name      string `json:"name"`
	CreatedAt int64  `json:"created_at"`
	Role      string `json:"role"`
}

const adminObject = "organization.admin_api_key"

func showAdmin(k keyring.Key) shownAdminKey {
	return shownAdminKey{
		Object: adminObject, ID: k.ID, Name: k.Name, RedactedValue: k.Redacted(redaction), CreatedAt: k.Created.Unix(),
		ExpiresAt: seconds(k.Expires), LastUsedAt: seconds(k.LastUsed),
		Owner: adminOwner{Type: "user", Object: "organization.user", ID: "user_local", Name: "A Person", CreatedAt: k.Created.Unix(), Role: "owner"},
	}
}

func (s *Server) listAdminKeys(w http.ResponseWriter, r *http.Request) {
	var all []shownAdminKey
	for _, k := range s.AdminKeys.List() {
		all = append(all, showAdmin(k))
	}
	switch r.URL.Query().Get("order") {
	case "", "asc":
	case "desc":
		slices.Reverse(all)
	default:
		refuse(w, problem{status: http.StatusBadRequest, param: "order", message: "order must be asc or desc"})
		return
	}
	paged(w, r, all, func(k shownAdminKey) string { return k.ID })
}

func (s *Server) createAdminKey(w http.ResponseWriter, r *http.Request) {
	var in struct {
		life
		Name string `json:"name"`
	}
	if err := strictjson.Read(r, &in); err != nil {
		refuse(w, problem{status: http.StatusBadRequest, message: err.Error()})
		return
	}
	end, wrong := in.end()
	if in.Name == "" {
		wrong = &problem{status: http.StatusBadRequest, param: "name", message: "Missing required parameter: 'name'."}
	}
	if wrong != nil {
		refuse(w, *wrong)
		return
	}
	key := s.AdminKeys.Add(keyring.Key{ID: "key_", Name: in.Name, Secret: "sk-admin-", Expires: end})
	out := showAdmin(key)
	out.Value = key.Secret
	strictjson.Write(w, http.StatusOK, out)
}

func (s *Server) getAdminKey(w http.ResponseWriter, r *http.Request) {
	key, ok := s.AdminKeys.Get(r.PathValue("key"))
	if !ok {
		s.noKey(w)
		return
	}
	strictjson.Write(w, http.StatusOK, showAdmin(key))
}

func (s *Server) deleteAdminKey(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("key")
	if s.AdminKeys.Remove(func(k keyring.Key) bool { return k.ID == id }) == 0 {
		s.noKey(w)
		return
	}
	deleted(w, adminObject, id)
}
