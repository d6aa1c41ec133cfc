package tokenexchange

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/oauth"
)

const (
	// AnthropicPath is where Anthropic's endpoint is, on the host of the API.
	AnthropicPath = "/v1/oauth/token"

	grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	maxAssertion   = 16 << 10
	requestID      = "req_local_0001"
)

// Rule is a federation rule at Anthropic.
type Rule struct {
	ID string
	oauth.Issuer
	// MaxLifetime is the longest life of a token from that issuer. Zero means an hour.
	MaxLifetime time.Duration
	// SubjectPrefix must be the subject, or its beginning when it ends in *.
	SubjectPrefix string
	// Audience, when set, must be among the token's.
	Audience string
	// OrganizationID and ServiceAccountID are what the rule is for.
	OrganizationID, ServiceAccountID string
	// Workspaces are those that tokens may be for. With more than one, a request must name its own.
	Workspaces []string
	// Lifetime is how long tokens live. Zero means an hour.
	Lifetime time.Duration
}

// Anthropic is Anthropic's token endpoint. It is an http.Handler and may be used from several goroutines.
type Anthropic struct {
	// Faults makes the endpoint misbehave.
	Faults fault.Injector
	tokens

	rules []Rule

	mu   sync.Mutex
	used map[string]bool // issuers and ids of tokens
	why  string
}

// NewAnthropic returns an endpoint that has issued nothing yet.
func NewAnthropic(rules ...Rule) *Anthropic { return &Anthropic{rules: rules, used: map[string]bool{}} }

// Why returns why the latest exchange was denied, as the authentication history of the Console would. The answer does not say.
func (a *Anthropic) Why() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.why
}

// asked is the body of an exchange.
type asked struct {
	GrantType        string `json:"grant_type"`
	Assertion        string `json:"assertion"`
	FederationRuleID string `json:"federation_rule_id"`
	OrganizationID   string `json:"organization_id"`
	ServiceAccountID string `json:"service_account_id"`
	WorkspaceID      string `json:"workspace_id"`
}

// ServeHTTP answers an exchange.
func (a *Anthropic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.Faults.Handle(w, r) {
		return
	}
	if r.URL.Path != AnthropicPath {
		refuseAnthropic(w, http.StatusNotFound, "not_found_error", "Not found")
		return
	}
	var body asked
	if err := read(w, r, &body); err != nil {
		refuseAnthropic(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	if err := body.wellFormed(); err != nil {
		refuseAnthropic(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	rule, lifetime, err := a.judge(body)
	a.mu.Lock()
	a.why = ""
	if err != nil {
		a.why = err.Error()
	}
	a.mu.Unlock()
	if err != nil {
		// Every denial is the same, so that nobody learns from it what the rule is.
		refuseAnthropic(w, http.StatusUnauthorized, "authentication_error", "Authentication failed")
		return
	}
	w.Header().Set("Request-Id", requestID)
	write(w, http.StatusOK, map[string]any{
		"access_token": a.issue("sk-ant-oat01-", Account{rule.ServiceAccountID, time.Now().Add(lifetime)}), "token_type": "Bearer",
		"expires_in": int64(lifetime.Seconds()), "scope": "workspace:inference",
	})
}

func (b asked) wellFormed() error {
	switch {
	case b.GrantType != grantJWTBearer:
		return errors.New("grant_type: must be " + grantJWTBearer)
	case b.Assertion == "":
		return errors.New("assertion: required")
	case len(b.Assertion) > maxAssertion:
		return errors.New("assertion: too long")
	case !strings.HasPrefix(b.FederationRuleID, "fdrl_"):
		return errors.New("federation_rule_id: malformed")
	case b.OrganizationID == "":
		return errors.New("organization_id: required")
	case !strings.HasPrefix(b.ServiceAccountID, "svac_"):
		return errors.New("service_account_id: malformed")
	case b.WorkspaceID != "" && b.WorkspaceID != "default" && !strings.HasPrefix(b.WorkspaceID, "wrkspc_"):
		return errors.New("workspace_id: must be wrkspc_... or default")
	}
	return nil
}

// judge applies the rule, and says how long the token lives.
func (a *Anthropic) judge(body asked) (Rule, time.Duration, error) {
	at := slices.IndexFunc(a.rules, func(r Rule) bool { return r.ID == body.FederationRuleID })
	if at < 0 {
		return Rule{}, 0, errors.New("rule_unknown")
	}
	rule := a.rules[at]
	claims, err := rule.Verify(body.Assertion)
	if err != nil {
		return Rule{}, 0, err
	}
	prefix, open := strings.CutSuffix(rule.SubjectPrefix, "*")
	switch {
	case claims.Lifetime() > cmp.Or(rule.MaxLifetime, time.Hour):
		return Rule{}, 0, errors.New("lifetime_too_long")
	case claims.Subject != rule.SubjectPrefix && (!open || !strings.HasPrefix(claims.Subject, prefix)):
		return Rule{}, 0, errors.New("match_subject_prefix")
	case rule.Audience != "" && !slices.Contains(claims.Audience, rule.Audience):
		return Rule{}, 0, errors.New("match_audience")
	case body.OrganizationID != rule.OrganizationID:
		return Rule{}, 0, errors.New("organization")
	case body.ServiceAccountID != rule.ServiceAccountID:
		return Rule{}, 0, errors.New("service_account")
	case body.WorkspaceID == "" && len(rule.Workspaces) > 1:
		return Rule{}, 0, errors.New("workspace_id_required")
	case body.WorkspaceID != "" && !slices.Contains(rule.Workspaces, body.WorkspaceID):
		return Rule{}, 0, errors.New("workspace")
	case claims.ID != "" && !a.first(rule.URL+" "+claims.ID):
		return Rule{}, 0, errors.New("jti_reused")
	}
	// The lesser of the rule's lifetime and twice what is left of the token's, with a floor of a minute.
	lifetime := min(cmp.Or(rule.Lifetime, time.Hour), max(time.Minute, 2*time.Until(claims.Expiry.Time())))
	return rule, lifetime.Truncate(time.Second), nil
}

func (a *Anthropic) first(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := a.used[id]
	a.used[id] = true
	return !used
}

// refuseAnthropic answers in the shape of all of the API's errors.
func refuseAnthropic(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Request-Id", requestID)
	write(w, status, map[string]any{
		"type": "error", "error": map[string]string{"type": kind, "message": message}, "request_id": requestID,
	})
}
