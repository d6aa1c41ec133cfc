// Package strictjson reads the bodies of requests to a stand-in, which refuses what its service would not understand, and writes its replies.
//
// The package must not know which service it is for.
package strictjson

import (
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const maxBody = 1 << 20

// Read reads the body of a request as one JSON object that has no other members than the target. The error says what is wrong.
func Read(r *http.Request, target any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errors.New("the content type has to be application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return errors.New("the body could not be read")
	case len(body) > maxBody:
		return errors.New("the body is too large")
	case jsontext.Value(body).Kind() != '{':
		return errors.New("the body is not a JSON object")
	}
	return json.Unmarshal(body, target, json.RejectUnknownMembers(true))
}

// Write answers with a JSON value.
func Write(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // the stand-in's own mistake
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
