// Command rotate is the AWS rotation function: a provided.al2023 binary that
// EventBridge Scheduler invokes, and Secrets Manager for the secrets whose own
// rotation is turned on.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/postern-ai/postern/functions/aws/account"
	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/functions/rotatekit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/audit/awskms"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/ledger/dynamodb"
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

// propagation is how long Secrets Manager may take to show all readers a moved
// label.
const propagation = time.Minute

// handler is the whole wiring of the function.
func handler(getenv func(string) string, log *slog.Logger) (any, error) {
	region := cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION"))
	// The role's credentials are good for everything that the function does in
	// its own account.
	own := sigv4.NewIdentity(sigv4.IdentityOptions{Getenv: getenv})
	role := sigv4.NewProvider(own)
	options := awssecrets.Options{Region: region, Credentials: role, Endpoint: getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")}
	reader, err := awssecrets.New(options)
	if err != nil {
		return nil, fmt.Errorf("AWS Secrets Manager: %w", err)
	}
	store, err := awssecrets.NewStore(options)
	if err != nil {
		return nil, fmt.Errorf("AWS Secrets Manager: %w", err)
	}
	table := getenv("POSTERN_LEDGER")
	if table == "" {
		return nil, errors.New("POSTERN_LEDGER is not set: give the name of the DynamoDB table that holds the state of rotations")
	}
	book, err := dynamodb.New(dynamodb.Options{Table: table, Region: region, Credentials: role, Endpoint: getenv("AWS_ENDPOINT_URL_DYNAMODB")})
	if err != nil {
		return nil, fmt.Errorf("POSTERN_LEDGER: %w", err)
	}
	events, err := account.Events(getenv, audit.NewLines(os.Stdout))
	if err != nil {
		return nil, err
	}
	sign, err := signer(getenv, own)
	if err != nil {
		return nil, fmt.Errorf("POSTERN_AUDIT_KEY: %w", err)
	}
	rotator, err := rotatekit.New(rotatekit.Kit{
		Cloud: config.AWS, Getenv: getenv, Log: log,
		Secrets: secrets.Stores{
			secrets.StoreEnv: secrets.Environment{}, secrets.StoreFile: secrets.Files{}, secrets.StoreAWS: reader, secrets.StoreOwn: reader,
		},
		Store: store, StoreName: secrets.StoreAWS, Propagation: propagation, Ledger: book, Audit: events, Sign: sign,
	})
	if err != nil {
		return nil, err
	}
	return function{rotator: rotator, store: store, log: log}.invoke, nil
}

// signer signs events by the key of KMS that the environment names, if it names
// one.
func signer(getenv func(string) string, own *sigv4.Identity) (audit.Signer, error) {
	key := getenv("POSTERN_AUDIT_KEY")
	if key == "" {
		return nil, nil
	}
	// A key without a region is one that is refused below.
	authorizer, err := sigv4.New(sigv4.Options{Service: "kms", Region: awskms.Region(key), Identity: own})
	if err != nil {
		return nil, err
	}
	return awskms.New(awskms.Options{Key: key, Authorizer: authorizer, Endpoint: getenv("AWS_ENDPOINT_URL_KMS")})
}
