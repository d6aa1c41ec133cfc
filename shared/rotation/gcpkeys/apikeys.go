package gcpkeys

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	apiKeys = "https://apikeys.googleapis.com"
	// gemini is the one API whose keys can be tried without being told how.
	gemini = "generativelanguage.googleapis.com"
	// polls is how often an operation is asked after, and firstPoll and longestPoll how long is waited before, 10 s in all.
	polls       = 8
	firstPoll   = 250 * time.Millisecond
	longestPoll = 2 * time.Second
	pageSize    = "300"
)

// APIKeyOptions says whose keys they are, and how they are asked for.
type APIKeyOptions struct {
	// ProjectID is the id or the number of the project.
	ProjectID string
	// Target is the API that keys are limited to, such as generativelanguage.googleapis.com. A key that follows one with limits has those
	// instead.
	Target string
	// Proof is a request to the API that only a working key can make. It may be left out for the Gemini API.
	Proof rotation.Proof
	// Authorizer puts an access token for Google Cloud on requests. Whom it stands for needs apikeys.keys.create, list, get, getKeyString and
	// delete in the project (roles/serviceusage.apiKeysAdmin).
	Authorizer secrets.Authorizer
	// Endpoint replaces that of the API Keys API.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means what [rotation.Remote] has.
	Timeout time.Duration
}

var (
	projectForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{2,62}$`)
	targetForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*\.googleapis\.com$`)
	// keyIDForm is that of ids of the caller's choice.
	keyIDForm = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// APIKeys is a [rotation.Issuer] of a project's API keys. Their ids and names are those that they are ordered under, and their texts can be read
// again. It is safe for concurrent use.
type APIKeys struct {
	base, keys, target string
	proof              rotation.Proof
	remote, service    rotation.Remote
}

// NewAPIKeys returns an APIKeys. It makes no network call.
func NewAPIKeys(options APIKeyOptions) (*APIKeys, error) {
	switch {
	case !projectForm.MatchString(options.ProjectID):
		return nil, errors.New("rotating an API key needs project_id, the id or the number of its project")
	case !targetForm.MatchString(options.Target):
		return nil, errors.New("rotating an API key needs api_target, the API that it is for, such as " + gemini)
	case options.Authorizer == nil:
		return nil, errors.New("rotating an API key needs an identity of the function's own")
	}
	proof := options.Proof
	if proof.URL == "" && options.Target == gemini {
		proof = rotation.Proof{URL: "https://" + gemini + "/v1beta/models?pageSize=1", Name: "X-Goog-Api-Key", Member: "models"}
	}
	if _, err := rotation.Address(proof.URL); err != nil || proof.Name == "" || proof.Member == "" {
		return nil, errors.New("rotating an API key of another API than Gemini's needs a request that proves it")
	}
	proof.Judge = judge
	base, err := rotation.Endpoint(cmp.Or(options.Endpoint, apiKeys))
	if err != nil {
		return nil, err
	}
	client := secrets.Bounded(options.Transport)
	return &APIKeys{
		base: base + "/v2/", keys: base + "/v2/projects/" + url.PathEscape(options.ProjectID) + "/locations/global/keys", target: options.Target, proof: proof,
		remote:  rotation.Remote{Service: "Google", HTTP: client, Admin: options.Authorizer, Timeout: options.Timeout},
		service: rotation.Remote{Service: "Google", HTTP: client, Timeout: options.Timeout},
	}, nil
}

// Traits implements [rotation.Issuer].
func (k *APIKeys) Traits() rotation.Traits {
	return rotation.Traits{Overlap: rotation.Parallel, Recovery: rotation.Readable, Named: true, Successes: 3, Propagation: 5 * time.Minute}
}

// apiKey is a key as the API describes it, without its text.
type apiKey struct {
	Name         string         `json:"name"`
	DisplayName  string         `json:"displayName"`
	Created      time.Time      `json:"createTime"`
	Deleted      time.Time      `json:"deleteTime"`
	Restrictions jsontext.Value `json:"restrictions"`
}

func (a apiKey) key() rotation.Key {
	return rotation.Key{ID: last(a.Name), Name: a.DisplayName, Created: a.Created}
}

