// Command plain is the AWS gateway without Lambda in front of it. An instance
// on Lambda has one request at a time, so this is how the cost of Bedrock can be
// seen beside that of the other services, and with many streams.
//
// It links what the gateway does and nothing of localdev, whose memory would be
// counted as the gateway's.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

func main() {
	gateway, err := kit.Kit{
		Cloud: config.AWS, Getenv: os.Getenv, Log: kit.NewLog(config.AWS, "", os.Stdout),
		Secrets: secrets.Stores{secrets.StoreEnv: secrets.Environment{}},
	}.Gateway()
	if err == nil {
		err = http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("PORT")), gateway)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
