package bench

import (
	"net/http"
	"os"

	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// plainVariable makes this test binary serve a gateway at the address in it.
const plainVariable = "POSTERN_BENCH_SERVE"

// servePlain serves the AWS gateway's handler without Lambda in front of it.
// An instance on Lambda has one request at a time, so this is how the cost of
// Bedrock can be seen beside that of the other services, and with many streams.
func servePlain(address string) error {
	gateway, err := kit.Kit{
		Cloud: config.AWS, Getenv: os.Getenv, Log: kit.NewLog(config.AWS, "", os.Stdout),
		Secrets: secrets.Stores{secrets.StoreEnv: secrets.Environment{}},
	}.Gateway()
	if err != nil {
		return err
	}
	return http.ListenAndServe(address, gateway)
}