func (k *APIKeys) call(ctx context.Context, o operation) (rotation.Reply, error) {
	reply, err := k.remote.Call(ctx, rotation.Call{
		Purpose: rotation.Purpose{Op: o.op, Needs: "apikeys.keys." + o.permission + " in the project (roles/serviceusage.apiKeysAdmin)"},
		Method:  o.method, URL: k.keys + o.path, Body: o.body,
	})
	if err != nil || reply.Status == http.StatusOK {
		return reply, err
	}
	return reply, explainAPI(reply, refusalOf(reply))
}

func explainAPI(reply rotation.Reply, out refusal) error {
	if err := common(reply, out); err != nil {
		return err
	}
	if reply.Status == http.StatusNotFound && out.Status == "NOT_FOUND" {
		return reply.Refused("Google has no such API key or project; check project_id")
	}
	return reply.Unexpected()
}

// longRunning is an operation of the API that takes a while.
type longRunning struct {
	Name  string `json:"name"`
	Done  bool   `json:"done"`
	Error *struct {
		Code int `json:"code"`
	} `json:"error"`
}

var operationForm = regexp.MustCompile(`^operations/[\w.-]{1,256}$`)

// finish waits until an operation is done, which usually takes a second or two. It gives up after a while: the effect is not known then.
func (k *APIKeys) finish(ctx context.Context, op string, reply rotation.Reply) error {
	unclear := func(reason string, err error) error {
		return &rotation.Error{Op: op, Reason: reason, Err: errors.Join(rotation.ErrUnanswered, err)}
	}
	pause := firstPoll
	for range polls {
		var state longRunning
		if err := reply.Decode(&state); err != nil {
			return err
		}
		switch {
		case state.Done && state.Error != nil:
			// A number of google.rpc.Code: what was asked for has not been done.
			if state.Error.Code == 8 || state.Error.Code == 10 || state.Error.Code == 14 {
				return &rotation.Error{Op: op, Reason: "Google could not do it now", Err: rotation.ErrUnavailable}
			}
			return &rotation.Error{Op: op, Reason: "Google refused it after it had begun", Err: rotation.ErrRefused}
		case state.Done:
			return nil
		case !operationForm.MatchString(state.Name):
			return reply.Malformed()
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return unclear("it was given up", ctx.Err())
		}
		pause = min(2*pause, longestPoll)
		var err error
		reply, err = k.remote.Call(ctx, rotation.Call{Purpose: rotation.Purpose{Op: op}, Method: http.MethodGet, URL: k.base + state.Name})
		if err != nil || reply.Status != http.StatusOK {
			return unclear("it is not known whether Google has done it", ctx.Err())
		}
	}
	return unclear("Google takes longer than usual", nil)
}

// Create implements [rotation.Issuer].
func (k *APIKeys) Create(ctx context.Context, order rotation.Order) (rotation.Issued, error) {
	if !keyIDForm.MatchString(order.Name) {
		return rotation.Issued{}, &rotation.Error{Op: "create", Reason: "the name cannot be the id of an API key, which begins with a letter", Err: rotation.ErrRefused}
	}
	restrictions, err := k.restrictions(ctx, order.Current)
	if err != nil {
		return rotation.Issued{}, err
	}
	reply, err := k.call(ctx, operation{op: "create", method: http.MethodPost, path: "?keyId=" + order.Name, permission: "create", body: struct {
		DisplayName  string         `json:"displayName"`
		Restrictions jsontext.Value `json:"restrictions"`
	}{order.Name, restrictions}})
	if reply.Status == http.StatusConflict && refusalOf(reply).Status == "ALREADY_EXISTS" {
		return rotation.Issued{}, &rotation.Error{Op: "create", Reason: "there is a key of this name already", Err: rotation.ErrUnanswered}
	}
	if err == nil {
		err = k.finish(ctx, "create", reply)
	}
	if err != nil {
		return rotation.Issued{}, err
	}
	key := rotation.Key{ID: order.Name, Name: order.Name}
	value, err := k.read(ctx, "create", key)
	if err != nil {
		// There is a key now, so it is no refusal any more.
		told, _ := errors.AsType[*rotation.Error](err)
		return rotation.Issued{}, &rotation.Error{Op: "create", Reason: "the new key cannot be read: " + told.Reason, RetryAfter: told.RetryAfter, Err: errors.Join(rotation.ErrUnanswered, ctx.Err())}
	}
	return rotation.Issued{Key: key, Value: value}, nil
}

