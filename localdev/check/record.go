package check

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/config"
)

// RecordSuffix is behind the name of a document in that of its record.
const RecordSuffix = ".checked"

// Record is what the functions of each cloud say of a document when they start, for those who deploy it and cannot load it themselves.
type Record struct {
	// SHA256 tells the document, in hexadecimal.
	SHA256 string `json:"sha256"`
	// AWS, GCP and Azure are what is wrong with it there. Where nothing is, it can be deployed.
	AWS   []string `json:"aws"`
	GCP   []string `json:"gcp"`
	Azure []string `json:"azure"`
}

// NewRecord loads a document as the functions do. One that does not load has a record too.
func NewRecord(data []byte) Record {
	sum := sha256.Sum256(data)
	said := map[config.Cloud][]string{}
	for _, cloud := range clouds() {
		said[cloud] = []string{}
		_, err := loadOn(cloud, data)
		if problems, ok := errors.AsType[*config.Problems](err); ok {
			for _, p := range problems.List {
				said[cloud] = append(said[cloud], p.String())
			}
		}
	}
	return Record{SHA256: hex.EncodeToString(sum[:]), AWS: said[config.AWS], GCP: said[config.GCP], Azure: said[config.Azure]}
}

// Text is the record as it stands in its file.
func (r Record) Text() ([]byte, error) {
	text, err := json.Marshal(r, jsontext.WithIndent("  "))
	return append(text, '\n'), err
}

// loadOn loads a document as the function of a cloud does that is deployed as it has to be.
func loadOn(cloud config.Cloud, data []byte) (*config.Document, error) {
	environment := map[string]string{
		"POSTERN_CONFIG": string(data), "POSTERN_PLATFORM_IAM": "true", "POSTERN_REDIS_URL": "rediss://postern-abc123.serverless.use1.cache.amazonaws.com",
		"POSTERN_REDIS_USERNAME": "postern-gateway",
	}
	switch cloud {
	case config.AWS:
		environment["AWS_REGION"] = "us-east-1" // every function there has one
		environment[config.MFAVariable] = "true"
	case config.GCP:
		environment["GOOGLE_CLOUD_PROJECT"] = "project"
		environment["POSTERN_REDIS_CA"] = "PEM" // the modules give it
	}
	return config.FromEnvironment(cloud, func(name string) string { return environment[name] }, nil)
}
