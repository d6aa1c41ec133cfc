package keyvault

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxValue is the largest value, in bytes (https://learn.microsoft.com/azure/key-vault/secrets/about-secrets).
	maxValue = 25 << 10
	maxTags  = 15
	maxTag   = 256
	maxPage  = 25
	// maxContentType is from the same page.
	maxContentType = 255
	// retention is how long a deleted secret can be recovered.
	retention = 90 * 24 * time.Hour
)

// secret is one secret with its versions, in the order in which they were made.
type secret struct {
	name     string
	versions []*version
	deleted  time.Time
}

type version struct {
	id          string
	value       string
	contentType string
	tags        map[string]string
	enabled     bool
	notBefore   *int64
	expires     *int64
	created     time.Time
	updated     time.Time
}

// attributes are what a client may set, and what it is told besides.
type attributes struct {
	Enabled         *bool  `json:"enabled,omitzero"`
	NotBefore       *int64 `json:"nbf,omitzero"`
	Expires         *int64 `json:"exp,omitzero"`
	Created         int64  `json:"created,omitzero"`
	Updated         int64  `json:"updated,omitzero"`
	RecoveryLevel   string `json:"recoveryLevel,omitzero"`
	RecoverableDays int    `json:"recoverableDays,omitzero"`
}

// bundle is a version on the wire. Lists leave the value out.
type bundle struct {
	Value       *string           `json:"value,omitzero"`
	ID          string            `json:"id"`
	ContentType string            `json:"contentType,omitzero"`
	Attributes  attributes        `json:"attributes"`
	Tags        map[string]string `json:"tags,omitzero"`
}

func (c *call) bundle(s *secret, v *version) bundle {
	return bundle{
		ID: c.id("/secrets/" + s.name + "/" + v.id), ContentType: v.contentType, Tags: v.tags,
		Attributes: attributes{
			Enabled: &v.enabled, NotBefore: v.notBefore, Expires: v.expires, Created: v.created.Unix(), Updated: v.updated.Unix(),
			RecoveryLevel: "Recoverable+Purgeable", RecoverableDays: int(retention / (24 * time.Hour)),
		},
	}
}

func (c *call) id(path string) string { return "https://" + c.request.Host + path }

// link is an address to go on at. The service writes the port there even if it is the usual one.
func (c *call) link(path string) string {
	host := c.request.Host
	if !strings.Contains(host, ":") {
		host += ":443"
	}
	return "https://" + host + path
}

// change is what a client sends to set or update a secret.
type change struct {
	Value       *string            `json:"value"`
	ContentType *string            `json:"contentType"`
	Tags        *map[string]string `json:"tags"`
	Attributes  *attributes        `json:"attributes"`
}

// apply takes over what a change says.
func (v *version) apply(in change) error {
	if in.Tags != nil {
		if len(*in.Tags) > maxTags {
			return bad("A secret has at most 15 tags.")
		}
		for name, value := range *in.Tags {
			if name == "" || len(name) > maxTag || len(value) > maxTag {
				return bad("The name and the value of a tag have at most 256 characters.")
			}
		}
		v.tags = *in.Tags
	}
	if in.ContentType != nil {
		if len(*in.ContentType) > maxContentType {
			return bad("The content type has at most 255 characters.")
		}
		v.contentType = *in.ContentType
	}
	if in.Attributes != nil {
		if in.Attributes.Enabled != nil {
			v.enabled = *in.Attributes.Enabled
		}
		v.notBefore, v.expires = cmp.Or(in.Attributes.NotBefore, v.notBefore), cmp.Or(in.Attributes.Expires, v.expires)
	}
	if v.notBefore != nil && v.expires != nil && *v.notBefore >= *v.expires {
		return bad("The expiration date has to be after the activation date.")
	}
	return nil
}

// set always makes a new version. There is no condition that could be given.
func (c *call) set() (any, error) {
	var in change
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.Value == nil {
		return nil, bad("The value is required.")
	}
	if len(*in.Value) > maxValue {
		return nil, bad("The value is larger than 25 KB.")
	}
	made := &version{id: newID(), value: *in.Value, enabled: true, created: c.now, updated: c.now}
	if err := made.apply(in); err != nil {
		return nil, err
	}
	key := strings.ToLower(c.secret)
	if c.server.deleted[key] != nil {
		return nil, &problem{Status: http.StatusConflict, Code: "Conflict", Inner: "ObjectIsDeletedButRecoverable",
			Message: "Secret " + c.secret + " is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged."}
	}
	found := c.server.secrets[key]
	if found == nil {
		found = &secret{name: c.secret}
		c.server.secrets[key] = found
	}
	found.versions = append(found.versions, made)
	return c.whole(found, made), nil
}

