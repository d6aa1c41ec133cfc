package gcpsecretmanager

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	enabled   = "ENABLED"
	disabled  = "DISABLED"
	destroyed = "DESTROYED"

	maxPayload     = 64 << 10
	maxAliases     = 50
	maxLabels      = 64
	maxAnnotations = 16 << 10

	// secretRate is how many versions of a secret can be added and how often it can be changed, together, in a second, and versionRate how
	// often the state of a version (https://cloud.google.com/secret-manager/quotas).
	secretRate  = 2
	versionRate = 1
)

var (
	secretID      = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,255}$`)
	aliasForm     = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,62}$`)
	annotationKey = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$`)
	labelKey      = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue    = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// secret is one secret with all its versions, of which the first has the number 1.
type secret struct {
	replication jsontext.Value
	created     time.Time
	etag        string
	labels      map[string]string
	annotations map[string]string
	aliases     map[string]number
	destroyTTL  time.Duration
	versions    []*version
	changes     []time.Time // the latest ones, for the quota
}

type version struct {
	number    int
	state     string
	data      []byte
	created   time.Time
	etag      string
	scheduled time.Time // when it will be destroyed
	destroyed time.Time
	checked   bool // whether whoever added it sent a checksum
	changes   []time.Time
}

// number is a 64-bit integer, which this API writes as a string and reads as a string or a number.
type number int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 64)
	*n = number(value)
	return err
}

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatInt(int64(n), 10) + `"`), nil
}

// message is a secret on the wire.
type message struct {
	Name              string            `json:"name,omitzero"`
	Replication       jsontext.Value    `json:"replication,omitzero"`
	CreateTime        string            `json:"createTime,omitzero"`
	Labels            map[string]string `json:"labels,omitzero"`
	Annotations       map[string]string `json:"annotations,omitzero"`
	VersionAliases    map[string]number `json:"versionAliases,omitzero"`
	VersionDestroyTTL string            `json:"versionDestroyTtl,omitzero"`
	Etag              string            `json:"etag,omitzero"`
	beyond
}

// beyond is what the API knows besides and this stand-in does not have. Official clients send such members when they are empty.
type beyond struct {
	Tags                      jsontext.Value `json:"tags,omitzero"`
	Topics                    jsontext.Value `json:"topics,omitzero"`
	Rotation                  jsontext.Value `json:"rotation,omitzero"`
	ExpireTime                jsontext.Value `json:"expireTime,omitzero"`
	TTL                       jsontext.Value `json:"ttl,omitzero"`
	CustomerManagedEncryption jsontext.Value `json:"customerManagedEncryption,omitzero"`
	SecretType                jsontext.Value `json:"secretType,omitzero"`
	PolicyMember              jsontext.Value `json:"policyMember,omitzero"`
}

func (b beyond) used() bool {
	for _, value := range []jsontext.Value{b.Tags, b.Topics, b.Rotation, b.ExpireTime, b.TTL, b.CustomerManagedEncryption, b.SecretType, b.PolicyMember} {
		if !slices.Contains([]string{"", "{}", "[]", "null", `""`, "0", `"SECRET_TYPE_UNSPECIFIED"`}, string(value)) {
			return true
		}
	}
	return false
}

func (c *call) message(id string, s *secret) message {
	c.secret = id
	m := message{
		Name: c.parent(), Replication: s.replication, CreateTime: stamp(s.created), Etag: s.etag,
		Labels: nonEmpty(s.labels), Annotations: nonEmpty(s.annotations), VersionAliases: nonEmpty(s.aliases),
	}
	if s.destroyTTL > 0 {
		m.VersionDestroyTTL = duration(s.destroyTTL)
	}
	return m
}

