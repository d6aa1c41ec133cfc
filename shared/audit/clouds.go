package audit

import (
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// AWSEndpoint is the address of a service in a region (https://docs.aws.amazon.com/general/latest/gr/rande.html). Regions that are cut off from
// the internet have others.
func AWSEndpoint(service, region string) string {
	domain := "amazonaws.com"
	switch {
	case strings.HasPrefix(region, "cn-"):
		domain = "amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		domain = "amazonaws.eu"
	}
	return "https://" + service + "." + region + "." + domain
}

// AWSCode returns the name of the error that a reply in the protocol AWS JSON reports, without its namespace. A reply that is no error of this
// protocol, such as a proxy's page, has none.
func (r Reply) AWSCode() string {
	var out struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal(r.Body, &out) != nil || out.Type == "" {
		out.Type = r.Header.Get("X-Amzn-Errortype")
	}
	name, _, _ := strings.Cut(out.Type, ":")
	return name[strings.LastIndexByte(name, '#')+1:]
}

// AWSRejects reports whether AWS refused the signature rather than what was asked for
// (https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html).
func AWSRejects(reply Reply) bool {
	return (reply.Status == http.StatusBadRequest || reply.Status == http.StatusForbidden) && IsOfSignature(reply.AWSCode())
}

// IsOfSignature reports whether an error of AWS is about the signature.
func IsOfSignature(code string) bool {
	return slices.Contains([]string{
		"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationTokenException",
		"MissingAuthenticationToken", "InvalidClientTokenId", "IncompleteSignatureException", "IncompleteSignature",
	}, code)
}

// GoogleStatus returns the name of the error that a reply of Google's APIs reports (https://google.aip.dev/193), and the reasons for programs with
// spaces between them. A proxy's page has neither.
func (r Reply) GoogleStatus() (status, reasons string) {
	var out struct {
		Error struct {
			Status  string `json:"status"`
			Details []struct {
				Reason string `json:"reason"`
			} `json:"details"`
		} `json:"error"`
	}
	_ = json.Unmarshal(r.Body, &out)
	var all []string
	for _, detail := range out.Error.Details {
		if detail.Reason != "" {
			all = append(all, detail.Reason)
		}
	}
	return out.Error.Status, strings.Join(all, " ")
}
