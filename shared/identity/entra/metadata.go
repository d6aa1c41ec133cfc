package entra

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
)

// metadata answers the library's question for the addresses of a directory's endpoints without asking anybody. The library asks anew for
// each credential, and there is one for each token; the addresses are documented and the same for every directory
// (https://learn.microsoft.com/entra/identity-platform/v2-protocols#endpoints), and the host is one that is trusted already.
type metadata struct{ next transporter }

// Do sends one request, or answers it.
func (m metadata) Do(request *http.Request) (*http.Response, error) {
	base, asked := strings.CutSuffix("https://"+request.URL.Host+request.URL.EscapedPath(), "/v2.0/.well-known/openid-configuration")
	if !asked || request.Method != http.MethodGet {
		return m.next.Do(request)
	}
	body, err := json.Marshal(map[string]string{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
	})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: request,
	}, nil
}
