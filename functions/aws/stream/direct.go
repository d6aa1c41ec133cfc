package stream

import (
	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
)

// directName reads the payload of a direct invocation. Any other member makes it something else, whatever it is called.
func directName(payload stdjson.RawMessage) (name string, ok bool) {
	var direct struct {
		Name string `json:"postern"`
	}
	err := json.Unmarshal(payload, &direct, json.RejectUnknownMembers(true))
	return direct.Name, err == nil && direct.Name != ""
}
