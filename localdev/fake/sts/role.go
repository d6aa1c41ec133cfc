package sts

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awsquery"
)

const (
	shortestSession = 15 * time.Minute
	longestSession  = 12 * time.Hour
	// chainedSession bounds the session of a role that is assumed with the credentials of a role
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
	chainedSession = time.Hour
)

// Role is a role and whom it trusts.
type Role struct {
	ARN string
	// Trust lists the statements of the trust policy. One that holds is enough.
	Trust []Trust
	// MaxSession is the longest session. Zero means an hour, as in IAM.
	MaxSession time.Duration
}

// Trust is one statement of a trust policy. Empty conditions are not there.
type Trust struct {
	// Principals may assume the role with their credentials: ARNs of roles or users, or of an account's root for all of them.
	Principals []string
	// ExternalID is the sts:ExternalId that is required.
	ExternalID string
	// TagSession and SetSourceIdentity say that the statement allows sts:TagSession and sts:SetSourceIdentity too.
	TagSession        bool
	SetSourceIdentity bool

	// Federated is the issuer whose tokens may assume the role. Audience and Subject are conditions on ISSUER:aud and ISSUER:sub, and
	// OriginalAudience one on accounts.google.com:oaud.
	Federated        string
	Audience         string
	OriginalAudience string
	Subject          string
}

// Session is one set of credentials that was issued here.
type Session struct {
	awsauth.Key
	// RoleARN is the role. Name is the session's name.
	RoleARN string
	Name    string
	// Tags are the session's tags, those that a chain passed on included, and Transitive the keys of those that it passes on.
	Tags           map[string]string
	Transitive     []string
	SourceIdentity string
}

// Session finds credentials that were issued here.
func (s *Server) Session(accessKeyID string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[accessKeyID]
	return session, ok
}

// Sessions lists the credentials that were issued here and not revoked, in no order.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.sessions))
}

// Revoke makes credentials that were issued here unknown from now on.
func (s *Server) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, accessKeyID)
}

type assumedRole struct {
	Credentials struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string `xml:"SecretAccessKey"`
		SessionToken    string `xml:"SessionToken"`
		Expiration      string `xml:"Expiration"`
	} `xml:"Credentials"`
	User struct {
		ID  string `xml:"AssumedRoleId"`
		ARN string `xml:"Arn"`
	} `xml:"AssumedRoleUser"`
	PackedPolicySize int    `xml:"PackedPolicySize"`
	SourceIdentity   string `xml:"SourceIdentity,omitempty"`
	Subject          string `xml:"SubjectFromWebIdentityToken,omitempty"`
	Provider         string `xml:"Provider,omitempty"`
	Audience         string `xml:"Audience,omitempty"`
}

// wish is what a caller asks for, as far as both operations have it.
type wish struct {
	roleARN, name string
	duration      time.Duration
}

func wishOf(form awsquery.Parameters) (wish, error) {
	var w wish
	var err error
	if w.roleARN, err = form.Text("RoleArn", arnType); err != nil {
		return wish{}, err
	}
	if w.name, err = form.Text("RoleSessionName", sessionNameType); err != nil {
		return wish{}, err
	}
	w.duration, err = seconds(form, shortestSession, longestSession, time.Hour)
	return w, err
}

