// Command lambda is the smallest function on aws-lambda-go: what the gateway's
// cold start on Lambda is compared with.
package main

import "github.com/aws/aws-lambda-go/lambda"

func main() {
	lambda.Start(func() (string, error) { return "ok", nil })
}
