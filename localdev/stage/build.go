package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binary is a function's program: its package below the module and the name
// that its platform expects.
type Binary struct{ Package, Name string }

// Binaries are the gateway functions by cloud.
func Binaries() map[string]Binary {
	return map[string]Binary{
		AWS:   {"functions/aws/gateway", "bootstrap"},
		GCP:   {"functions/gcp/gateway/server", "server"},
		Azure: {"functions/azure/gateway", "handler"},
	}
}

// Rotations are the rotation functions by cloud.
func Rotations() map[string]Binary {
	return map[string]Binary{
		AWS:   {"functions/aws/rotate", "bootstrap"},
		GCP:   {"functions/gcp/rotate/server", "server"},
		Azure: {"functions/azure/rotate", "handler"},
	}
}

// Build compiles a program as it is deployed, but for this machine, and
// returns where it is. Dir must be inside the module.
func Build(ctx context.Context, dir, out string, b Binary) (string, error) {
	path := filepath.Join(out, filepath.FromSlash(b.Package), b.Name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags=lambda.norpc", "-ldflags=-s -w", "-o", path, "./"+b.Package)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", b.Package, err, said.Bytes())
	}
	return path, nil
}

// Root returns the folder of the module that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod here or above: run this inside the checkout")
		}
		dir = parent
	}
}
