package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// environment is what the go command gets: of this process's, what it needs to
// run, and of the user's settings, what says where modules come from. Everything
// that would change a build is set.
func environment(ctx context.Context, goarch string) ([]string, error) {
	set := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + goarch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "GOENV=off"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOROOT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			set = append(set, name+"="+value)
		}
	}
	names := []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN"}
	out, err := exec.CommandContext(ctx, "go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	for i, value := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		set = append(set, names[i]+"="+value)
	}
	return set, nil
}

// command runs the go command in a folder and returns what it prints.
func command(ctx context.Context, dir, goarch string, arguments ...string) ([]byte, error) {
	env, err := environment(ctx, goarch)
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, "go", arguments...)
	c.Dir, c.Env = dir, env
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", arguments[0], err, strings.TrimSpace(problems.String()))
	}
	return out, nil
}

// program is a build of one command.
type program struct {
	path   string // of its package, below the product's source
	goarch string
	tags   string
}

// build returns the program and the modules that are linked into it.
func (p program) build(ctx context.Context, in input, work string) ([]byte, []module, error) {
	overlay, err := in.stamp.overlay(work)
	if err != nil {
		return nil, nil, err
	}
	binary := filepath.Join(work, "program")
	if _, err := command(ctx, in.root, p.goarch,
		"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-overlay="+overlay, "-tags="+p.tags, "-o", binary, "./"+p.path); err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		return nil, nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	modules := []module{standardLibrary(info.GoVersion)}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		modules = append(modules, module{path: dep.Path, version: dep.Version, sum: dep.Sum})
	}
	return data, modules, nil
}

// lambda is a package for the runtime provided.al2023, which starts the program
// that is named bootstrap.
type lambda struct{ function, goarch string }

func (l lambda) files(ctx context.Context, in input, work string) (contents, error) {
	data, modules, err := program{path: "functions/aws/" + l.function, goarch: l.goarch, tags: "lambda.norpc"}.build(ctx, in, work)
	if err != nil {
		return contents{}, err
	}
	return contents{files: []file{{name: "bootstrap", data: data, executable: true}}, modules: modules}, nil
}

// customHandler is a package for Azure Functions, by the name of its folder: the
// program that host.json names, and a folder for each function of the app.
type customHandler string

func (c customHandler) files(ctx context.Context, in input, work string) (contents, error) {
	folder := "functions/azure/" + string(c)
	data, modules, err := program{path: folder, goarch: "amd64"}.build(ctx, in, work)
	if err != nil {
		return contents{}, err
	}
	app := contents{files: []file{{name: "handler", data: data, executable: true}}, modules: modules}
	host := os.DirFS(filepath.Join(in.root, filepath.FromSlash(folder)))
	names, err := fs.Glob(host, "*/function.json")
	if err != nil {
		return contents{}, err
	}
	for _, name := range append(names, "host.json") {
		data, err := fs.ReadFile(host, name)
		if err != nil {
			return contents{}, err
		}
		app.files = append(app.files, file{name: name, data: data})
	}
	return app, nil
}
