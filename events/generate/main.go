// Command generate writes what package events publishes: a JSON Schema for each type of event, a sample of each form of it, and an AsyncAPI document
// over all of them. It takes the fields and their order from the Go types of shared/audit, and what they mean from the comments there.
//
// Run it by go generate in the folder of package events; a test of this command says when that is due.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// folders are those in which every file is generated.
var folders = []string{"schema", "sample"}

// run writes the files into the folder of package events, and removes those of the generated folders that no longer are.
func run(dir string) error {
	files, err := generate(filepath.Join(dir, "..", "shared", "audit"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
		old, err := filepath.Glob(filepath.Join(dir, folder, "*"))
		if err != nil {
			return err
		}
		for _, path := range old {
			if !slices.ContainsFunc(files, func(f file) bool { return filepath.Join(dir, f.name) == path }) {
				if err := os.Remove(path); err != nil {
					return err
				}
			}
		}
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// file is one generated file, by its path in the folder of package events.
type file struct {
	name string
	text []byte
}

// generate returns all files, given the folder of the source of shared/audit.
func generate(source string) ([]file, error) {
	comments, err := read(source)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, t := range types {
		schema, err := comments.schema(t)
		if err != nil {
			return nil, err
		}
		text, err := pretty(schema)
		if err != nil {
			return nil, err
		}
		files = append(files, file{schemaName(t), text})
	}
	samples, err := samples()
	if err != nil {
		return nil, err
	}
	files = append(files, samples...)
	text, err := pretty(asyncapi(comments))
	if err != nil {
		return nil, err
	}
	return append(files, file{"asyncapi.json", text}), nil
}