func nonEmpty[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

func duration(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// newEtag returns a tag that nothing had before. Like the real ones it holds quotation marks.
func (s *Server) newEtag() string {
	s.etags++
	return `"16` + strconv.FormatInt(int64(s.etags)+0xabc000, 16) + `"`
}

// within reports whether one more change is within a rate for each second, and counts it if so.
func (s *Server) within(changes *[]time.Time, now time.Time, rate int) bool {
	if !s.options.Quota {
		return true
	}
	*changes = slices.DeleteFunc(*changes, func(at time.Time) bool { return now.Sub(at) >= time.Second })
	if len(*changes) >= rate {
		return false
	}
	*changes = append(*changes, now)
	return true
}

func (c *call) create() (any, error) {
	var in message
	if err := c.read(&in); err != nil {
		return nil, err
	}
	id := c.request.URL.Query().Get("secretId")
	switch {
	case !secretID.MatchString(id):
		return nil, invalid("Secret ID must be 1 to 255 letters, numerals, hyphens and underscores.")
	case in.used():
		return nil, invalid("This member is not part of this stand-in.")
	case in.Replication == nil && c.location == "":
		return nil, invalid("The replication policy is required.")
	case in.Replication != nil && c.location != "":
		return nil, invalid("A secret of a location has no replication policy.")
	case len(in.VersionAliases) > 0:
		return nil, invalid("Aliases of a secret without versions.")
	case c.server.secrets[id] != nil:
		return nil, &problem{Status: "ALREADY_EXISTS", Message: "Secret [" + c.parent() + "/secrets/" + id + "] already exists."}
	}
	if err := checkReplication(in.Replication); err != nil {
		return nil, err
	}
	made := &secret{replication: in.Replication, created: c.now, etag: c.server.newEtag()}
	if err := made.set(in, []string{"labels", "annotations", "versionDestroyTtl"}); err != nil {
		return nil, err
	}
	c.server.secrets[id] = made
	return c.message(id, made), nil
}

func checkReplication(policy jsontext.Value) error {
	if policy == nil {
		return nil
	}
	var kinds struct {
		Automatic   jsontext.Value `json:"automatic"`
		UserManaged *struct {
			Replicas []jsontext.Value `json:"replicas"`
		} `json:"userManaged"`
	}
	err := json.Unmarshal(policy, &kinds, json.RejectUnknownMembers(true))
	if err != nil || (kinds.Automatic == nil) == (kinds.UserManaged == nil) || kinds.UserManaged != nil && len(kinds.UserManaged.Replicas) == 0 {
		return invalid("The replication policy is either automatic or user managed with replicas.")
	}
	return nil
}

// set takes over the named fields of a message, all of them or none.
func (s *secret) set(in message, fields []string) error {
	next := *s
	for _, field := range fields {
		var err error
		switch field {
		case "labels":
			next.labels, err = in.Labels, checkLabels(in.Labels)
		case "annotations":
			next.annotations, err = in.Annotations, checkAnnotations(in.Annotations)
		case "versionAliases", "version_aliases":
			next.aliases, err = in.VersionAliases, s.checkAliases(in.VersionAliases)
		case "versionDestroyTtl", "version_destroy_ttl":
			next.destroyTTL, err = parseTTL(in.VersionDestroyTTL)
		default:
			err = invalid("The update mask names a field that cannot be updated: " + field)
		}
		if err != nil {
			return err
		}
	}
	*s = next
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return invalid("No more than 64 labels can be assigned.")
	}
	for key, value := range labels {
		if !labelKey.MatchString(key) || !labelValue.MatchString(value) {
			return invalid("Invalid label.")
		}
	}
	return nil
}

func checkAnnotations(annotations map[string]string) error {
	size := 0
	for key, value := range annotations {
		if !annotationKey.MatchString(key) {
			return invalid("Invalid annotation key.")
		}
		size += len(key) + len(value)
	}
	if size >= maxAnnotations {
		return invalid("The total size of annotations must be less than 16KiB.")
	}
	return nil
}

func (s *secret) checkAliases(aliases map[string]number) error {
	if len(aliases) > maxAliases {
		return invalid("No more than 50 aliases can be assigned to a secret.")
	}
	for alias, n := range aliases {
		if !aliasForm.MatchString(alias) || strings.EqualFold(alias, "latest") || strings.EqualFold(alias, "new") {
			return invalid("Invalid version alias.")
		}
		if n < 1 || int(n) > len(s.versions) {
			return invalid("A version alias refers to a version that does not exist.")
		}
	}
	return nil
}

func parseTTL(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	ttl, err := time.ParseDuration(text)
	if err != nil || !strings.HasSuffix(text, "s") || ttl < 24*time.Hour || ttl > 1000*24*time.Hour {
		return 0, invalid("version_destroy_ttl must be from 1 to 1000 days.")
	}
	return ttl, nil
}

// find returns the secret that the path names.
func (c *call) find() (*secret, error) {
	found, ok := c.server.secrets[c.secret]
	if !ok {
		return nil, &problem{Status: "NOT_FOUND", Message: "Secret [" + c.parent() + "] not found."}
	}
	found.expire(c.now)
	return found, nil
}

func (c *call) get() (any, error) {
	found, err := c.find()
	if err != nil {
		return nil, err
	}
	return c.message(c.secret, found), nil
}

func (c *call) patch() (any, error) {
	var in message
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, err := c.find()
	if err != nil {
		return nil, err
	}
	if !c.server.within(&found.changes, c.now, secretRate) {
		return nil, exhausted()
	}
	if in.used() {
		return nil, invalid("This member is not part of this stand-in.")
	}
	mask := c.request.URL.Query().Get("updateMask")
	if mask == "" {
		return nil, invalid("The update mask is required.")
	}
	if in.Etag != "" && in.Etag != found.etag {
		return nil, precondition("The etag provided in the request does not match the etag of the secret.")
	}
	// The etag is a condition; naming it in the mask changes nothing.
	fields := slices.DeleteFunc(strings.Split(mask, ","), func(field string) bool { return field == "etag" || field == "name" })
	if err := found.set(in, fields); err != nil {
		return nil, err
	}
	found.etag = c.server.newEtag()
	return c.message(c.secret, found), nil
}

func (c *call) remove() (any, error) {
	found, err := c.find()
	if err != nil {
		return nil, err
	}
	if etag := c.request.URL.Query().Get("etag"); etag != "" && etag != found.etag {
		return nil, precondition("The etag provided in the request does not match the etag of the secret.")
	}
	delete(c.server.secrets, c.secret)
	return struct{}{}, nil
}
