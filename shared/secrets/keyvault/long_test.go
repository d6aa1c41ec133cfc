package keyvault_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/secrets"
	"github.com/postern-ai/postern/shared/secrets/keyvault"
)

// long is a vault with one secret of very many versions, of which the last one that is listed is enabled, and that says of others that they are not there.
type long struct {
	pages int
	asked int
}

func (l *long) RoundTrip(request *http.Request) (*http.Response, error) {
	reply := func(status int, text string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: request}, nil
	}
	if request.URL.Path != "/secrets/key/versions" {
		return reply(http.StatusNotFound, `{"error":{"code":"SecretNotFound","message":"no"}}`)
	}
	page := 0
	if token := request.URL.Query().Get("$skiptoken"); token != "" {
		if _, err := fmt.Sscan(token, &page); err != nil {
			return nil, err
		}
	}
	l.asked++
	var versions []string
	for n := range 25 {
		versions = append(versions, fmt.Sprintf(`{"id":"https://v.vault.azure.net/secrets/key/%032x","attributes":{"enabled":%t,"created":%d}}`,
			page*25+n, page == l.pages-1 && n == 24, 1700000000+page*25+n))
	}
	next := "null"
	if page < l.pages-1 {
		next = fmt.Sprintf(`"https://v.vault.azure.net/secrets/key/versions?api-version=7.5&$skiptoken=%d"`, page+1)
	}
	return reply(http.StatusOK, `{"value":[`+strings.Join(versions, ",")+`],"nextLink":`+next+`}`)
}

type nobody struct{}

func (nobody) Authorize(*http.Request) error { return nil }
func (nobody) Rejected(*http.Request)        {}

func TestASecretThatIsRotatedEveryHourForYearsIsStillRotated(t *testing.T) {
	t.Parallel()
	vault := &long{pages: 3 * 365 * 24 / 25}
	store, err := keyvault.NewStore(keyvault.Options{Vault: "https://v.vault.azure.net", Authorizer: nobody{}, Transport: vault})
	if err != nil {
		t.Fatal(err)
	}
	inventory, err := store.Inspect(t.Context(), secrets.Ref{Name: "key"})
	if err != nil || inventory.Current.ID != fmt.Sprintf("%032x", vault.pages*25-1) || inventory.Staged.ID != "" {
		t.Errorf("got %+v and error %v", inventory, err)
	}
	if vault.asked != vault.pages {
		t.Errorf("%d pages were asked for, and there are %d", vault.asked, vault.pages)
	}
}

func TestAListOfVersionsThatDoesNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	store, err := keyvault.NewStore(keyvault.Options{Vault: "https://v.vault.azure.net", Authorizer: nobody{}, Transport: &long{pages: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Inspect(t.Context(), secrets.Ref{Name: "key"}); err == nil || !strings.Contains(err.Error(), "store it under another name") {
		t.Errorf("got %v", err)
	}
}
