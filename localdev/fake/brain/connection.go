package brain

import (
	"net"
	"net/http"
)

// Reset breaks the connection of a request, with a TCP reset where the server
// allows it. It does not return.
func Reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			// Discarding what is unsent makes the kernel send a reset
			// instead of a clean end.
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}
