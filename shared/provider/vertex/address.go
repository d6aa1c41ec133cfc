package vertex

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
)

// location is where a service is, without the project.
type location struct {
	base string // scheme, host and, for an address of the document, path
	id   string
}

// of returns the address of everything in a project, with a slash at the end.
func (l location) of(project string) string {
	return l.base + "/v1/projects/" + project + "/locations/" + l.id + "/"
}

// address returns where the upstream is. Location and project become parts of a
// host and a path and so decide where a token goes; that is why they are
// checked here again, although the document's loader has done so.
func address(u *config.Upstream) (location, error) {
	l := location{base: u.BaseURL, id: u.LocationID}
	if l.id == "" {
		l.id = "global"
	}
	if !isLocation(l.id) {
		return location{}, fmt.Errorf("location_id %q is not a Google Cloud location such as global, eu or europe-west4", chat.Clip(l.id, 80))
	}
	if strings.HasSuffix(l.base, "/v1") || strings.HasSuffix(l.base, "/v1beta1") {
		return location{}, errors.New("base_url ends in the version of the API, which is added to it: leave it off")
	}
	if l.base == "" {
		l.base = "https://" + host(l.id)
	}
	return l, nil
}

// host returns the service's own host, as the endpoints of the Discovery
// document list them.
func host(location string) string {
	switch location {
	case "global":
		return "aiplatform.googleapis.com"
	case "us", "eu":
		return "aiplatform." + location + ".rep.googleapis.com"
	}
	return location + "-aiplatform.googleapis.com"
}

// endpointPrefix begins a model that is an endpoint of the project.
const endpointPrefix = "endpoints/"

// url returns where to send a request for a model. A caller may have written
// the model's name, so nothing in it may lead out of the path segment.
func (d *dialect) url(req *chat.Request) (string, error) {
	resource := "publishers/google/models/" + req.Model
	id, isEndpoint := strings.CutPrefix(req.Model, endpointPrefix)
	if isEndpoint {
		resource = req.Model
	}
	if !isModel(id) {
		return "", &chat.Error{
			Status: http.StatusNotFound, Type: chat.TypeInvalidRequest, Code: chat.CodeModelNotFound, Param: "model",
			Message: name + " cannot have a model of this name. GET /v1/models lists the models there are.",
		}
	}
	if req.Stream {
		return d.root + resource + ":streamGenerateContent?alt=sse", nil
	}
	return d.root + resource + ":generateContent", nil
}

func isLocation(s string) bool {
	return len(s) <= 32 && consists(s, func(c byte) bool { return isSmall(c) || isDigit(c) || c == '-' }) && s[0] != '-'
}

// isProject takes ids, numbers, and the ids of old projects that begin with a
// domain and a colon.
func isProject(s string) bool {
	return len(s) <= 100 && consists(s, func(c byte) bool {
		return isSmall(c) || isDigit(c) || c == '-' || c == '.' || c == ':'
	}) && (isSmall(s[0]) || isDigit(s[0]))
}

// isModel takes gemini-2.5-flash, text-model@001 and the like. A name that
// began with a dot could be a step up in the path.
func isModel(s string) bool {
	return len(s) <= 128 && consists(s, func(c byte) bool {
		return isSmall(c) || isLarge(c) || isDigit(c) || c == '-' || c == '.' || c == '_' || c == '@'
	}) && s[0] != '.'
}

// consists reports whether s is not empty and has only bytes that are allowed.
func consists(s string, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return s != ""
}

func isSmall(c byte) bool { return c >= 'a' && c <= 'z' }
func isLarge(c byte) bool { return c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
