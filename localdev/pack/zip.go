package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"slices"
	"time"
)

// file is one file of a package.
type file struct {
	name       string // with slashes
	data       []byte
	executable bool
}

// compress zips files in such a way that the result depends on their names,
// contents and executable bits alone, and on the archive's comment, which lists
// of its files begin with.
func compress(files []file, comment string) ([]byte, error) {
	sorted := slices.SortedFunc(slices.Values(files), func(a, b file) int { return cmp.Compare(a.name, b.name) })
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	if err := w.SetComment(comment); err != nil {
		return nil, err
	}
	for _, f := range sorted {
		header := zip.FileHeader{
			Name: f.name, Method: zip.Deflate,
			// The first day that a zip can tell.
			Modified: time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC),
		}
		mode := fs.FileMode(0o644)
		if f.executable {
			mode = 0o755
		}
		header.SetMode(mode)
		part, err := w.CreateHeader(&header)
		if err != nil {
			return nil, err
		}
		if _, err := part.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
