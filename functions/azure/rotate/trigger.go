package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/functions/rotatekit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/ledger"
)

// function answers triggers.
type function struct {
	rotator *rotatekit.Rotator
	log     *slog.Logger
}

// maxBody bounds an invocation, in bytes.
const maxBody = 256 << 10

// routes are the functions of the app: those of the timer and of Event Grid by
// their folders' names, as the host calls them, and that of operators by its
// route, as the host passes requests on.
func (f function) routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("POST /rotate", f.trigger(f.tick))
	routes.HandleFunc("POST /nearexpiry", f.trigger(f.nearExpiry))
	routes.HandleFunc("POST /operate", f.operate)
	return routes
}

// invocation is what the host posts for a trigger that is no request.
type invocation struct {
	Data map[string]jsontext.Value
}

// outcome is what the host expects.
type outcome struct {
	Outputs     map[string]any
	Logs        []string
	ReturnValue any
}

// trigger answers a trigger. Anything but 200 has the host count the invocation
// as failed, and try again where the trigger has that.
func (f function) trigger(do func(context.Context, invocation) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in invocation
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err != nil {
			f.log.ErrorContext(r.Context(), "the host's invocation cannot be read")
			reply(w, http.StatusBadRequest, outcome{Outputs: map[string]any{}, Logs: []string{"the invocation is not JSON with Data"}})
			return
		}
		done, err := do(r.Context(), in)
		out := outcome{Outputs: map[string]any{}, Logs: []string{}, ReturnValue: done}
		status := http.StatusOK
		switch {
		case errors.Is(err, ledger.ErrHeld):
			// It is delivered once more while the first delivery is worked on.
			status = http.StatusServiceUnavailable
		case err != nil:
			f.log.ErrorContext(r.Context(), "the rotation has failed", slog.String("error", err.Error()))
			status, out.Logs = http.StatusInternalServerError, []string{err.Error()}
		}
		reply(w, status, out)
	}
}

// tick does what is due.
func (f function) tick(ctx context.Context, _ invocation) (any, error) { return f.rotator.Run(ctx) }

// notice is an event of Key Vault
// (https://learn.microsoft.com/azure/event-grid/event-schema-key-vault), in
// either of Event Grid's schemas. The samples there have a space behind a name.
type notice struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	EventType string `json:"eventType"`
	Data      struct {
		Name  string `json:"ObjectName"`
		Name_ string `json:"ObjectName "`
		Vault string `json:"VaultName"`
	} `json:"data"`
}

// nearExpiry rotates a key because its secret is about to expire.
func (f function) nearExpiry(ctx context.Context, in invocation) (any, error) {
	n, err := noticeOf(in.Data["event"])
	if err != nil {
		return nil, err
	}
	if kind := cmp.Or(n.Type, n.EventType); !strings.HasSuffix(kind, ".SecretNearExpiry") && !strings.HasSuffix(kind, ".SecretExpired") {
		return map[string]any{"taken": kind}, nil
	}
	credential, ok := f.find(n.Data.Vault, cmp.Or(n.Data.Name, n.Data.Name_))
	if !ok {
		f.log.WarnContext(ctx, "a secret is about to expire in which no key under rotation is stored")
		return map[string]any{"taken": true}, nil
	}
	var report any
	err = f.rotator.Once(ctx, n.ID, func(ctx context.Context) error {
		done, err := f.rotator.Due(ctx, credential, audit.ReasonPreExpiry)
		report = done
		return err
	})
	return report, err
}

// noticeOf reads the event, which the host makes a text, and that a text once
// more, depending on the trigger.
func noticeOf(value jsontext.Value) (notice, error) {
	for range 2 {
		var text string
		if json.Unmarshal(value, &text) == nil {
			value = jsontext.Value(text)
		}
	}
	var n notice
	if err := json.Unmarshal(value, &n); err != nil || n.ID == "" {
		return notice{}, errors.New("the event is not one of Event Grid")
	}
	return n, nil
}

// find finds the key that is stored in a secret. Only secrets that the document
// names are touched.
func (f function) find(vault, name string) (string, bool) {
	for ref, credential := range f.rotator.Credentials() {
		ofVault, ofName, named := strings.Cut(ref.Name, "/")
		if !named {
			ofVault, ofName = "", ref.Name
		}
		if name != "" && strings.EqualFold(ofName, name) && (ofVault == "" || strings.EqualFold(ofVault, vault)) {
			return credential, true
		}
	}
	return "", false
}

// operate answers a command. Who may send one is for the host's function key to
// say.
func (f function) operate(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		reply(w, http.StatusRequestEntityTooLarge, map[string]any{"error": "the request is too large, or ended early"})
		return
	}
	command, err := rotatekit.ParseCommand(body)
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	done, err := f.rotator.Do(r.Context(), command)
	if err != nil {
		f.log.ErrorContext(r.Context(), "the rotation has failed", slog.String("error", err.Error()))
		reply(w, http.StatusInternalServerError, map[string]any{"error": err.Error(), "report": done})
		return
	}
	reply(w, http.StatusOK, done)
}

func reply(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		status, text = http.StatusInternalServerError, fmt.Appendf(nil, `{"error":%q}`, "the answer cannot be written")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
