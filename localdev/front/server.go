package front

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// server is a child that serves HTTP on a loopback port which the front chose for it.
type server struct {
	process *process
	address string
}

func (s *server) ended() bool {
	select {
	case <-s.process.done:
		return true
	default:
		return false
	}
}

func (s *server) url() *url.URL { return &url.URL{Scheme: "http", Host: s.address} }

// await tries until the child answers. It gives up when the child has ended or ctx is done.
func (s *server) await(ctx context.Context, every time.Duration, try func(context.Context) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.process.done:
			return fmt.Errorf("the function ended before it was ready: %s", s.process.ending())
		case <-ctx.Done():
			return fmt.Errorf("the function did not get ready: %w", err)
		case <-ticker.C:
		}
	}
}

// connect is the readiness check of a platform that asks for no more than an open port.
func (s *server) connect(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// loopback is a transport to a child: no proxy from the developer's shell, and nothing added to a request.
func loopback() *http.Transport {
	return &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}
}

// streamingProxy passes on every chunk at once, in both directions. The front sets what differs between platforms.
func streamingProxy(transport http.RoundTripper, errors io.Writer) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, ErrorLog: log.New(errors, "", 0)}
}

// freePort returns a loopback port for a child. Another program may take it before the child does; the child then fails
// to start, which is reported as such.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
