// Package events is what readers of audit events start from: the JSON Schema of each type of event, samples, and an AsyncAPI document.
//
// All of it is generated from the types of shared/audit. The package must not know who publishes events, or where.
package events

import (
	"embed"
	"io/fs"
)

//go:generate go run ./generate

//go:embed schema sample asyncapi.json
var files embed.FS

// Files returns schema/TYPE.VERSION.json, sample/TYPE.json (sample/TYPE.KIND.json for a type of two kinds), sample/trail.jsonl with all samples, one on
// each line, and asyncapi.json.
func Files() fs.FS { return files }
