// Command gateway is the AWS gateway function: a provided.al2023 binary behind
// a Lambda function URL, an API Gateway HTTP API or an Application Load Balancer.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/postern-ai/postern/functions/aws/account"
	"github.com/postern-ai/postern/functions/aws/stream"
	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/awssecrets"
)

func main() {
	kit.Roots()
	log := kit.NewLog(config.AWS, os.Getenv("AWS_LAMBDA_LOG_LEVEL"), os.Stdout)
	handle, err := handler(os.Getenv, log)
	if err == nil && os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		err = fmt.Errorf("AWS_LAMBDA_RUNTIME_API is not set: this program is started by Lambda, which sets it; locally, use `make run`")
	}
	if err != nil {
		kit.Report(log, err)
		os.Exit(1)
	}
	lambda.Start(handle)
}

// handler is the whole wiring of the function.
func handler(getenv func(string) string, log *slog.Logger) (any, error) {
	mode, err := stream.ParseMode(getenv("POSTERN_INVOKE_MODE"))
	if err != nil {
		return nil, fmt.Errorf("POSTERN_INVOKE_MODE: %w", err)
	}
	store, err := store(getenv)
	if err != nil {
		return nil, fmt.Errorf("AWS Secrets Manager: %w", err)
	}
	events, err := account.Events(getenv, audit.NewLines(os.Stdout))
	if err != nil {
		return nil, err
	}
	k := kit.Kit{
		Cloud:       config.AWS,
		Getenv:      getenv,
		Log:         log,
		Audit:       events,
		Platform:    caller.Lambda(admitted),
		Certificate: func(r *http.Request) (string, bool) { return stream.ClientCertificate(r.Context()) },
		Balanced:    func(r *http.Request) bool { return stream.Balanced(r.Context()) },
		Secrets: secrets.Stores{
			secrets.StoreEnv:  secrets.Environment{},
			secrets.StoreFile: secrets.Files{},
			secrets.StoreAWS:  store,
			secrets.StoreOwn:  store,
		},
	}
	gateway, err := k.Gateway()
	if err != nil {
		return nil, err
	}
	return stream.Handler(named(gateway), stream.Options{Mode: mode, Log: log, Direct: direct(k)}), nil
}

// direct answers those who may invoke the function itself, past its front door:
// lambda:InvokeFunction is an operator's permission.
func direct(k kit.Kit) func(context.Context, string) (any, error) {
	return func(ctx context.Context, name string) (any, error) {
		if name != "doctor" {
			return nil, fmt.Errorf("this function knows no %q; a direct invocation has the payload {\"postern\":\"doctor\"}", name)
		}
		return k.Doctor(ctx)
	}
}

// store is Secrets Manager in the function's region, read as its role.
func store(getenv func(string) string) (*awssecrets.Reader, error) {
	return awssecrets.New(awssecrets.Options{
		Region:      cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
		Credentials: sigv4.NewProvider(sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: getenv})),
		Endpoint:    getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
	})
}

// admitted returns the principal whose signature the function URL has checked.
// It comes with the invocation, where no header can reach it.
func admitted(r *http.Request) (arn string, ok bool) {
	c, ok := stream.IAMCaller(r.Context())
	return c.UserARN, ok
}

// named gives a request the id that Lambda writes into its own log lines.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, ok := stream.RequestID(r.Context()); ok {
			r.Header.Set("X-Request-Id", id)
		}
		next.ServeHTTP(w, r)
	})
}
