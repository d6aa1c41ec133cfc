// Command gateway is the Azure gateway function: a custom handler that the
// Azure Functions host starts and passes HTTP requests to.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postern-ai/postern/functions/azure/account"
	"github.com/postern-ai/postern/functions/azure/host"
	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/keyvault"
)

func main() {
	kit.Roots()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := kit.NewLog(config.Azure, os.Getenv("POSTERN_LOG_LEVEL"), os.Stdout)
	if err := run(ctx, os.Getenv, log); err != nil {
		kit.Report(log, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, getenv func(string) string, log *slog.Logger) error {
	settings, err := host.ReadSettings(getenv)
	if err != nil {
		return err
	}
	gateway, err := handler(getenv, log)
	if err != nil {
		return err
	}
	return host.Serve(ctx, settings, gateway)
}

// handler is the whole wiring of the function.
func handler(getenv func(string) string, log *slog.Logger) (http.Handler, error) {
	store, err := store(getenv)
	if err != nil {
		return nil, fmt.Errorf("POSTERN_KEY_VAULT_URL: %w", err)
	}
	events, err := account.Events(getenv, audit.NewLines(os.Stdout))
	if err != nil {
		return nil, err
	}
	return kit.Kit{
		Cloud:    config.Azure,
		Getenv:   getenv,
		Log:      log,
		Audit:    events,
		Platform: platform(getenv, log),
		Secrets: secrets.Stores{
			secrets.StoreEnv:      secrets.Environment{},
			secrets.StoreFile:     secrets.Files{},
			secrets.StoreKeyVault: store,
			secrets.StoreOwn:      store,
		},
	}.Gateway()
}

// platform reads the headers of App Service authentication, unless the platform
// says that the feature is off: then anybody could send them.
func platform(getenv func(string) string, log *slog.Logger) caller.Authenticator {
	const variable = "WEBSITE_AUTH_ENABLED"
	if strings.EqualFold(getenv(variable), "false") {
		log.Warn("App Service authentication is off, so no caller is admitted by it", slog.String("variable", variable))
		return nil
	}
	return caller.AppServiceAuthentication()
}

// store is the Key Vault of the function, and any other that a reference names,
// read as its managed identity.
func store(getenv func(string) string) (*keyvault.Reader, error) {
	identities := entra.New(entra.Options{ClientID: getenv("AZURE_CLIENT_ID"), Scope: "https://vault.azure.net/.default"})
	return keyvault.New(keyvault.Options{
		Vault: getenv("POSTERN_KEY_VAULT_URL"), Authorizer: identity.Bearer(identity.NewCache(identities, identity.CacheOptions{})),
	})
}
