// Command rotate is the Azure rotation function: a custom handler that the
// Azure Functions host starts. A timer has it do what is due, Event Grid brings
// it Key Vault's notices, and operators send it commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/postern-ai/postern/functions/azure/account"
	"github.com/postern-ai/postern/functions/azure/host"
	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/functions/rotatekit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/keyvaultkeys"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/blob"
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
	if !settings.Proxied {
		return errors.New("host.json: enableProxyingHttpRequest has to be true, so that requests and other triggers can be told apart")
	}
	function, err := handler(getenv, log)
	if err != nil {
		return err
	}
	return host.Serve(ctx, settings, function)
}

// propagation is how long Key Vault may take to show all readers a new version.
const propagation = time.Minute

// handler is the whole wiring of the function.
func handler(getenv func(string) string, log *slog.Logger) (http.Handler, error) {
	token := func(scope string) identity.Authorizer {
		source := entra.New(entra.Options{ClientID: getenv("AZURE_CLIENT_ID"), Scope: scope})
		return identity.Bearer(identity.NewCache(source, identity.CacheOptions{}))
	}
	options := keyvault.Options{Vault: getenv("POSTERN_KEY_VAULT_URL"), Authorizer: token("https://vault.azure.net/.default")}
	reader, err := keyvault.New(options)
	if err != nil {
		return nil, fmt.Errorf("POSTERN_KEY_VAULT_URL: %w", err)
	}
	store, err := keyvault.NewStore(options)
	if err != nil {
		return nil, fmt.Errorf("POSTERN_KEY_VAULT_URL: %w", err)
	}
	book, err := container(getenv("POSTERN_LEDGER"), token("https://storage.azure.com/.default"))
	if err != nil {
		return nil, fmt.Errorf("POSTERN_LEDGER: %w", err)
	}
	events, err := account.Events(getenv, audit.NewLines(os.Stdout))
	if err != nil {
		return nil, err
	}
	var sign audit.Signer
	if key := getenv("POSTERN_AUDIT_KEY"); key != "" {
		if sign, err = keyvaultkeys.New(keyvaultkeys.Options{Key: key, Authorizer: options.Authorizer}); err != nil {
			return nil, fmt.Errorf("POSTERN_AUDIT_KEY: %w", err)
		}
	}
	rotator, err := rotatekit.New(rotatekit.Kit{
		Cloud: config.Azure, Getenv: getenv, Log: log,
		Secrets: secrets.Stores{
			secrets.StoreEnv: secrets.Environment{}, secrets.StoreFile: secrets.Files{}, secrets.StoreKeyVault: reader, secrets.StoreOwn: reader,
		},
		Store: store, StoreName: secrets.StoreKeyVault, Propagation: propagation, Ledger: book, Audit: events, Sign: sign,
	})
	if err != nil {
		return nil, err
	}
	return function{rotator: rotator, log: log}.routes(), nil
}

// container is the ledger at an address such as
// https://ACCOUNT.blob.core.windows.net/CONTAINER.
func container(address string, own ledger.Authorizer) (ledger.Ledger, error) {
	parsed, err := url.Parse(address)
	name := ""
	if err == nil {
		name = strings.Trim(parsed.Path, "/")
	}
	if name == "" || strings.Contains(name, "/") {
		return nil, errors.New("give the container that holds the state of rotations, as https://ACCOUNT.blob.core.windows.net/CONTAINER")
	}
	parsed.Path = ""
	book, err := blob.New(blob.Options{Account: parsed.String(), Container: name, Authorizer: own})
	if err != nil {
		return nil, err
	}
	return book, nil
}
