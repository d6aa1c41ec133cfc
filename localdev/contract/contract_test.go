package contract_test

import (
	"bytes"
	"flag"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/postern-ai/postern/localdev/contract"
)

var update = flag.Bool("update", false, "write the problems that were found into the cases")

// descriptions loads each description once for all tests.
var descriptions = map[string]func() (*contract.Description, error){
	"openai": sync.OnceValues(func() (*contract.Description, error) { return contract.OpenAI(folder()) }),
	"vertex": discovery("aiplatform-v1"),
	"gcs":    discovery("storage-v1"),

	"bedrock":        awsModel("bedrock-runtime"),
	"secretsmanager": awsModel("secretsmanager"),
	"sts":            awsModel("sts"),
	"sqs":            awsModel("sqs"),
}

func folder() string {
	dir, _ := contract.Dir()
	return dir
}

func discovery(api string) func() (*contract.Description, error) {
	return sync.OnceValues(func() (*contract.Description, error) { return contract.Google(folder(), api) })
}

func awsModel(service string) func() (*contract.Description, error) {
	return sync.OnceValues(func() (*contract.Description, error) { return contract.AWS(folder(), service) })
}

func description(t *testing.T, name string) *contract.Description {
	t.Helper()
	if dir, ok := contract.Dir(); !ok {
		t.Skipf("the vendors' API descriptions are not at %s, so nothing was checked against them", dir)
	}
	base, variant, _ := strings.Cut(name, "-")
	d, err := descriptions[base]()
	if err != nil {
		t.Fatal(err)
	}
	switch variant {
	case "azure-v1":
		d = d.With(contract.AzureV1())
	case "azure-deployments":
		d = d.With(contract.AzureDeployments())
	}
	return d
}

// TestCases runs testdata/<description>/<case>.txtar: a request, perhaps the
// reply or its events, and the problems that are due.
func TestCases(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir("testdata", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".txtar" {
			return err
		}
		name := filepath.Base(filepath.Dir(file))
		t.Run(name+"/"+strings.TrimSuffix(entry.Name(), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runCase(t, description(t, name), file)
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func runCase(t *testing.T, d *contract.Description, file string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var exchange *contract.Exchange
	var got, want []string
	note := func(problems []contract.Problem) {
		for _, p := range problems {
			line := p.Path + " " + p.Text
			if p.Unknown {
				line = "unknown: " + line
			}
			got = append(got, line)
		}
	}
	for _, part := range archive.Files {
		kind, argument, _ := strings.Cut(part.Name, " ")
		start, header, body := parse(t, part.Data)
		switch kind {
		case "request":
			target, err := url.ParseRequestURI(start[1])
			if err != nil {
				t.Fatal(err)
			}
			var problems []contract.Problem
			exchange, problems = d.Request(contract.Request{
				Method: start[0], Path: target.EscapedPath(), Query: target.Query(), Header: header, Body: body,
			})
			note(problems)
		case "response":
			status, err := strconv.Atoi(start[0])
			if err != nil {
				t.Fatal(err)
			}
			note(exchange.Response(contract.Response{Status: status, Header: header, Body: body}))
		case "event":
			note(exchange.Event(contract.Event{Type: argument, Data: bytes.TrimSpace(part.Data)}))
		case "problems":
			want = strings.Split(strings.TrimSuffix(string(part.Data), "\n"), "\n")
		default:
			t.Fatalf("%s: unknown section %q", file, part.Name)
		}
	}
	if *update {
		archive.Files[len(archive.Files)-1].Data = []byte(strings.Join(got, "\n"))
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(want) == 1 && want[0] == "" {
		want = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// parse reads a start line, headers and a body. Of an event there is only a body,
// and the caller does not look at the rest.
func parse(t *testing.T, data []byte) (start []string, header http.Header, body []byte) {
	t.Helper()
	head, body, _ := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(strings.TrimSpace(string(head)), "\n")
	header = http.Header{}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	return strings.Fields(lines[0]), header, bytes.TrimSpace(body)
}
