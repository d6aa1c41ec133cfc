package iam

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/localdev/fake/awsquery"
)

// Bedrock is the name of the service whose credentials are Bedrock's API keys.
const Bedrock = "bedrock.amazonaws.com"

// services are those that have credentials of their own.
var services = []string{Bedrock, "logs.amazonaws.com", "codecommit.amazonaws.com", "cassandra.amazonaws.com"}

// agesWithDays are the services whose credentials may have an end.
var agesWithDays = []string{Bedrock, "logs.amazonaws.com"}

type serviceCredential struct {
	standing
	id, service, alias, secret string
	expires                    time.Time
}

func (c *serviceCredential) hasExpired() bool {
	return !c.expires.IsZero() && !time.Now().Before(c.expires)
}

// BedrockKeys returns the ids of a user's API keys for Bedrock, the oldest first.
func (s *Server) BedrockKeys(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, credential := range s.users[name].of(Bedrock) {
		ids = append(ids, credential.id)
	}
	return ids
}

func (u *user) of(service string) []*serviceCredential {
	var all []*serviceCredential
	for credential := range maps.Values(u.services) {
		if service == "" || credential.service == service {
			all = append(all, credential)
		}
	}
	slices.SortFunc(all, func(a, b *serviceCredential) int { return cmp.Compare(a.order, b.order) })
	return all
}

type serviceCredentialMetadata struct {
	UserName       string `xml:"UserName"`
	Status         string `xml:"Status"`
	CreateDate     string `xml:"CreateDate"`
	ExpirationDate string `xml:"ExpirationDate,omitempty"`
	ID             string `xml:"ServiceSpecificCredentialId"`
	ServiceName    string `xml:"ServiceName"`
	Alias          string `xml:"ServiceCredentialAlias,omitempty"`
	Secret         string `xml:"ServiceCredentialSecret,omitempty"`
	ServiceUser    string `xml:"ServiceUserName,omitempty"`
	Password       string `xml:"ServicePassword,omitempty"`
}

func (c *serviceCredential) metadata(u *user) serviceCredentialMetadata {
	out := serviceCredentialMetadata{UserName: u.name, Status: c.status, CreateDate: c.created.Format(time.RFC3339), ID: c.id, ServiceName: c.service}
	if c.hasExpired() {
		out.Status = expired
	}
	if !c.expires.IsZero() {
		out.ExpirationDate = c.expires.Format(time.RFC3339)
	}
	if slices.Contains(agesWithDays, c.service) {
		out.Alias = c.alias
	} else {
		out.ServiceUser = c.alias
	}
	return out
}

// withSecret is what is only said when a secret is new.
func (c *serviceCredential) withSecret(u *user) any {
	out := c.metadata(u)
	if slices.Contains(agesWithDays, c.service) {
		out.Secret = c.secret
	} else {
		out.Password = c.secret
	}
	return struct {
		Credential serviceCredentialMetadata `xml:"ServiceSpecificCredential"`
	}{out}
}

// draw makes a new secret. Bedrock's begin with ABSK, and hold the alias and what nobody can guess.
func (c *serviceCredential) draw() {
	c.secret = rand.Text() + "/" + rand.Text() + "="
	if c.service == Bedrock {
		c.secret = "ABSK" + base64.StdEncoding.EncodeToString([]byte(c.alias+":"+c.secret))
	}
}

