package googleid

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/secrets"
)

// tokenFile is a token that the platform keeps fresh in a file.
type tokenFile struct {
	folder, name string
	format       formatRow
}

// Token reads the file. Links within the folder are followed, as Kubernetes makes them, and none that lead out of it.
func (t tokenFile) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "token file", &result, &err) }()
	file, err := os.OpenInRoot(t.folder, t.name)
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "the file with the token of the other cloud cannot be opened", Err: err, Retryable: true}
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxAnswer+1))
	if err != nil || len(text) > maxAnswer {
		return identity.Token{}, &identity.Error{Public: fmt.Sprintf("the file with the token of the other cloud cannot be read, or is larger than %d bytes", maxAnswer), Err: err}
	}
	return t.format.token(text, identity.Principal{Name: "token file", Source: "token file"})
}

// token takes the token out of what surrounds it.
func (f formatRow) token(text []byte, principal identity.Principal) (identity.Token, error) {
	token := strings.TrimSpace(string(text))
	if f.Type == "json" {
		var fields map[string]jsontext.Value
		if err := json.Unmarshal(text, &fields); err != nil || json.Unmarshal(fields[f.Field], &token) != nil {
			return identity.Token{}, &identity.Error{Public: "what should hold the token of the other cloud has no such JSON field", Retryable: true}
		}
	}
	if token == "" {
		return identity.Token{}, &identity.Error{Public: "what should hold the token of the other cloud is empty", Retryable: true}
	}
	return identity.Token{Value: secrets.NewValue(token), Principal: principal}, nil
}

// instanceToken is the token that the metadata service of a virtual machine on Azure has.
type instanceToken struct {
	http    *http.Client
	address string
}

// Token asks the metadata service.
func (i instanceToken) Token(ctx context.Context) (result identity.Token, err error) {
	defer func() { identity.TriedToken(ctx, "instance metadata", &result, &err) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, i.address, nil)
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "the address of Azure's metadata service is not one", Err: err}
	}
	request.Header.Set("Metadata", "true")
	response, err := i.http.Do(request)
	if err != nil {
		return identity.Token{}, &identity.Error{Public: "Azure's metadata service does not answer; a function has none: configure a managed identity instead", Err: err, Retryable: true}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil || response.StatusCode != http.StatusOK {
		return identity.Token{}, &identity.Error{Public: fmt.Sprintf("Azure's metadata service answered with status %d", response.StatusCode), Err: err, Retryable: err != nil || response.StatusCode >= http.StatusInternalServerError}
	}
	return formatRow{"json", "access_token"}.token(text, identity.Principal{Name: "managed identity", Source: "instance metadata"})
}
