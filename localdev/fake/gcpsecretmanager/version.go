package gcpsecretmanager

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// checksum is the CRC32C by which both sides check payloads (https://cloud.google.com/secret-manager/docs/data-integrity).
func checksum(data []byte) number {
	return number(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// versionMessage is a version on the wire.
type versionMessage struct {
	Name                           string         `json:"name"`
	CreateTime                     string         `json:"createTime"`
	State                          any            `json:"state"`
	ReplicationStatus              map[string]any `json:"replicationStatus,omitzero"`
	Etag                           string         `json:"etag"`
	ClientSpecifiedPayloadChecksum bool           `json:"clientSpecifiedPayloadChecksum,omitzero"`
	DestroyTime                    string         `json:"destroyTime,omitzero"`
	ScheduledDestroyTime           string         `json:"scheduledDestroyTime,omitzero"`
}

func (c *call) versionMessage(v *version) versionMessage {
	m := versionMessage{
		Name: c.versionName(v), CreateTime: stamp(v.created), State: v.state, Etag: v.etag, ClientSpecifiedPayloadChecksum: v.checked,
		DestroyTime: stamp(v.destroyed), ScheduledDestroyTime: stamp(v.scheduled),
	}
	if c.enums {
		m.State = map[string]int{enabled: 1, disabled: 2, destroyed: 3}[v.state]
	}
	if c.location == "" {
		m.ReplicationStatus = map[string]any{"automatic": map[string]any{}}
	}
	return m
}

func (c *call) versionName(v *version) string {
	return c.parent() + "/versions/" + strconv.Itoa(v.number)
}

func (c *call) addVersion() (any, error) {
	var in struct {
		Payload struct {
			Data       *string `json:"data"`
			DataCRC32C *number `json:"dataCrc32c"`
		} `json:"payload"`
	}
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
	if in.Payload.Data == nil || *in.Payload.Data == "" {
		return nil, invalid("Secret Payload cannot be empty.")
	}
	data, err := decode(*in.Payload.Data)
	switch {
	case err != nil:
		return nil, invalid("The payload is not base64.")
	case len(data) > maxPayload:
		return nil, invalid("The payload is larger than 64KiB.")
	case in.Payload.DataCRC32C != nil && *in.Payload.DataCRC32C != checksum(data):
		return nil, invalid("The checksum of the payload does not match the payload.")
	}
	return c.versionMessage(c.server.add(found, data, in.Payload.DataCRC32C != nil)), nil
}

// decode takes either alphabet of base64, with or without padding, as all APIs of this vendor do.
func decode(text string) ([]byte, error) {
	var err error
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		var data []byte
		if data, err = encoding.DecodeString(text); err == nil {
			return data, nil
		}
	}
	return nil, err
}

func (s *Server) add(to *secret, data []byte, checked bool) *version {
	v := &version{number: len(to.versions) + 1, state: enabled, data: data, created: time.Now(), etag: s.newEtag(), checked: checked}
	to.versions = append(to.versions, v)
	return v
}

// expire destroys what was scheduled for now.
func (s *secret) expire(now time.Time) {
	for _, v := range s.versions {
		if !v.scheduled.IsZero() && !now.Before(v.scheduled) {
			v.state, v.destroyed, v.scheduled, v.data = destroyed, v.scheduled, time.Time{}, nil
		}
	}
}

// find returns the version that the path names. Aliases count for reading only.
func (c *call) findVersion(byAlias bool) (*secret, *version, error) {
	found, err := c.find()
	if err != nil {
		return nil, nil, err
	}
	missing := &problem{Status: "NOT_FOUND", Message: "Secret Version [" + c.parent() + "/versions/" + c.version + "] not found."}
	n, err := strconv.Atoi(c.version)
	switch {
	case err == nil && n < 1:
		return nil, nil, invalid("A version is a positive number.")
	case err == nil:
	case c.version == "latest" && byAlias:
		n = len(found.versions)
	case byAlias && aliasForm.MatchString(c.version):
		n = int(found.aliases[c.version])
	default:
		return nil, nil, invalid("The version has to be named by its number.")
	}
	if n < 1 || n > len(found.versions) {
		return nil, nil, missing
	}
	return found, found.versions[n-1], nil
}

func (c *call) getVersion() (any, error) {
	_, v, err := c.findVersion(true)
	if err != nil {
		return nil, err
	}
	return c.versionMessage(v), nil
}

func (c *call) access() (any, error) {
	_, v, err := c.findVersion(true)
	if err != nil {
		return nil, err
	}
	if v.state != enabled {
		return nil, precondition(fmt.Sprintf("Secret Version [%s] is in %s state.", c.versionName(v), v.state))
	}
	type payload struct {
		Data       string `json:"data"`
		DataCRC32C number `json:"dataCrc32c"`
	}
	return struct {
		Name    string  `json:"name"`
		Payload payload `json:"payload"`
	}{c.versionName(v), payload{base64.StdEncoding.EncodeToString(v.data), checksum(v.data)}}, nil
}

func (c *call) list() (any, error) {
	found, err := c.find()
	if err != nil {
		return nil, err
	}
	query := c.request.URL.Query()
	want, ok := map[string]string{"": "", "state:ENABLED": enabled, "state=ENABLED": enabled, "state:DISABLED": disabled, "state=DISABLED": disabled}[query.Get("filter")]
	if !ok {
		return nil, invalid("Invalid filter.")
	}
	size, err := strconv.Atoi("0" + query.Get("pageSize"))
	if err != nil {
		return nil, invalid("Invalid page size.")
	}
	if size == 0 || size > 25000 {
		size = 25000
	}
	// The token is the number of the version that the next page begins with.
	from := len(found.versions)
	if token := query.Get("pageToken"); token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 1 || from > len(found.versions) {
			return nil, invalid("Invalid page token.")
		}
	}
	reply := struct {
		Versions      []versionMessage `json:"versions,omitzero"`
		TotalSize     int              `json:"totalSize,omitzero"`
		NextPageToken string           `json:"nextPageToken,omitzero"`
	}{}
	if want == "" {
		reply.TotalSize = len(found.versions)
	}
	for ; from >= 1; from-- {
		v := found.versions[from-1]
		if want != "" && v.state != want {
			continue
		}
		if len(reply.Versions) == size {
			reply.NextPageToken = strconv.Itoa(from)
			break
		}
		reply.Versions = append(reply.Versions, c.versionMessage(v))
	}
	return reply, nil
}

func (c *call) enable() (any, error)  { return c.change(enabled) }
func (c *call) disable() (any, error) { return c.change(disabled) }
func (c *call) destroy() (any, error) { return c.change(destroyed) }

func (c *call) change(state string) (any, error) {
	var in struct {
		Etag string `json:"etag"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, v, err := c.findVersion(false)
	if err != nil {
		return nil, err
	}
	switch {
	case in.Etag != "" && in.Etag != v.etag:
		return nil, precondition("The etag provided in the request does not match the etag of the secret version.")
	case !c.server.within(&v.changes, c.now, versionRate):
		return nil, exhausted()
	case v.state == destroyed:
		return nil, precondition(fmt.Sprintf("Secret Version [%s] is in DESTROYED state.", c.versionName(v)))
	case state == destroyed && found.destroyTTL > 0:
		v.state, v.scheduled = disabled, c.now.Add(found.destroyTTL)
	case state == destroyed:
		v.state, v.destroyed, v.data, v.scheduled = destroyed, c.now, nil, time.Time{}
	default:
		v.state, v.scheduled = state, time.Time{}
	}
	v.etag = c.server.newEtag()
	return c.versionMessage(v), nil
}