func (c *call) createServiceCredential() (any, error) {
	service, err := c.form.Text("ServiceName", awsquery.Constraint{Required: true, Min: 1, Max: 200})
	if err != nil {
		return nil, err
	}
	days, err := c.form.Number("CredentialAgeDays", 1, 36600, 0)
	switch {
	case err != nil:
		return nil, err
	case !slices.Contains(services, service):
		return nil, awsquery.Refused(http.StatusNotFound, "NotSupportedService", "The service "+service+" is not supported")
	case days > 0 && !slices.Contains(agesWithDays, service):
		return nil, awsquery.Refused(http.StatusBadRequest, "InvalidInput", "CredentialAgeDays is not for this service")
	}
	existing := c.user.of(service)
	if len(existing) >= maxKeys {
		return nil, awsquery.Refused(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for ServiceSpecificCredentialsPerUser: "+strconv.Itoa(maxKeys))
	}
	credential := &serviceCredential{standing: c.begin(), id: "ACCA" + identifier(), service: service, alias: c.alias(existing)}
	if days > 0 {
		credential.expires = credential.created.AddDate(0, 0, days)
	}
	credential.draw()
	c.user.services[credential.id] = credential
	return credential.withSecret(c.user), nil
}

// alias is one that no other credential of the user for the service has.
func (c *call) alias(existing []*serviceCredential) string {
	alias := c.user.name + "-at-" + c.server.options.Account
	for number := 1; slices.ContainsFunc(existing, func(e *serviceCredential) bool { return e.alias == alias }); number++ {
		alias = c.user.name + "+" + strconv.Itoa(number) + "-at-" + c.server.options.Account
	}
	return alias
}

func (c *call) listServiceCredentials() (any, error) {
	service := c.form.Get("ServiceName")
	if service != "" && !slices.Contains(services, service) {
		return nil, awsquery.Refused(http.StatusNotFound, "NotSupportedService", "The service "+service+" is not supported")
	}
	all := c.user.of(service)
	from, to, err := c.page(len(all))
	if err != nil {
		return nil, err
	}
	var out struct {
		Credentials []serviceCredentialMetadata `xml:"ServiceSpecificCredentials>member"`
		Marker      string                      `xml:"Marker,omitempty"`
		IsTruncated bool                        `xml:"IsTruncated"`
	}
	for _, credential := range all[from:to] {
		out.Credentials = append(out.Credentials, credential.metadata(c.user))
	}
	if to < len(all) {
		out.IsTruncated, out.Marker = true, strconv.Itoa(to)
	}
	return out, nil
}

// credential finds the credential that a request names.
func (c *call) credential() (*serviceCredential, error) {
	id, err := c.form.Text("ServiceSpecificCredentialId", awsquery.Constraint{Required: true, Min: 20, Max: 128, Pattern: word})
	if err != nil {
		return nil, err
	}
	if c.user.services[id] == nil {
		return nil, awsquery.Refused(http.StatusNotFound, "NoSuchEntity", "No such credential "+id+" exists")
	}
	return c.user.services[id], nil
}

func (c *call) updateServiceCredential() (any, error) {
	credential, err := c.credential()
	if err != nil {
		return nil, err
	}
	status, err := c.state()
	if err != nil {
		return nil, err
	}
	credential.status = status
	return nil, nil
}

func (c *call) deleteServiceCredential() (any, error) {
	credential, err := c.credential()
	if err != nil {
		return nil, err
	}
	delete(c.user.services, credential.id)
	return nil, nil
}

func (c *call) resetServiceCredential() (any, error) {
	credential, err := c.credential()
	if err != nil {
		return nil, err
	}
	credential.draw()
	credential.late = c.server.options.Late
	return credential.withSecret(c.user), nil
}

// FoundationModels is Bedrock's list of models, GET /foundation-models, for those who have an API key
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html). A key that is not accepted and a permission that is
// missing are both status 403 and AccessDeniedException, as they are there.
func (s *Server) FoundationModels() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Faults.Serve(s.foundationModels, "ListFoundationModels")(w, r)
	})
}

func (s *Server) foundationModels(w http.ResponseWriter, r *http.Request) {
	write := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		if status != http.StatusOK {
			w.Header().Set("X-Amzn-Errortype", "AccessDeniedException:http://internal.amazon.com/coral/com.amazon.coral.service/")
		}
		w.WriteHeader(status)
		_ = json.MarshalWrite(w, body)
	}
	if r.Method != http.MethodGet || r.URL.Path != "/foundation-models" {
		write(http.StatusNotFound, map[string]string{"message": "no such operation"})
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	owner := ""
	if ok {
		owner = s.bearer(token)
	}
	if owner == "" {
		write(http.StatusForbidden, map[string]string{"Message": "Authentication failed: Please make sure your API Key is valid."})
		return
	}
	arn := "arn:aws:iam::" + s.options.Account + ":user/" + owner
	for _, action := range []string{"bedrock:CallWithBearerToken", "bedrock:ListFoundationModels"} {
		if s.options.Allow != nil && !s.options.Allow(Access{Action: action, User: owner}) {
			write(http.StatusForbidden, map[string]string{"Message": "User: " + arn + " is not authorized to perform: " + action +
				" because no identity-based policy allows the " + action + " action"})
			return
		}
	}
	write(http.StatusOK, map[string]any{"modelSummaries": []any{}})
}

// bearer returns the name of the user who has an API key, if it is one that is accepted.
func (s *Server) bearer(token string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, u := range s.users {
		for _, credential := range u.of(Bedrock) {
			if subtle.ConstantTimeCompare([]byte(credential.secret), []byte(token)) == 1 && credential.known() && !credential.hasExpired() {
				return name
			}
		}
	}
	return ""
}
