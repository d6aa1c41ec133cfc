package ledgertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
)

// Transport returns a transport that hands requests to a handler without a network, so that a test can run in a bubble of synctest with a
// clock of its own. A handler that breaks the connection off is one that answers with io.ErrUnexpectedEOF, and a client that goes away does so
// at once, while the handler goes on.
func Transport(handler http.Handler) http.RoundTripper { return direct{handler} }

type direct struct{ handler http.Handler }

type outcome struct {
	response *http.Response
	err      error
}

// RoundTrip implements [http.RoundTripper].
func (d direct) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	arrived := request.Clone(request.Context())
	arrived.URL = &url.URL{Path: request.URL.Path, RawPath: request.URL.RawPath, RawQuery: request.URL.RawQuery}
	arrived.RequestURI = arrived.URL.RequestURI()
	if arrived.Host == "" {
		arrived.Host = request.URL.Host
	}
	if arrived.Body == nil {
		arrived.Body = http.NoBody
	}
	ended := make(chan outcome, 1)
	go func() { ended <- d.serve(arrived) }()
	select {
	case out := <-ended:
		return out.response, out.err
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
}

func (d direct) serve(request *http.Request) (out outcome) {
	defer func() {
		switch recovered := recover(); recovered {
		case nil:
		case http.ErrAbortHandler:
			out = outcome{err: io.ErrUnexpectedEOF}
		default:
			panic(recovered)
		}
	}()
	recorder := httptest.NewRecorder()
	d.handler.ServeHTTP(recorder, request)
	return outcome{response: recorder.Result()}
}
