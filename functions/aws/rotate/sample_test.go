package main

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-ai/postern/events"
	"github.com/postern-ai/postern/functions/rotatekit"
)

// TestTheFunctionTakesWhatStartsIt has every sample of an event understood: the
// function goes on to its ledger or its store, where nothing is allowed here.
func TestTheFunctionTakesWhatStartsIt(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"AccessDeniedException","message":"no"}`))
	}))
	defer aws.Close()
	env := map[string]string{
		"POSTERN_CONFIG": `{platform_callers: true, upstreams: [{provider: openai, auth_type: api_key, credential_ref: openai}],` +
			` rotation: {keys: [{upstream: openai, admin_ref: openai-admin, project_id: proj_1}]}}`,
		"POSTERN_LEDGER": "postern-rotation", "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": aws.URL, "AWS_ENDPOINT_URL_DYNAMODB": aws.URL,
	}
	made, err := handler(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	invoke, ok := made.(func(context.Context, stdjson.RawMessage) (any, error))
	if !ok {
		t.Fatalf("Lambda cannot call a %T", made)
	}
	names, err := fs.Glob(events.Files(), "aws/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		payload, err := fs.ReadFile(events.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		before := asked.Load()
		_, err = invoke(t.Context(), payload)
		// Those are the gateway's.
		gateways := strings.HasPrefix(name, "aws/url-") || strings.HasSuffix(name, "-certificate.json") || name == "aws/doctor.json"
		if refused := errors.Is(err, rotatekit.ErrCommand); refused != gateways {
			t.Errorf("%s: %v", name, err)
		}
		if went := asked.Load() > before; went == gateways {
			t.Errorf("%s: the function has asked its ledger or its store: %v", name, went)
		}
	}
}
