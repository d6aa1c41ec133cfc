package infra_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/localdev/contract"
)

// vendors is what the clouds publish of their APIs: client libraries with their constants and Google's Discovery documents, of the versions
// that .tools/descriptions names, and the models of AWS where they are.
type vendors struct {
	modules map[string]string // folders by the modules' paths
	google  string            // the folder of Discovery documents, as package contract reads them
	loaded  map[string]*contract.Description
}

// errNoModel means that AWS's model of a service is not here.
var errNoModel = errors.New("the vendors' descriptions are not here")

func published(t *testing.T) *vendors {
	t.Helper()
	v := &vendors{modules: map[string]string{}, google: t.TempDir(), loaded: map[string]*contract.Description{}}
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "-modfile=../.tools/descriptions/go.mod").Output()
	if err != nil {
		t.Fatalf("go mod download: %v\n%s", err, out)
	}
	for modules := jsontext.NewDecoder(bytes.NewReader(out)); ; {
		var module struct{ Path, Dir string }
		if err := json.UnmarshalDecode(modules, &module); err == io.EOF {
			return v
		} else if err != nil {
			t.Fatal(err)
		}
		v.modules[module.Path] = module.Dir
	}
}

// module returns the folder of a client library by the name of its service.
func (v *vendors) module(service string) (string, bool) {
	for path, dir := range v.modules {
		if strings.Contains(path+"/", "/"+service+"/") {
			return dir, true
		}
	}
	return "", false
}

// check returns an error where a cloud does not take a value.
func (v *vendors) check(r row, value any) error {
	if dir, ok := v.module(r.service); ok {
		known, err := constants(dir, r.kind)
		if err == nil && !slices.Contains(known, fmt.Sprint(value)) {
			err = fmt.Errorf("must be one of %s, is %v", strings.Join(known, ", "), value)
		}
		return err
	}
	description, err := v.description(r.service)
	if err != nil {
		return err
	}
	data, err := json.Marshal(value)
	if text, ok := value.(string); ok && strings.Contains(r.service, "/") && !strings.Contains(r.kind, ".") {
		data, err = []byte(text), nil
	}
	if err != nil {
		return err
	}
	problems, err := description.Value(r.kind, data)
	if len(problems) > 0 {
		err = fmt.Errorf("%v", problems)
	}
	return err
}

// operations returns the names of a service's operations, of AWS.
func (v *vendors) operations(service string) ([]string, error) {
	dir, ok := v.module(service)
	if !ok {
		description, err := v.description(service)
		if err != nil {
			return nil, err
		}
		return description.Operations(), nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "api_op_*.go"))
	for i, file := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "api_op_"), ".go")
	}
	return files, err
}

// description returns a Discovery document by its API and version, such as run/v2, or the model of a service of AWS, such as iam.
func (v *vendors) description(service string) (*contract.Description, error) {
	if d := v.loaded[service]; d != nil {
		return d, nil
	}
	var d *contract.Description
	var err error
	if strings.Contains(service, "/") {
		d, err = v.discovery(service)
	} else if dir, ok := contract.Dir(); ok {
		d, err = contract.AWS(dir, service)
	} else {
		err = fmt.Errorf("%w: %s", errNoModel, dir)
	}
	if err != nil {
		return nil, err
	}
	v.loaded[service] = d
	return d, nil
}

func (v *vendors) discovery(service string) (*contract.Description, error) {
	api, version, _ := strings.Cut(service, "/")
	data, err := os.ReadFile(filepath.Join(v.modules["google.golang.org/api"], api, version, api+"-api.json"))
	if err != nil {
		return nil, err
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err = w.Write(data)
	name := api + "-" + version
	err = errors.Join(
		err, w.Close(),
		os.MkdirAll(filepath.Join(v.google, "google"), 0o755),
		os.WriteFile(filepath.Join(v.google, "google", name+".json.gz"), zipped.Bytes(), 0o644),
	)
	if err != nil {
		return nil, err
	}
	return contract.Google(v.google, name)
}

// constants returns the values of a type in a client library: of strings in those of AWS and Azure, and in Google's of numbers, whose names
// are what Terraform takes.
func constants(dir, kind string) ([]string, error) {
	var values []string
	for _, pattern := range []string{"types/enums.go", "constants.go", "apiv1/*pb/*.pb.go"} {
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			for _, declaration := range file.Decls {
				if group, ok := declaration.(*ast.GenDecl); ok && group.Tok == token.CONST {
					values = append(values, ofKind(group, kind)...)
				}
			}
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("%s has no constants of the type %s", dir, kind)
	}
	return values, nil
}

func ofKind(group *ast.GenDecl, kind string) []string {
	var values []string
	for _, spec := range group.Specs {
		spec, _ := spec.(*ast.ValueSpec)
		if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != kind {
			continue
		}
		// Of a type Instance_Mode the names are Instance_CLUSTER and the like.
		value := strings.TrimPrefix(spec.Names[0].Name, kind[:strings.LastIndex(kind, "_")+1])
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			value = strings.Trim(literal.Value, `"`)
		}
		values = append(values, value)
	}
	return values
}
