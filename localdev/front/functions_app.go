package front

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// app is a function app as its folder describes it: host.json, and function.json in one folder per function.
type app struct {
	root        string
	executable  string
	arguments   []string
	directory   string
	port        int
	proxying    bool
	initTimeout time.Duration
	// timeout is the function timeout; 0 for none.
	timeout   time.Duration
	functions []*function
}

// function is one function of an app.
type function struct {
	name     string
	bindings []binding
	trigger  binding
	route    route
	retry    *retry
}

// binding is an entry of function.json. Fields that only concern services which the front does not have are not read.
type binding struct {
	Type      string   `json:"type"`
	Name      string   `json:"name"`
	Direction string   `json:"direction"`
	Route     *string  `json:"route"`
	Methods   []string `json:"methods"`
	AuthLevel string   `json:"authLevel"`
}

type retry struct {
	Strategy      string `json:"strategy"`
	MaxRetryCount int    `json:"maxRetryCount"`
}

// simpleHTTP reports whether the host may pass requests of this function on as they are: with one more binding it falls
// back to the envelope, silently.
func (f *function) simpleHTTP() bool {
	in, out := 0, 0
	for _, b := range f.bindings {
		if b.Direction == "out" {
			out++
		} else {
			in++
		}
	}
	return in == 1 && f.isHTTP() && out == 1 && f.httpOutput() != ""
}

func (f *function) isHTTP() bool { return strings.EqualFold(f.trigger.Type, "httpTrigger") }

// httpOutput is the name of the binding that carries the reply; empty if there is none.
func (f *function) httpOutput() string {
	for _, b := range f.bindings {
		if b.Direction == "out" && strings.EqualFold(b.Type, "http") {
			return b.Name
		}
	}
	return ""
}

// readApp reads an app's folder. It refuses what the host would refuse, and what the host would ignore to the author's
// surprise.
func readApp(root string, settings map[string]string) (*app, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("app folder: %w", err)
	}
	a := &app{root: root, initTimeout: 30 * time.Second, timeout: 30 * time.Minute}
	prefix, err := a.readHost(settings)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(root, "host.json"), err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("app folder: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(root, e.Name(), "function.json")
		if _, err := os.Stat(path); !e.IsDir() || errors.Is(err, os.ErrNotExist) {
			continue
		}
		f, err := readFunction(path, prefix)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if f != nil {
			a.functions = append(a.functions, f)
		}
	}
	if len(a.functions) == 0 {
		return nil, fmt.Errorf("app folder %s has no function: put a function.json into a folder of its own", root)
	}
	return a, nil
}

// customHandler is the section of host.json that makes an app a custom handler:
// https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers
type customHandler struct {
	Description struct {
		DefaultExecutablePath string   `json:"defaultExecutablePath"`
		WorkingDirectory      string   `json:"workingDirectory"`
		Arguments             []string `json:"arguments"`
	} `json:"description"`
	EnableProxyingHTTPRequest   bool            `json:"enableProxyingHttpRequest"`
	EnableForwardingHTTPRequest bool            `json:"enableForwardingHttpRequest"`
	Port                        int             `json:"port"`
	InitializationTimeout       string          `json:"initializationTimeout"`
	HTTP                        json.RawMessage `json:"http"`
}

func (a *app) readHost(settings map[string]string) (prefix string, err error) {
	var host struct {
		Version         string          `json:"version"`
		FunctionTimeout string          `json:"functionTimeout"`
		CustomHandler   json.RawMessage `json:"customHandler"`
		Extensions      struct {
			HTTP struct {
				RoutePrefix *string `json:"routePrefix"`
			} `json:"http"`
		} `json:"extensions"`
	}
	if err := readJSON(filepath.Join(a.root, "host.json"), &host); err != nil {
		return "", err
	}
	if host.Version != "2.0" {
		return "", fmt.Errorf("version is %q: it must be \"2.0\"", host.Version)
	}
	if host.FunctionTimeout != "" {
		if a.timeout, err = parseTimeSpan(host.FunctionTimeout); err != nil {
			return "", fmt.Errorf("functionTimeout: %w", err)
		}
	}
	if host.CustomHandler == nil {
		return "", errors.New("customHandler is missing: the host would not start the executable")
	}
	var handler customHandler
	// The host ignores a misspelt field here, and then starts nothing or proxies nothing.
	if err := decodeStrictly(bytes.NewReader(host.CustomHandler), &handler); err != nil {
		return "", fmt.Errorf("customHandler: %w", err)
	}
	prefix = "api"
	if p := host.Extensions.HTTP.RoutePrefix; p != nil {
		prefix = strings.Trim(*p, "/")
	}
	return prefix, a.readHandler(handler, settings)
}

