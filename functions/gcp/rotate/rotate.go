// Package rotate is the Google Cloud rotation function. [Rotate] is the entry
// point that the functions framework serves: Cloud Scheduler calls it with a
// command, operators do, and Pub/Sub pushes Secret Manager's notices to it. Who
// may call it is for the platform's invoker check to say.
package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/functions/gcp/account"
	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/functions/rotatekit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/cloudkms"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/googleid"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/gcs"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/gcpsecrets"
)

// Rotate serves one request. The first one builds the rotator, which asks the
// metadata server for the project where the environment does not say it.
func Rotate(w http.ResponseWriter, r *http.Request) { instance.ServeHTTP(w, r) }

// instance is the one thing of the package that is kept between requests: the
// framework calls a plain function, which has nowhere else to keep it.
var instance = &function{getenv: os.Getenv, log: kit.NewLog(config.GCP, os.Getenv("POSTERN_LOG_LEVEL"), os.Stdout)}

type function struct {
	getenv func(string) string
	log    *slog.Logger

	mu      sync.Mutex
	rotator *rotatekit.Rotator
}

// propagation is how long Secret Manager may take to show all readers a moved
// alias: "usually minutes, may be hours"
// (https://cloud.google.com/secret-manager/docs/reference/consistency).
const propagation = 3 * time.Hour

// maxBody bounds a request, in bytes: that of Pub/Sub holds a notice of a secret.
const maxBody = 64 << 10

func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if caught := recover(); caught != nil {
			f.log.ErrorContext(r.Context(), "the rotation function has panicked", slog.String("panic", fmt.Sprintf("%T", caught)))
			reply(w, http.StatusInternalServerError, "internal error; the log says more")
		}
	}()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		reply(w, http.StatusMethodNotAllowed, "send a command by POST")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		reply(w, http.StatusRequestEntityTooLarge, "the request is larger than 64 KiB, or ended early")
		return
	}
	rotator, err := f.open(r.Context())
	if err != nil {
		kit.Report(f.log, err)
		reply(w, http.StatusInternalServerError, "the function's configuration is not valid; its log says what is wrong")
		return
	}
	done, err := f.do(r.Context(), rotator, body)
	switch {
	case errors.Is(err, rotatekit.ErrCommand):
		reply(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ledger.ErrHeld):
		// It is delivered once more while the first delivery is worked on.
		reply(w, http.StatusServiceUnavailable, "the notice is being acted upon; send it again later")
	case err != nil:
		f.log.ErrorContext(r.Context(), "the rotation has failed", slog.String("error", err.Error()))
		reply(w, http.StatusInternalServerError, err.Error())
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.MarshalWrite(w, done)
	}
}

// reply tells the operator, or whoever reads the scheduler's log, what went
// wrong. Errors of a rotation have no secrets in them.
func reply(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, map[string]any{"error": message})
}

// open returns the rotator, and builds it if there is none yet.
func (f *function) open(ctx context.Context) (*rotatekit.Rotator, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rotator != nil {
		return f.rotator, nil
	}
	rotator, err := f.build(ctx)
	f.rotator = rotator
	return rotator, err
}

