// Command server is the Google Cloud rotation function as a program: what the
// functions buildpack generates, for containers and for a local run.
package main

import (
	"fmt"
	"os"

	"github.com/postern-ai/postern/functions/gcp/rotate"
	"github.com/postern-ai/postern/functions/gcp/serve"
	"github.com/postern-ai/postern/functions/kit"
)

func main() {
	kit.Roots()
	if err := serve.Run(rotate.Rotate); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
