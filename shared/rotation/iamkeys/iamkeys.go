// Package iamkeys makes and revokes the keys of a user in AWS Identity and Access Management: access keys, and the long-term API keys of Amazon
// Bedrock.
//
// Ten operations of the AWS Query protocol are spoken directly: the SDK's client for them would add half a megabyte to the function.
//
// The package must not know where the credentials come from that it signs with, nor where keys are stored.
package iamkeys

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

const (
	// perUser is how many keys of a kind a user may have (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
	perUser = 2
	// successes proves a key: IAM tells the regions, and the servers in them, one by one.
	successes = 3
	// propagation is more than a change in IAM takes, which AWS puts no number to.
	propagation = time.Minute
)

// Options says whose keys they are, and how IAM is asked.
type Options struct {
	// User is the name of the IAM user whose keys are rotated. No key of that user may be used for anything else, since keys carry no names.
	User string
	// Region is where keys are tried, and tells which partition of AWS the user is in.
	Region string
	// Credentials sign the requests. When it also has a method Invalidate() it is told that AWS did not accept what it gave, and the
	// request is made once more.
	Credentials aws.CredentialsProvider
	// Endpoint replaces IAM's own endpoint. It is where AWS_ENDPOINT_URL_IAM belongs.
	Endpoint string
	// VerifyEndpoint replaces the region's own endpoint of the service where keys are tried: STS for access keys, Bedrock for its API keys.
	VerifyEndpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means what [rotation.Remote] has.
	Timeout time.Duration
}

var (
	userForm   = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	regionForm = regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-[0-9]+$`)
)

// user is an IAM user whose keys can be managed.
type user struct {
	name     string
	region   string
	iam      string
	verify   string
	remote   rotation.Remote
	verifier rotation.Remote
	signer   *v4.Signer
}

// newUser checks the options. Service is the host of the service where keys are tried, without the region.
func newUser(options Options, service string) (*user, error) {
	switch {
	case !userForm.MatchString(options.User):
		return nil, errors.New("the keys of an IAM user need the user's name, without its path: set user_name")
	case !regionForm.MatchString(options.Region):
		return nil, errors.New("the keys of an IAM user need a region: set AWS_REGION")
	case options.Credentials == nil:
		return nil, errors.New("the keys of an IAM user need credentials of the function's own")
	}
	host, signedFor := iamOf(options.Region)
	made := &user{name: options.User, region: options.Region, signer: v4.NewSigner()}
	for _, endpoint := range []struct {
		into               *string
		usual, replacement string
	}{
		{&made.iam, "https://" + host, options.Endpoint},
		{&made.verify, "https://" + service + "." + options.Region + "." + domain(options.Region), options.VerifyEndpoint},
	} {
		*endpoint.into = endpoint.usual
		if endpoint.replacement != "" {
			address, err := rotation.Endpoint(endpoint.replacement)
			if err != nil {
				return nil, err
			}
			*endpoint.into = address
		}
	}
	client := secrets.Bounded(options.Transport)
	made.remote = rotation.Remote{
		Service: "AWS IAM", HTTP: client, Timeout: options.Timeout, Rejects: func(reply rotation.Reply) bool { return notAccepted(reply) != "" },
		Admin: &authorizer{credentials: options.Credentials, scope: scope{"iam", signedFor}, signer: made.signer},
	}
	made.verifier = rotation.Remote{Service: "AWS", HTTP: client, Timeout: options.Timeout}
	return made, nil
}

// iamOf returns the host of IAM, of which each partition has one, and the region that its requests are signed for
// (https://docs.aws.amazon.com/general/latest/gr/iam-service.html). Partitions that are cut off from the internet need an endpoint in the
// options.
func iamOf(region string) (host, signedFor string) {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "iam.cn-north-1." + domain(region), "cn-north-1"
	case strings.HasPrefix(region, "us-gov-"):
		return "iam.us-gov." + domain(region), "us-gov-west-1"
	case strings.HasPrefix(region, "eusc-"):
		return "iam.eusc-de-east-1." + domain(region), "eusc-de-east-1"
	}
	return "iam." + domain(region), "us-east-1"
}

func domain(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		return "amazonaws.eu"
	}
	return "amazonaws.com"
}
