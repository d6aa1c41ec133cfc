package iam

import (
	"cmp"
	"crypto/rand"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/awsquery"
)

// The patterns of the service's model. They are those of the whole text.
var (
	userName = regexp.MustCompile(`^[\w+=,.@-]+$`)
	word     = regexp.MustCompile(`^\w+$`)
)

type accessKey struct {
	standing
	id, secret string
	used       time.Time
}

func identifier() string { return rand.Text()[:17] }

// Lookup finds the access key of a user where it is used, as an awsauth.Lookup. Keys that are not active, and those that are not known yet,
// are not found.
func (s *Server) Lookup(id string) (awsauth.Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		key, ok := u.keys[id]
		if !ok {
			continue
		}
		if !key.known() {
			return awsauth.Key{}, false
		}
		key.used = time.Now().UTC().Truncate(time.Minute)
		return awsauth.Key{
			AccessKeyID: key.id, SecretAccessKey: key.secret, ARN: "arn:aws:iam::" + s.options.Account + ":user/" + u.name, UserID: u.id, Account: s.options.Account,
		}, true
	}
	return awsauth.Key{}, false
}

// AccessKeys returns the ids of a user's access keys, the oldest first.
func (s *Server) AccessKeys(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, key := range s.users[name].sorted() {
		ids = append(ids, key.id)
	}
	return ids
}

func (u *user) sorted() []*accessKey {
	return slices.SortedFunc(maps.Values(u.keys), func(a, b *accessKey) int { return cmp.Compare(a.order, b.order) })
}

// owner is the name of the user who has the access key that a request names.
func (c *call) owner() string {
	for name, u := range c.server.users {
		if u.keys[c.form.Get("AccessKeyId")] != nil {
			return name
		}
	}
	return ""
}

// accessKey finds the key that a request names.
func (c *call) accessKey() (*accessKey, error) {
	id, err := c.form.Text("AccessKeyId", awsquery.Constraint{Required: true, Min: 16, Max: 128, Pattern: word})
	if err != nil {
		return nil, err
	}
	if c.user == nil || c.user.keys[id] == nil {
		return nil, awsquery.Refused(http.StatusNotFound, "NoSuchEntity", "The Access Key with id "+id+" cannot be found.")
	}
	return c.user.keys[id], nil
}

type accessKeyMetadata struct {
	UserName    string `xml:"UserName"`
	AccessKeyID string `xml:"AccessKeyId"`
	Status      string `xml:"Status"`
	Secret      string `xml:"SecretAccessKey,omitempty"`
	CreateDate  string `xml:"CreateDate"`
}

func (k *accessKey) metadata(u *user) accessKeyMetadata {
	return accessKeyMetadata{UserName: u.name, AccessKeyID: k.id, Status: k.status, CreateDate: k.created.Format(time.RFC3339)}
}

func (c *call) createAccessKey() (any, error) {
	if len(c.user.keys) >= maxKeys {
		return nil, awsquery.Refused(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: "+strconv.Itoa(maxKeys))
	}
	key := &accessKey{standing: c.begin(), id: "AKIA" + rand.Text()[:16], secret: rand.Text() + "/+" + rand.Text()[:12]}
	c.user.keys[key.id] = key
	out := key.metadata(c.user)
	out.Secret = key.secret
	return struct {
		Key accessKeyMetadata `xml:"AccessKey"`
	}{out}, nil
}

func (c *call) listAccessKeys() (any, error) {
	from, to, err := c.page(len(c.user.keys))
	if err != nil {
		return nil, err
	}
	var out struct {
		Keys        []accessKeyMetadata `xml:"AccessKeyMetadata>member"`
		IsTruncated bool                `xml:"IsTruncated"`
		Marker      string              `xml:"Marker,omitempty"`
	}
	for _, key := range c.user.sorted()[from:to] {
		out.Keys = append(out.Keys, key.metadata(c.user))
	}
	if to < len(c.user.keys) {
		out.IsTruncated, out.Marker = true, strconv.Itoa(to)
	}
	return out, nil
}

func (c *call) updateAccessKey() (any, error) {
	key, err := c.accessKey()
	if err != nil {
		return nil, err
	}
	status, err := c.state()
	if err != nil {
		return nil, err
	}
	key.status = status
	return nil, nil
}

func (c *call) deleteAccessKey() (any, error) {
	key, err := c.accessKey()
	if err != nil {
		return nil, err
	}
	delete(c.user.keys, key.id)
	return nil, nil
}

func (c *call) accessKeyLastUsed() (any, error) {
	key, err := c.accessKey()
	if err != nil {
		return nil, err
	}
	type lastUsed struct {
		Date    string `xml:"LastUsedDate,omitempty"`
		Service string `xml:"ServiceName"`
		Region  string `xml:"Region"`
	}
	out := struct {
		UserName string   `xml:"UserName"`
		LastUsed lastUsed `xml:"AccessKeyLastUsed"`
	}{c.user.name, lastUsed{Service: "N/A", Region: "N/A"}}
	if !key.used.IsZero() {
		out.LastUsed = lastUsed{Date: key.used.Format(time.RFC3339), Service: "sts", Region: "eu-central-1"}
	}
	return out, nil
}
