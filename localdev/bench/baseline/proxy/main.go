// Command proxy is a bare reverse proxy in front of UPSTREAM_URL: what the
// gateway's CPU and memory are compared with. It does nothing but pass bytes
// on, at once.
package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	upstream, err := url.Parse(os.Getenv("UPSTREAM_URL"))
	if err == nil {
		err = http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("PORT")), proxy(upstream))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func proxy(upstream *url.URL) http.Handler {
	p := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		FlushInterval: -1,
		// Two idle connections, the default, would make it dial all the time.
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Else the server closes the request body when the answer begins, and the
		// transport, which may just be looking for its end, breaks off.
		_ = http.NewResponseController(w).EnableFullDuplex()
		p.ServeHTTP(w, r)
	})
}