// restrictions are those of the key in use, or else the API that keys are for.
func (k *APIKeys) restrictions(ctx context.Context, current string) (jsontext.Value, error) {
	if current != "" {
		reply, err := k.call(ctx, operation{op: "create", method: http.MethodGet, path: "/" + url.PathEscape(current), permission: "get"})
		var template apiKey
		switch {
		case gone(reply):
		case err != nil:
			return nil, err
		case reply.Decode(&template) != nil:
			return nil, reply.Malformed()
		case template.Restrictions.Kind() == '{':
			return template.Restrictions, nil
		}
	}
	return json.Marshal(map[string]any{"apiTargets": []map[string]string{{"service": k.target}}})
}

// read reads the text of a key.
func (k *APIKeys) read(ctx context.Context, op string, key rotation.Key) (secrets.Value, error) {
	reply, err := k.call(ctx, operation{op: op, method: http.MethodGet, path: "/" + url.PathEscape(key.ID) + "/keyString", permission: "getKeyString"})
	if err != nil {
		return secrets.Value{}, err
	}
	var out struct {
		Text string `json:"keyString"`
	}
	if err := reply.Decode(&out); err != nil {
		return secrets.Value{}, err
	}
	if out.Text == "" {
		return secrets.Value{}, reply.Malformed()
	}
	return secrets.NewValue(out.Text), nil
}

// Recover implements [rotation.Recoverer].
func (k *APIKeys) Recover(ctx context.Context, key rotation.Key, _ rotation.Order) (secrets.Value, error) {
	return k.read(ctx, "recover", key)
}

// Find implements [rotation.Issuer].
func (k *APIKeys) Find(ctx context.Context, prefix string) ([]rotation.Key, error) {
	var keys []rotation.Key
	err := rotation.Pages("find", func(token string) (string, error) {
		query := url.Values{"pageSize": {pageSize}}
		if token != "" {
			query.Set("pageToken", token)
		}
		reply, err := k.call(ctx, operation{op: "find", method: http.MethodGet, path: "?" + query.Encode(), permission: "list"})
		if err != nil {
			return "", err
		}
		var out struct {
			Keys []apiKey `json:"keys"`
			Next string   `json:"nextPageToken"`
		}
		if err := reply.Decode(&out); err != nil {
			return "", err
		}
		for _, listed := range out.Keys {
			if last(listed.Name) == "" {
				return "", reply.Malformed()
			}
			if strings.HasPrefix(listed.DisplayName, prefix) && listed.Deleted.IsZero() {
				keys = append(keys, listed.key())
			}
		}
		return out.Next, nil
	})
	return keys, err
}

// Revoke implements [rotation.Issuer]. A deleted key ends at once, and can be brought back by hand for 30 days.
func (k *APIKeys) Revoke(ctx context.Context, key rotation.Key) error {
	path := "/" + url.PathEscape(key.ID)
	reply, err := k.call(ctx, operation{op: "revoke", method: http.MethodDelete, path: path, permission: "delete"})
	switch {
	case gone(reply):
		return nil
	case err == nil:
		return k.finish(ctx, "revoke", reply)
	case refusalOf(reply).Status != "FAILED_PRECONDITION":
		return err
	}
	// A key that has been deleted is kept for a while, and cannot be deleted again.
	reply, again := k.call(ctx, operation{op: "revoke", method: http.MethodGet, path: path, permission: "get"})
	var found apiKey
	if gone(reply) || again == nil && reply.Decode(&found) == nil && !found.Deleted.IsZero() {
		return nil
	}
	return err
}

// Verify implements [rotation.Verifier].
func (k *APIKeys) Verify(ctx context.Context, value secrets.Value) error {
	return k.service.Prove(ctx, k.proof, value)
}

// judge finds the refusals that have nothing to do with the key itself, and those of a key, which are not always of status 401 or 403.
func judge(reply rotation.Reply) (judged bool, err error) {
	switch out := refusalOf(reply); {
	case out.has("API_KEY_INVALID", "API_KEY_EXPIRED"):
		return true, reply.Rejected("Google does not accept the key (API_KEY_INVALID)")
	case out.has("API_KEY_SERVICE_BLOCKED"):
		return true, reply.Refused("the key may not be used for this API; its restrictions have to name it (api_target)")
	case out.has("API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_HTTP_REFERRER_BLOCKED", "API_KEY_ANDROID_APP_BLOCKED", "API_KEY_IOS_APP_BLOCKED"):
		return true, reply.Refused("the key may not be used from here; change the restrictions of the key in use, which are carried over")
	case out.has("SERVICE_DISABLED"):
		return true, reply.Refused("the API is not enabled in the key's project; enable it")
	}
	return false, nil
}