func (s *Server) assumeRole(in call) (any, error) {
	wanted, err := wishOf(in.form)
	if err != nil {
		return nil, err
	}
	session := Session{RoleARN: wanted.roleARN, Name: wanted.name}
	externalID, err := in.form.Text("ExternalId", externalIDType)
	if err != nil {
		return nil, err
	}
	if session.SourceIdentity, err = in.form.Text("SourceIdentity", sourceType); err != nil {
		return nil, err
	}
	if session.Tags, err = tags(in.form); err != nil {
		return nil, err
	}
	if session.Transitive, err = in.form.List("TransitiveTagKeys", tagKeyType, 50); err != nil {
		return nil, err
	}
	for _, key := range session.Transitive {
		if _, ok := session.Tags[key]; !ok {
			return nil, awsquery.Refused(http.StatusBadRequest, "InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
	}
	caller, _ := s.Session(in.key.AccessKeyID)
	role, err := s.allowed(in.key, wanted, func(t Trust) bool {
		return t.Federated == "" && slices.ContainsFunc(t.Principals, func(p string) bool { return isPrincipal(p, in.key) }) &&
			(t.ExternalID == "" || t.ExternalID == externalID) &&
			(t.TagSession || len(session.Tags) == 0 && len(caller.Transitive) == 0) &&
			(t.SetSourceIdentity || session.SourceIdentity == "" && caller.SourceIdentity == "")
	})
	if err != nil {
		return nil, err
	}
	if in.key.SessionToken != "" && wanted.duration > chainedSession {
		return nil, awsquery.Invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if err := inherit(&session, caller); err != nil {
		return nil, err
	}
	return s.begin(session, role, wanted.duration)
}

// inherit passes on what a chain of roles passes on, and refuses to change it.
func inherit(session *Session, caller Session) error {
	for _, key := range caller.Transitive {
		for own := range session.Tags {
			if strings.EqualFold(own, key) {
				return awsquery.Refused(http.StatusBadRequest, "InvalidParameterValue",
					"One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
			}
		}
	}
	for _, key := range caller.Transitive {
		session.Tags[key] = caller.Tags[key]
		session.Transitive = append(session.Transitive, key)
	}
	if caller.SourceIdentity != "" {
		if session.SourceIdentity != "" && session.SourceIdentity != caller.SourceIdentity {
			return awsquery.Refused(http.StatusForbidden, "AccessDenied", "The source identity of a session cannot be changed")
		}
		session.SourceIdentity = caller.SourceIdentity
	}
	return nil
}

// allowed returns the role if a statement of its trust policy holds. A role that does not exist is refused in the same words.
func (s *Server) allowed(key awsauth.Key, wanted wish, holds func(Trust) bool) (Role, error) {
	at := slices.IndexFunc(s.options.Roles, func(r Role) bool { return r.ARN == wanted.roleARN })
	if at < 0 || !slices.ContainsFunc(s.options.Roles[at].Trust, holds) {
		return Role{}, awsquery.Refused(http.StatusForbidden, "AccessDenied",
			fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", key.ARN, wanted.roleARN))
	}
	role := s.options.Roles[at]
	if role.MaxSession == 0 {
		role.MaxSession = time.Hour
	}
	if wanted.duration > role.MaxSession {
		return Role{}, awsquery.Invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return role, nil
}

// isPrincipal reports whether a principal of a trust policy is the one that holds the key.
func isPrincipal(principal string, key awsauth.Key) bool {
	return principal == key.ARN || principal == RoleOf(key.ARN) || principal == "arn:aws:iam::"+key.Account+":root"
}

// RoleOf returns the role of a session, both by their ARNs. What is no session stays as it is.
func RoleOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[2] != "sts" {
		return arn
	}
	path := strings.Split(parts[5], "/")
	if len(path) != 3 || path[0] != "assumed-role" {
		return arn
	}
	return strings.Join([]string{parts[0], parts[1], "iam", "", parts[4], "role/" + path[1]}, ":")
}

// begin issues credentials.
func (s *Server) begin(session Session, role Role, duration time.Duration) (any, error) {
	parts := strings.SplitN(role.ARN, ":", 6)
	if len(parts) != 6 {
		return nil, awsquery.Invalid("%s is invalid", role.ARN)
	}
	id := "AROA" + rand.Text()[:17] + ":" + session.Name
	session.Key = awsauth.Key{
		AccessKeyID:     "ASIA" + rand.Text()[:16],
		SecretAccessKey: rand.Text() + rand.Text()[:14],
		SessionToken:    "FwoGZXIvYXdzE" + strings.Repeat(rand.Text()+"/+", 12) + "==",
		Expires:         time.Now().Add(duration).Truncate(time.Second),
		ARN:             strings.Join([]string{parts[0], parts[1], "sts", "", parts[4], "assumed-role/" + parts[5][strings.LastIndex(parts[5], "/")+1:] + "/" + session.Name}, ":"),
		UserID:          id,
		Account:         parts[4],
	}
	session.Tags, session.Transitive = maps.Clone(session.Tags), slices.Clone(session.Transitive)
	s.mu.Lock()
	s.sessions[session.AccessKeyID] = session
	s.mu.Unlock()
	var result assumedRole
	result.Credentials.AccessKeyID, result.Credentials.SecretAccessKey = session.AccessKeyID, session.SecretAccessKey
	result.Credentials.SessionToken = session.SessionToken
	result.Credentials.Expiration = session.Expires.UTC().Format(time.RFC3339)
	result.User.ID, result.User.ARN = id, session.ARN
	result.SourceIdentity = session.SourceIdentity
	return result, nil
}