func (a *app) readHandler(h customHandler, settings map[string]string) error {
	switch {
	case h.Description.DefaultExecutablePath == "":
		return errors.New("customHandler.description.defaultExecutablePath is missing: name the executable in the app folder")
	case h.HTTP != nil:
		return errors.New("customHandler.http is not emulated: use enableProxyingHttpRequest and function.json, which every plan has")
	case h.EnableForwardingHTTPRequest && !h.EnableProxyingHTTPRequest:
		return errors.New("customHandler.enableForwardingHttpRequest buffers replies: use enableProxyingHttpRequest")
	}
	a.executable, a.directory = h.Description.DefaultExecutablePath, filepath.Join(a.root, h.Description.WorkingDirectory)
	if !filepath.IsAbs(a.executable) {
		a.executable = filepath.Join(a.root, a.executable)
	}
	for _, argument := range h.Description.Arguments {
		a.arguments = append(a.arguments, expandSettings(argument, settings))
	}
	a.proxying, a.port = h.EnableProxyingHTTPRequest, h.Port
	if h.InitializationTimeout != "" {
		var err error
		if a.initTimeout, err = parseTimeSpan(h.InitializationTimeout); err != nil {
			return fmt.Errorf("customHandler.initializationTimeout: %w", err)
		}
	}
	return nil
}

// expandSettings puts app settings in the place of %NAME%; an unknown name stays as it is.
func expandSettings(s string, settings map[string]string) string {
	return regexp.MustCompile(`%[^%]+%`).ReplaceAllStringFunc(s, func(name string) string {
		if value, ok := settings[strings.Trim(name, "%")]; ok {
			return value
		}
		return name
	})
}

// parseTimeSpan reads hh:mm:ss with optional days before it, or -1 for no limit, which is 0.
func parseTimeSpan(s string) (time.Duration, error) {
	if s == "-1" {
		return 0, nil
	}
	days, clock, ok := strings.Cut(s, ".")
	if !ok {
		days, clock = "0", s
	}
	parts := append([]string{days}, strings.Split(clock, ":")...)
	units := []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second}
	var total time.Duration
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(parts) != len(units) {
			return 0, fmt.Errorf("%q is not of the form hh:mm:ss", s)
		}
		total += time.Duration(n) * units[i]
	}
	return total, nil
}

// readFunction reads a function.json; the function is nil if it is disabled.
func readFunction(path, prefix string) (*function, error) {
	var d struct {
		Bindings []binding `json:"bindings"`
		Disabled bool      `json:"disabled"`
		Retry    *retry    `json:"retry"`
	}
	if err := readJSON(path, &d); err != nil {
		return nil, err
	}
	f := &function{name: filepath.Base(filepath.Dir(path)), bindings: d.Bindings, retry: d.Retry}
	if !regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,127}$`).MatchString(f.name) {
		return nil, fmt.Errorf("%q is no function name: begin with a letter, go on with letters, digits, _ and -", f.name)
	}
	triggers := 0
	for i := range f.bindings {
		b := &f.bindings[i]
		if err := b.check(); err != nil {
			return nil, fmt.Errorf("bindings[%d]: %w", i, err)
		}
		if strings.HasSuffix(strings.ToLower(b.Type), "trigger") {
			f.trigger = *b
			triggers++
		}
	}
	if triggers != 1 {
		return nil, fmt.Errorf("bindings: there are %d triggers, and there must be one", triggers)
	}
	if d.Disabled {
		return nil, nil
	}
	if !f.isHTTP() {
		return f, nil
	}
	template := f.name
	if f.trigger.Route != nil {
		template = strings.Trim(*f.trigger.Route, "/")
	}
	var err error
	f.route, err = parseRoute(strings.Trim(prefix+"/"+template, "/"))
	return f, err
}

func (b *binding) check() error {
	b.Direction = cmp.Or(strings.ToLower(b.Direction), "in")
	b.AuthLevel = cmp.Or(strings.ToLower(b.AuthLevel), "function")
	switch {
	case b.Type == "":
		return errors.New("type is missing")
	case !regexp.MustCompile(`^([A-Za-z][A-Za-z0-9]{0,127}|\$return)$`).MatchString(b.Name):
		return fmt.Errorf("name %q is no binding name: use letters and digits, or $return", b.Name)
	case b.Direction != "in" && b.Direction != "out" && b.Direction != "inout":
		return fmt.Errorf("direction %q is unknown: use in or out", b.Direction)
	case b.AuthLevel != "anonymous" && b.AuthLevel != "function" && b.AuthLevel != "admin":
		return fmt.Errorf("authLevel %q is unknown: use anonymous, function or admin", b.AuthLevel)
	}
	return nil
}

func readJSON(path string, into any) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(document, into); err != nil {
		return fmt.Errorf("not the JSON that the host reads: %w", err)
	}
	return nil
}

func decodeStrictly(r io.Reader, into any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	return d.Decode(into)
}
