package secrets_test

import (
	"bytes"
	"encoding/gob"
	stdjson "encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/postern-ai/postern/shared/secrets"
)

const canary = "canary-7f3a9c"

// hidden carries a secret where fmt may not call its methods.
type hidden struct{ key secrets.Value }

// leaks reports whether the canary appears in the text in any spelling that a verb can give it.
func leaks(text string) bool {
	for _, spelling := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("% x", canary),
		strings.Trim(fmt.Sprint([]byte(canary)), "[]"), fmt.Sprintf("%#v", []byte(canary))} {
		if strings.Contains(text, spelling) {
			return true
		}
	}
	return false
}

func TestAValueNeverPrintsItself(t *testing.T) {
	t.Parallel()
	value := secrets.NewValue(canary)
	holders := map[string]any{
		"the value":                      value,
		"a pointer to it":                &value,
		"an unexported field":            hidden{value},
		"a pointer to a struct":          &hidden{value},
		"an exported field":              struct{ Key secrets.Value }{value},
		"a slice":                        []secrets.Value{value},
		"a map":                          map[string]hidden{"k": {value}},
		"an interface":                   []any{value, hidden{value}},
		"an error that wraps its holder": fmt.Errorf("oh: %w, %v", io.EOF, hidden{value}),
	}
	for name, holder := range holders {
		for _, verb := range "vsdxXqtbcoOUeEfFgGpTwz" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "20", ".3"} {
				format := "%" + flags + string(verb)
				if text := fmt.Sprintf(format, holder); leaks(text) {
					t.Errorf("%s as %s prints %q", name, format, text)
				}
			}
		}
		if text := fmt.Sprint(holder) + fmt.Sprintln(holder); leaks(text) {
			t.Errorf("%s prints %q", name, text)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", holder, slog.Group("g", "k", holder))
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", holder, slog.Group("g", "k", holder))
		if leaks(log.String()) {
			t.Errorf("%s is logged as %s", name, log.String())
		}
	}
	if got := value.String() + value.GoString() + fmt.Sprint(value); leaks(got) || !strings.Contains(got, "[secret]") {
		t.Errorf("got %q", got)
	}
}

func TestAValueCannotBeEncoded(t *testing.T) {
	t.Parallel()
	holder := struct{ Key secrets.Value }{secrets.NewValue(canary)}
	encoders := map[string]func() ([]byte, error){
		"encoding/json":  func() ([]byte, error) { return stdjson.Marshal(holder) },
		"json v2":        func() ([]byte, error) { return json.Marshal(holder) },
		"a JSON map key": func() ([]byte, error) { return stdjson.Marshal(map[string]any{"k": holder.Key}) },
		"xml":            func() ([]byte, error) { return xml.Marshal(holder) },
		"yaml":           func() ([]byte, error) { return yaml.Marshal(holder) },
		"gob": func() ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(holder)
			return b.Bytes(), err
		},
		"the value itself": func() ([]byte, error) { return holder.Key.MarshalText() },
	}
	for name, encode := range encoders {
		text, err := encode()
		if err == nil || leaks(string(text)) || leaks(err.Error()) {
			t.Errorf("%s gives %q and error %v", name, text, err)
		}
	}
}

func TestValuesAreComparedByTheirText(t *testing.T) {
	t.Parallel()
	one, same, other, none := secrets.NewValue("a"), secrets.NewValue("a"), secrets.NewValue("b"), secrets.NewValue("")
	if !one.Equal(same) || one.Equal(other) || one.Equal(none) || !none.Equal(secrets.Value{}) {
		t.Error("Equal is wrong")
	}
	if one.Reveal() != "a" || none.Reveal() != "" || !none.IsZero() || one.IsZero() {
		t.Error("Reveal or IsZero is wrong")
	}
	if diff := cmp.Diff(one, other); leaks(diff) {
		t.Errorf("cmp shows %s", diff)
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	_, err := secrets.Environment{Lookup: func(string) (string, bool) { return "", false }}.Read(t.Context(), secrets.Ref{Store: secrets.StoreEnv, Name: "X"})
	var readError *secrets.Error
	if !errors.Is(err, secrets.ErrNotFound) || !errors.As(err, &readError) || readError.Ref.Name != "X" {
		t.Errorf("got %v", err)
	}
}
