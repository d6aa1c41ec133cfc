package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// source is the archive that Cloud Build makes a function of, by the name of its
// package: the packages that the function consists of, without their tests, and
// everything that they import in a vendor folder, so that the build needs no
// network and nothing of it can change later.
type source string

// path is that of the package that the functions buildpack has to find at the
// root of an archive: the import path of a function is that of its module.
func (s source) path() string { return "functions/gcp/" + string(s) }

// framework is a file of that package. With a vendor folder the buildpack asks
// for the functions framework to be in it, and only what is imported is.
func (s source) framework() []byte {
	return []byte("package " + string(s) + `

import _ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
`)
}

func (s source) files(ctx context.Context, in input, work string) (contents, error) {
	if err := s.stage(ctx, in.root, work); err != nil {
		return contents{}, err
	}
	if err := os.WriteFile(filepath.Join(work, filepath.FromSlash(stampFile)), in.stamp.source(), 0o644); err != nil {
		return contents{}, err
	}
	if _, err := command(ctx, work, "amd64", "mod", "vendor"); err != nil {
		return contents{}, err
	}
	var c contents
	err := filepath.WalkDir(work, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(work, at)
		if err != nil {
			return err
		}
		c.files = append(c.files, file{name: filepath.ToSlash(name), data: data})
		return nil
	})
	if err != nil {
		return contents{}, err
	}
	c.modules, err = vendored(work)
	return c, err
}

// stage copies the function's own packages into an empty folder.
func (s source) stage(ctx context.Context, root, work string) error {
	listed, err := command(ctx, root, "amd64", "list", "-deps", "-json=ImportPath,Dir,GoFiles,EmbedFiles,Module", "./"+s.path())
	if err != nil {
		return err
	}
	for decoder := json.NewDecoder(strings.NewReader(string(listed))); ; {
		var p struct {
			ImportPath, Dir     string
			GoFiles, EmbedFiles []string
			Module              *struct {
				Path string
				Main bool
			}
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("go list: %w", err)
		}
		if p.Module == nil || !p.Module.Main {
			continue
		}
		below := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, p.Module.Path), "/")
		if below == s.path() {
			below = ""
		}
		for _, name := range append(p.GoFiles, p.EmbedFiles...) {
			if err := copyFile(filepath.Join(p.Dir, name), filepath.Join(work, filepath.FromSlash(path.Join(below, name)))); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "LICENSE"} {
		if err := copyFile(filepath.Join(root, name), filepath.Join(work, name)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(work, "framework.go"), s.framework(), 0o644)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// vendored lists the modules in a vendor folder. Each begins with a line
// "# path version" in modules.txt and has lines of packages; those without any
// are there for the sake of go.mod alone.
func vendored(dir string) ([]module, error) {
	list, err := os.ReadFile(filepath.Join(dir, "vendor", "modules.txt"))
	if err != nil {
		return nil, err
	}
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return nil, err
	}
	sumOf := map[string]string{}
	for line := range strings.Lines(string(sums)) {
		if f := strings.Fields(line); len(f) == 3 {
			sumOf[f[0]+" "+f[1]] = f[2]
		}
	}
	var modules []module
	var at module
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[0] == "#":
			at = module{path: f[1], version: f[2], sum: sumOf[f[1]+" "+f[2]]}
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case at.path != "":
			modules = append(modules, at)
			at = module{}
		}
	}
	return modules, nil
}
