// Command pack builds the packages that infra deploys: for each cloud a zip of
// its gateway and one of its rotation function, a software bill of materials beside it, and one list of
// checksums. The same source and the same Go release make the same bytes,
// wherever it runs, so whoever has the source can check a package.
//
//	go run ./localdev/pack -out dist/package
//
// It must not know how a package is deployed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "the product's source `folder`")
	out := flag.String("out", filepath.Join("dist", "package"), "the `folder` for the packages")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, options{root: *root, out: *out, packages: packages()}, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	root     string // the product's source
	out      string // where packages go
	packages []pack
}

// pack is one package.
type pack struct {
	name  string // of its file, without .zip
	files func(ctx context.Context, root, work string) (contents, error)
}

// contents is what goes into a package.
type contents struct {
	files   []file
	modules []module // that are part of it
}

// packages lists them all.
func packages() []pack {
	var all []pack
	for _, name := range []string{"gateway", "rotate"} { // each cloud has both
		all = append(all,
			pack{name + "-aws-arm64", lambda{function: name, goarch: "arm64"}.files},
			pack{name + "-aws-amd64", lambda{function: name, goarch: "amd64"}.files},
			pack{name + "-gcp", source(name).files},
			pack{name + "-azure-amd64", customHandler(name).files},
		)
	}
	return all
}

// run writes the packages, and prints a line for each as sha256sum does.
func run(ctx context.Context, o options, out io.Writer) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	sums, err := os.Create(filepath.Join(o.out, "SHA256SUMS"))
	if err != nil {
		return err
	}
	defer func() { _ = sums.Close() }()
	both := io.MultiWriter(sums, out)
	for _, p := range o.packages {
		if err := one(ctx, o, p, both); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return sums.Close()
}

// one writes a package and its bill of materials.
func one(ctx context.Context, o options, p pack, sums io.Writer) error {
	work, err := os.MkdirTemp("", "pack")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	c, err := p.files(ctx, o.root, work)
	if err != nil {
		return err
	}
	archive, err := compress(c.files)
	if err != nil {
		return err
	}
	sum := digest(archive)
	bill, err := billOfMaterials(subject{name: p.name, sum: sum}, c.modules)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{p.name + ".zip": archive, p.name + ".cdx.json": bill} {
		if err := os.WriteFile(filepath.Join(o.out, name), data, 0o644); err != nil {
			return err
		}
	}
	for _, line := range []string{sum + "  " + p.name + ".zip", digest(bill) + "  " + p.name + ".cdx.json"} {
		if _, err := fmt.Fprintln(sums, line); err != nil {
			return err
		}
	}
	return nil
}
