package main

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/functions/rotatekit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

// none is a store that nothing is asked of.
type none struct{ secrets.Store }

// closed is a ledger where nothing is allowed, and which knows how often it was
// asked.
type closed struct{ asked *atomic.Int32 }

func (c closed) refuse(key string) error {
	c.asked.Add(1)
	return &ledger.Error{Key: key, Reason: "nothing is allowed here"}
}

func (c closed) Read(_ context.Context, key string) (ledger.Entry, error) {
	return ledger.Entry{}, c.refuse(key)
}

func (c closed) Write(_ context.Context, key string, _ ledger.Entry) (string, error) {
	return "", c.refuse(key)
}

func (c closed) Remove(_ context.Context, key string, _ ledger.Entry) error { return c.refuse(key) }

// TestTheAppTakesWhatStartsIt has every sample of what the host posts understood:
// the app goes on to its ledger, where nothing is allowed here.
func TestTheAppTakesWhatStartsIt(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	env := map[string]string{
		"POSTERN_CONFIG": `{platform_callers: true, upstreams: [{provider: openai, auth_type: api_key, credential_ref: openai}],` +
			` rotation: {keys: [{upstream: openai, admin_ref: openai-admin, project_id: proj_1}]}}`,
		"POSTERN_PLATFORM_IAM": "true",
	}
	rotator, err := rotatekit.New(rotatekit.Kit{
		Cloud: config.Azure, Getenv: func(name string) string { return env[name] }, Log: slog.New(slog.DiscardHandler),
		Secrets: secrets.Stores{secrets.StoreOwn: secrets.Environment{}}, Store: none{}, StoreName: secrets.StoreKeyVault,
		Ledger: &ledger.Book{Store: closed{&asked}}, Audit: audit.NewLines(&bytes.Buffer{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	app := function{rotator: rotator, log: slog.New(slog.DiscardHandler)}.routes()
	names, err := fs.Glob(events.Files(), "azure/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d samples: %v", len(names), err)
	}
	for _, name := range names {
		body, err := fs.ReadFile(events.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		path := "/operate"
		switch {
		case name == "azure/schedule.json":
			path = "/rotate"
		case strings.HasPrefix(name, "azure/keyvault-"):
			path = "/nearexpiry"
		}
		before := asked.Load()
		w := httptest.NewRecorder()
		app.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body)))
		if w.Code == http.StatusBadRequest || asked.Load() == before {
			t.Errorf("%s: the app has not gone on to its ledger: %d %s", name, w.Code, w.Body)
		}
	}
}