func (c *call) whole(s *secret, v *version) bundle {
	b := c.bundle(s, v)
	b.Value = &v.value
	return b
}

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

func (c *call) find() (*secret, *version, error) {
	missing := &problem{Status: http.StatusNotFound, Code: "SecretNotFound", Message: "A secret with (name/id) " +
		strings.TrimSuffix(c.secret+"/"+c.version, "/") + " was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command."}
	found := c.server.secrets[strings.ToLower(c.secret)]
	if found == nil {
		return nil, nil, missing
	}
	if c.version == "" {
		return found, found.versions[len(found.versions)-1], nil
	}
	for _, v := range found.versions {
		if strings.EqualFold(v.id, c.version) {
			return found, v, nil
		}
	}
	return nil, nil, missing
}

// get returns a version, or the newest one. The dates of a version are for its readers: they do not keep it from being read.
func (c *call) get() (any, error) {
	s, v, err := c.find()
	if err != nil {
		return nil, err
	}
	if !v.enabled {
		return nil, &problem{Status: http.StatusForbidden, Code: "Forbidden", Inner: "SecretDisabled", Message: "Operation get is not allowed on a disabled secret."}
	}
	return c.whole(s, v), nil
}

func (c *call) update() (any, error) {
	var in change
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.Value != nil {
		return nil, bad("The value of a version cannot be changed.")
	}
	s, v, err := c.find()
	if err != nil {
		return nil, err
	}
	next := *v
	if err := next.apply(in); err != nil {
		return nil, err
	}
	*v = next
	v.updated = c.now
	return c.bundle(s, v), nil
}

// list returns the versions in the order of their ids, which is no order in time. Of a secret that is not there it lists nothing.
func (c *call) list() (any, error) {
	query := c.request.URL.Query()
	size := maxPage
	if text := query.Get("maxresults"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > maxPage {
			return nil, bad("maxresults has to be from 1 to 25.")
		}
	}
	reply := struct {
		Value    []bundle `json:"value"`
		NextLink *string  `json:"nextLink"`
	}{Value: []bundle{}}
	found := c.server.secrets[strings.ToLower(c.secret)]
	if found == nil {
		return reply, nil
	}
	sorted := slices.SortedFunc(slices.Values(found.versions), func(a, b *version) int { return cmp.Compare(a.id, b.id) })
	for _, v := range sorted {
		if v.id <= query.Get("$skiptoken") {
			continue
		}
		if len(reply.Value) == size {
			last := reply.Value[size-1].ID
			next := c.link(fmt.Sprintf("/secrets/%s/versions?%s", found.name, url.Values{
				"api-version": {query.Get("api-version")}, "maxresults": {strconv.Itoa(size)}, "$skiptoken": {last[strings.LastIndex(last, "/")+1:]},
			}.Encode()))
			reply.NextLink = &next
			break
		}
		reply.Value = append(reply.Value, c.bundle(found, v))
	}
	return reply, nil
}

// deletedBundle is a deleted secret on the wire.
type deletedBundle struct {
	bundle
	RecoveryID         string `json:"recoveryId"`
	DeletedDate        int64  `json:"deletedDate"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate"`
}

func (c *call) remove() (any, error) {
	s, _, err := c.find()
	if err != nil {
		return nil, err
	}
	key := strings.ToLower(c.secret)
	s.deleted = c.now
	c.server.deleted[key] = s
	delete(c.server.secrets, key)
	return c.deletedBundle(s), nil
}

func (c *call) deletedBundle(s *secret) deletedBundle {
	return deletedBundle{
		bundle: c.bundle(s, s.versions[len(s.versions)-1]), RecoveryID: c.id("/deletedsecrets/" + s.name),
		DeletedDate: s.deleted.Unix(), ScheduledPurgeDate: s.deleted.Add(retention).Unix(),
	}
}

func (c *call) findDeleted() (*secret, error) {
	s := c.server.deleted[strings.ToLower(c.secret)]
	if s == nil {
		return nil, &problem{Status: http.StatusNotFound, Code: "SecretNotFound", Message: "Deleted Secret not found: " + c.secret}
	}
	return s, nil
}

func (c *call) getDeleted() (any, error) {
	s, err := c.findDeleted()
	if err != nil {
		return nil, err
	}
	return c.deletedBundle(s), nil
}

func (c *call) recover() (any, error) {
	s, err := c.findDeleted()
	if err != nil {
		return nil, err
	}
	key := strings.ToLower(c.secret)
	c.server.secrets[key] = s
	delete(c.server.deleted, key)
	return c.bundle(s, s.versions[len(s.versions)-1]), nil
}

func (c *call) purge() (any, error) {
	if _, err := c.findDeleted(); err != nil {
		return nil, err
	}
	delete(c.server.deleted, strings.ToLower(c.secret))
	return nil, nil
}
