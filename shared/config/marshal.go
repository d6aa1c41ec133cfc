package config

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Marshal writes a loaded document with every default spelled out, as JSON. Loading the result gives an equal document.
func Marshal(d *Document) ([]byte, error) {
	durations := json.MarshalFunc(func(t time.Duration) ([]byte, error) {
		return []byte(strconv.Quote(t.String())), nil
	})
	return json.Marshal(d, json.WithMarshalers(durations), json.Deterministic(true), jsontext.WithIndent("  "))
}
