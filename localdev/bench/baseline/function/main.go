// Command function is the smallest function on the functions framework: what
// the gateway's cold start on Google Cloud is compared with.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

func main() {
	err := funcframework.RegisterHTTPFunctionContext(context.Background(), "/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	})
	if err == nil {
		err = funcframework.StartHostPort(os.Getenv("LOCAL_HOST"), os.Getenv("PORT"))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
