// Command pack builds the packages that infra deploys: for each cloud a zip of
// its gateway and one of its rotation function, a software bill of materials beside it, and one list of
// checksums. The same source, stamp and Go release make the same bytes,
// wherever it runs, so whoever has the source can check a package. The stamp is
// the version and the commit, which a package says that it is of; they are
// given, or come from git.
//
//	go run ./localdev/pack -out dist/package
//	go run ./localdev/pack -version v1.4.0 -commit "$(git rev-parse HEAD)"
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

	"github.com/postern-ai/postern/shared/release"
)

func main() {
	root := flag.String("root", ".", "the product's source `folder`")
	out := flag.String("out", filepath.Join("dist", "package"), "the `folder` for the packages")
	overlay := flag.String("overlay", "", "make no packages, and leave in this `folder` the overlay.json by which go build stamps a program")
	var given stamp
	flag.StringVar(&given.version, "version", "",
		"the `version` to stamp; the default is what git describe says, or "+release.Version+" where there is no history")
	flag.StringVar(&given.commit, "commit", "", "the `hash` of the commit to stamp; the default is git's HEAD, if there is one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := start(ctx, options{input: input{root: *root, stamp: given}, out: *out, packages: packages()}, *overlay); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// start completes the stamp and does what is asked for.
func start(ctx context.Context, o options, overlay string) error {
	var err error
	if o.stamp, err = o.stamp.complete(ctx, o.root); err != nil {
		return err
	}
	if overlay != "" {
		_, err := o.stamp.overlay(overlay)
		return err
	}
	// Whoever checks the sums that follow skips it.
	fmt.Println("# " + o.stamp.String())
	return run(ctx, o, os.Stdout)
}

// input is what packages are made of.
type input struct {
	root  string // the product's source
	stamp stamp
}

type options struct {
	input
	out      string // where packages go
	packages []pack
}

// pack is one package.
type pack struct {
	name  string // of its file, without .zip
	files func(ctx context.Context, in input, work string) (contents, error)
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
	c, err := p.files(ctx, o.input, work)
	if err != nil {
		return err
	}
	archive, err := compress(c.files, o.stamp.label())
	if err != nil {
		return err
	}
	sum := digest(archive)
	bill, err := billOfMaterials(subject{name: p.name, sum: sum, stamp: o.stamp}, c.modules)
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
