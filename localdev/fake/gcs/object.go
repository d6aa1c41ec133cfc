package gcs

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// object is one generation of an object.
type object struct {
	generation   int64
	content      []byte
	contentType  string
	cacheControl string
	customTime   time.Time
	metadata     map[string]string
	created      time.Time
}

// properties are what a client may say of an object in this stand-in.
type properties struct {
	Name         string            `json:"name"`
	Bucket       string            `json:"bucket"`
	ContentType  string            `json:"contentType"`
	CacheControl string            `json:"cacheControl"`
	CustomTime   time.Time         `json:"customTime"`
	Metadata     map[string]string `json:"metadata"`
}

// insert stores an object that comes with its properties (uploadType=multipart) or without (uploadType=media).
func (c *call) insert(w http.ResponseWriter) error {
	in, content, err := c.upload()
	if err != nil {
		return err
	}
	if name := c.query.Get("name"); name != "" {
		in.Name = name
	}
	switch {
	case in.Name == "":
		return &problem{http.StatusBadRequest, "required", "Required"}
	case len(in.Name) > maxName || !utf8.ValidString(in.Name) || strings.ContainsAny(in.Name, "\r\n") || in.Name == "." || in.Name == "..":
		return bad("Invalid object name.")
	case in.Bucket != "" && in.Bucket != c.bucket:
		return bad("The bucket in the body is not the one in the path.")
	}
	if err := c.need("storage.objects.create"); err != nil {
		return err
	}
	objects, err := c.objects()
	if err != nil {
		return err
	}
	old := objects[in.Name]
	if old != nil {
		if err := c.need("storage.objects.delete"); err != nil {
			return err
		}
	}
	if err := c.met(old); err != nil {
		return err
	}
	made := c.server.newObject(content)
	made.contentType, made.cacheControl, made.customTime, made.metadata = in.ContentType, in.CacheControl, in.CustomTime, in.Metadata
	objects[in.Name] = made
	c.object = in.Name
	return c.write(w, made)
}

// newObject gives out the next generation, a number of microseconds that only grows.
func (s *Server) newObject(content []byte) *object {
	now := time.Now()
	s.generation = max(s.generation+1, now.UnixMicro())
	return &object{generation: s.generation, content: content, created: now}
}

func (c *call) upload() (properties, []byte, error) {
	var in properties
	media, parameters, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	switch c.query.Get("uploadType") {
	case "media":
		if err != nil {
			media = "application/octet-stream"
		}
		return properties{ContentType: media}, c.body, nil
	case "multipart":
	default:
		return in, nil, bad("uploadType has to be multipart or media in this stand-in.")
	}
	if err != nil || media != "multipart/related" || parameters["boundary"] == "" {
		return in, nil, &problem{http.StatusBadRequest, "badContent", "Media type '" + media + "' is not supported. Valid media types: [multipart/related]"}
	}
	parts := multipart.NewReader(bytes.NewReader(c.body), parameters["boundary"])
	var bodies [][]byte
	var types []string
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return in, nil, &problem{http.StatusBadRequest, "badContent", "Malformed multipart body."}
		}
		body, err := io.ReadAll(part)
		if err != nil {
			return in, nil, &problem{http.StatusBadRequest, "badContent", "Malformed multipart body."}
		}
		bodies, types = append(bodies, body), append(types, part.Header.Get("Content-Type"))
	}
	if len(bodies) != 2 {
		return in, nil, &problem{http.StatusBadRequest, "badContent", "Multipart must have exactly two parts."}
	}
	if media, _, err := mime.ParseMediaType(types[0]); err != nil || media != "application/json" {
		return in, nil, &problem{http.StatusBadRequest, "badContent", "The first part has to be application/json."}
	}
	if err := json.Unmarshal(bodies[0], &in, json.RejectUnknownMembers(true)); err != nil {
		return in, nil, &problem{http.StatusBadRequest, "parseError", "Parse Error"}
	}
	if in.ContentType == "" {
		in.ContentType = types[1]
	}
	return in, bodies[1], nil
}

// missing is the answer when there is no object. Only who may list the bucket is told so.
func (c *call) missing() error {
	if err := c.need("storage.objects.list"); err != nil {
		return err
	}
	return &problem{http.StatusNotFound, "notFound", "No such object: " + c.bucket + "/" + c.object}
}

// find returns the object that is asked for, after the permission and the conditions.
func (c *call) find(permission string) (*object, error) {
	if err := c.need(permission); err != nil {
		return nil, err
	}
	objects, err := c.objects()
	if err != nil {
		return nil, err
	}
	o := objects[c.object]
	if o == nil || c.query.Has("generation") && c.query.Get("generation") != strconv.FormatInt(o.generation, 10) {
		return nil, c.missing()
	}
	return o, c.met(o)
}

func (c *call) get(w http.ResponseWriter) error {
	o, err := c.find("storage.objects.get")
	if err != nil {
		return err
	}
	if !c.media {
		return c.write(w, o)
	}
	h := w.Header()
	h.Set("Content-Type", o.contentType)
	h.Set("Cache-Control", o.cacheControl)
	h.Set("X-Goog-Generation", strconv.FormatInt(o.generation, 10))
	h.Set("X-Goog-Metageneration", "1")
	h.Set("X-Goog-Hash", "crc32c="+o.crc32c())
	h.Set("X-Goog-Storage-Class", "STANDARD")
	_, err = w.Write(o.content)
	return err
}

func (c *call) remove(w http.ResponseWriter) error {
	if _, err := c.find("storage.objects.delete"); err != nil {
		return err
	}
	delete(c.server.buckets[c.bucket], c.object)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (o *object) crc32c() string {
	sum := crc32.Checksum(o.content, crc32.MakeTable(crc32.Castagnoli))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// write answers with the properties of an object, or those that the client has asked for.
func (c *call) write(w http.ResponseWriter, o *object) error {
	all := map[string]any{
		"kind": "storage#object", "id": c.bucket + "/" + c.object + "/" + strconv.FormatInt(o.generation, 10),
		"name": c.object, "bucket": c.bucket, "generation": strconv.FormatInt(o.generation, 10), "metageneration": "1",
		"contentType": o.contentType, "cacheControl": o.cacheControl, "storageClass": "STANDARD",
		"size": strconv.Itoa(len(o.content)), "crc32c": o.crc32c(),
		"timeCreated": o.created.UTC().Format(time.RFC3339Nano), "updated": o.created.UTC().Format(time.RFC3339Nano),
	}
	if !o.customTime.IsZero() {
		all["customTime"] = o.customTime.UTC().Format(time.RFC3339Nano)
	}
	if len(o.metadata) > 0 {
		all["metadata"] = o.metadata
	}
	if fields := c.query.Get("fields"); fields != "" {
		some := map[string]any{}
		for name := range strings.SplitSeq(fields, ",") {
			if v, ok := all[name]; ok {
				some[name] = v
			}
		}
		all = some
	}
	body, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_, err = w.Write(body)
	return err
}

// Object is an object as an operator enters it.
type Object struct{ Bucket, Name, Text string }

// Seed stores an object. It stands for an operator at the console, and needs no token.
func (s *Server) Seed(in Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.newObject([]byte(in.Text))
	made.contentType = "text/plain"
	s.buckets[in.Bucket][in.Name] = made
}
