// Command server is the Google Cloud gateway function as a program: what the
// functions buildpack generates, for containers and for a local run, with a
// configuration that is checked before the port is opened and requests that
// are finished before the process ends.
package main

import (
	"fmt"
	"os"

	"github.com/postern-ai/postern/functions/gcp/gateway"
	"github.com/postern-ai/postern/functions/gcp/serve"
)

func main() {
	if gateway.Check() != nil {
		os.Exit(1) // the log says why
	}
	if err := serve.Run(gateway.Gateway); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
