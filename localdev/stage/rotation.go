package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/localdev/fake/secretsmanager"
	"github.com/postern-ai/postern/localdev/front"
	"github.com/postern-ai/postern/shared/audit"
)

// Rotation is the rotation function of one cloud. It is safe for concurrent use.
type Rotation struct {
	lambda *front.Lambda
	run    *front.CloudRun
	app    *front.Functions
	// address is where operators send their commands, on Google Cloud and Azure.
	address string
}

// RefusedError is what a rotation function has answered in place of a report.
type RefusedError struct{ Text string }

// Error quotes the answer.
func (e *RefusedError) Error() string { return "the rotation function answers: " + e.Text }

// masterKey opens the functions of the app on Azure that are for operators. It
// is not secret: it opens nothing outside this machine.
const masterKey = "local-master-key"

// later returns what starts the rotation function of each cloud when it is first
// needed: most runs never rotate anything.
func (s *Stage) later(ctx context.Context) map[string]func() (*Rotation, error) {
	all := map[string]func() (*Rotation, error){}
	for cloud, b := range Rotations() {
		all[cloud] = sync.OnceValues(func() (*Rotation, error) {
			path, err := s.program(ctx, b)
			if err != nil {
				return nil, err
			}
			return s.launchRotation(ctx, cloud, path)
		})
	}
	return all
}

func (s *Stage) launchRotation(ctx context.Context, cloud, path string) (*Rotation, error) {
	r := &Rotation{address: s.operators[cloud]}
	var stop func() error
	var err error
	switch cloud {
	case AWS:
		r.lambda, err = front.StartLambda(ctx, front.LambdaOptions{
			Binary: path, Name: "rotate-aws", Region: Region, AccountID: "123456789012",
			Env: s.rotationEnv(cloud), Timeout: 5 * time.Minute, Output: s.o.Output,
		})
		if err == nil {
			stop = r.lambda.Close
		}
	case GCP:
		r.run, err = front.StartCloudRun(ctx, front.CloudRunOptions{
			Binary: path, Service: "rotate-gcp", Target: "Rotate", Env: s.rotationEnv(cloud), Output: s.o.Output,
		})
		if err == nil {
			stop = r.run.Close
		}
	case Azure:
		var root string
		if root, err = Root(); err != nil {
			return nil, err
		}
		r.app, err = front.StartFunctions(ctx, front.FunctionsOptions{
			Root: filepath.Join(root, "functions", "azure", "rotate"), Executable: path, Name: "rotate-azure",
			Env: s.rotationEnv(cloud), MasterKey: masterKey, Output: s.o.Output,
		})
		if err == nil {
			stop = r.app.Close
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start the rotation function on %s: %w", cloud, err)
	}
	s.onClose(func() { _ = stop() })
	return r, nil
}

// Rotation returns the rotation function of a cloud, and starts it if it does
// not run yet.
func (s *Stage) Rotation(cloud string) (*Rotation, error) {
	start, ok := s.rotations[cloud]
	if !ok {
		return nil, fmt.Errorf("there is no cloud %q: there are %v", cloud, Clouds())
	}
	return start()
}

// rotationDoor is where a cloud's rotation function listens for requests, from
// before it is started.
func (s *Stage) rotationDoor(cloud string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rotation, err := s.Rotation(cloud)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case rotation.run != nil:
			rotation.run.ServeHTTP(w, r)
		default:
			rotation.app.ServeHTTP(w, r)
		}
	})
}

// Tick does what the schedule does, and returns the report.
func (r *Rotation) Tick(ctx context.Context) ([]byte, error) {
	if r.app != nil {
		return r.fire(ctx, "rotate", []byte(`{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}`))
	}
	return r.Operate(ctx, []byte(`{"postern":"rotate"}`))
}

// Operate sends a command in the way of operators, and returns the report.
func (r *Rotation) Operate(ctx context.Context, command []byte) ([]byte, error) {
	if r.lambda == nil {
		return r.send(ctx, command)
	}
	reply, failure, err := r.lambda.Invoke(ctx, command)
	if err == nil && failure != "" {
		err = &RefusedError{Text: string(reply)}
	}
	return reply, err
}

// Notice brings the function a notice of the secret store: a push of Pub/Sub, or
// an event of Event Grid. Secrets Manager has none: it rotates by itself.
func (r *Rotation) Notice(ctx context.Context, notice []byte) ([]byte, error) {
	switch {
	case r.run != nil:
		return r.send(ctx, notice)
	case r.app != nil:
		return r.fire(ctx, "nearexpiry", notice)
	}
	return nil, errors.New("on AWS the secret store sends no notices")
}

// fire invokes a function of the app that has a trigger.
func (r *Rotation) fire(ctx context.Context, name string, data []byte) ([]byte, error) {
	result, err := r.app.Fire(ctx, name, data)
	if err != nil {
		return nil, &RefusedError{Text: err.Error()}
	}
	return result.ReturnValue, nil
}

// maxReport bounds a report, in bytes.
const maxReport = 1 << 20

// send posts to the function's address.
func (r *Rotation) send(ctx context.Context, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if r.app != nil {
		request.Header.Set("X-Functions-Key", masterKey)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReport))
	if err == nil && response.StatusCode != http.StatusOK {
		err = &RefusedError{Text: fmt.Sprintf("%s: %s", response.Status, text)}
	}
	return text, err
}

// rotateStep is how Secrets Manager invokes the function.
func (s *Stage) rotateStep(ctx context.Context, event secretsmanager.Event) error {
	r, err := s.Rotation(AWS)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return err
	}
	_, err = r.Operate(ctx, payload)
	return err
}

// Events returns the audit events that the buses have accepted, the oldest
// first.
func (s *Stage) Events() []audit.Event {
	buses := &s.services.stores
	all := slices.Concat(buses.eventBridge.Events(), buses.pubSub.Events(), buses.eventGrid.Events())
	slices.SortStableFunc(all, func(a, b audit.Event) int { return a.Time.Compare(b.Time) })
	return all
}
