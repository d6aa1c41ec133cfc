// Package events is what readers of audit events start from: the JSON Schema of each type of event, samples, and an AsyncAPI document. It also has
// samples of what starts the functions, cloud by cloud.
//
// What is about audit events is generated from the types of shared/audit. The package must not know who publishes events, or where.
package events

import (
	"embed"
	"io/fs"
)

//go:generate go run ./generate

//go:embed schema sample asyncapi.json aws gcp azure
var files embed.FS

// Files returns schema/TYPE.VERSION.json, sample/TYPE.json (sample/TYPE.KIND.json for a type of two kinds), sample/trail.jsonl with all samples, one on
// each line, and asyncapi.json; and CLOUD/TRIGGER.json, what arrives at a function of that cloud, as the function gets it: the payload of an
// invocation on AWS, the body of a request on Google Cloud, and what the Functions host posts on Azure.
func Files() fs.FS { return files }