// build is the whole wiring of the function.
func (f *function) build(ctx context.Context) (*rotatekit.Rotator, error) {
	metadata := googleid.New(googleid.Options{Getenv: f.getenv})
	project := f.getenv("GOOGLE_CLOUD_PROJECT")
	if project == "" {
		var err error
		if project, err = metadata.ProjectID(ctx); err != nil {
			return nil, fmt.Errorf("the project is not known; set GOOGLE_CLOUD_PROJECT: %w", err)
		}
	}
	own := identity.Bearer(identity.NewCache(metadata, identity.CacheOptions{}))
	options := gcpsecrets.Options{Project: project, Authorizer: own, Endpoint: f.getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER")}
	reader, err := gcpsecrets.New(options)
	if err != nil {
		return nil, fmt.Errorf("secrets of Google Secret Manager: %w", err)
	}
	store, err := gcpsecrets.NewStore(options)
	if err != nil {
		return nil, fmt.Errorf("secrets of Google Secret Manager: %w", err)
	}
	bucket, ok := strings.CutPrefix(strings.TrimSuffix(f.getenv("POSTERN_LEDGER"), "/"), "gs://")
	if !ok {
		return nil, errors.New("POSTERN_LEDGER is not set to gs://BUCKET, the bucket that holds the state of rotations")
	}
	book, err := gcs.New(gcs.Options{Bucket: bucket, Authorizer: own, Endpoint: f.getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE")})
	if err != nil {
		return nil, fmt.Errorf("POSTERN_LEDGER: %w", err)
	}
	events, err := account.Events(f.getenv, audit.NewLines(os.Stdout))
	if err != nil {
		return nil, err
	}
	var sign audit.Signer
	if key := f.getenv("POSTERN_AUDIT_KEY"); key != "" {
		if sign, err = cloudkms.New(cloudkms.Options{Key: key, Authorizer: own, Endpoint: f.getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS")}); err != nil {
			return nil, fmt.Errorf("POSTERN_AUDIT_KEY: %w", err)
		}
	}
	return rotatekit.New(rotatekit.Kit{
		Cloud: config.GCP, Getenv: f.getenv, Log: f.log,
		Secrets: secrets.Stores{
			secrets.StoreEnv: secrets.Environment{}, secrets.StoreFile: secrets.Files{}, secrets.StoreGCP: reader, secrets.StoreOwn: reader,
		},
		Store: store, StoreName: secrets.StoreGCP, Propagation: propagation, Ledger: book, Audit: events, Sign: sign,
	})
}

// push is what Pub/Sub posts to a subscription's endpoint
// (https://cloud.google.com/pubsub/docs/push#receive_push).
type push struct {
	Message struct {
		Attributes map[string]string `json:"attributes"`
		MessageID  string            `json:"messageId"`
	} `json:"message"`
	Subscription string `json:"subscription"`
}

// do does what a request asks for: a command, or a notice of Secret Manager.
func (f *function) do(ctx context.Context, rotator *rotatekit.Rotator, body []byte) (any, error) {
	var p push
	if json.Unmarshal(body, &p) != nil || p.Subscription == "" {
		command, err := rotatekit.ParseCommand(body)
		if err != nil {
			return nil, err
		}
		return rotator.Do(ctx, command)
	}
	return f.notice(ctx, rotator, p)
}

// notice rotates a key because Secret Manager says that it is time. Other
// notices, which come by the same topic, are taken and not acted upon: a refused
// one would come again and again.
func (f *function) notice(ctx context.Context, rotator *rotatekit.Rotator, p push) (any, error) {
	kind, id := p.Message.Attributes["eventType"], p.Message.Attributes["secretId"]
	taken := map[string]any{"taken": kind}
	if kind != "SECRET_ROTATE" {
		return taken, nil
	}
	name, ok := find(rotator, id)
	if !ok {
		f.log.WarnContext(ctx, "Secret Manager wants a secret rotated in which no key under rotation is stored")
		return taken, nil
	}
	var report any = taken
	// A notice may come in more than one message.
	event := id + " " + cmp.Or(p.Message.Attributes["timestamp"], p.Message.MessageID)
	err := rotator.Once(ctx, event, func(ctx context.Context) error {
		done, err := rotator.Due(ctx, name, audit.ReasonScheduled)
		report = done
		return err
	})
	return report, err
}

// find finds the key that is stored in a secret, by the secret's full name,
// which has the number of its project. Only secrets that the document names are
// touched.
func find(rotator *rotatekit.Rotator, id string) (string, bool) {
	short := id[strings.LastIndexByte(id, '/')+1:]
	for ref, name := range rotator.Credentials() {
		if ref.Name[strings.LastIndexByte(ref.Name, '/')+1:] == short && short != "" {
			return name, true
		}
	}
	return "", false
}
