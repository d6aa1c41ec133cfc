// Package redis speaks to a Redis server in the few commands that the gateway needs: each is answered by a status, a number or a value.
//
// It is here because the usual client links every command there is, which makes a function half as large again, for a pool of connections
// that a function cannot keep. What is kept on the server, and what happens when it is away, is up to whoever uses the package: the shared
// token cache and the limits of callers.
//
// It imports nothing from the rest of the gateway.
package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// maxLine is the longest line of a reply that is not a value, in bytes. Redis cuts its errors off long before.
	maxLine = 4 << 10
	// MaxValue is the longest value of a reply, in bytes. Longer ones must not be asked for.
	MaxValue = 64 << 10
)

// Conn is one connection. It speaks version 2 of the protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/) and is for one
// goroutine at a time.
type Conn struct {
	conn   net.Conn
	reader *bufio.Reader
}

func newConn(conn net.Conn) *Conn { return &Conn{conn, bufio.NewReaderSize(conn, maxLine)} }

// Close ends the connection.
func (c *Conn) Close() { _ = c.conn.Close() }

// Reply is the answer to a command.
type Reply struct {
	Text   string // of a status or a value
	Number int64
	Null   bool // there is no value
}

// Refusal is an error that the server reports. The connection is good for further commands.
type Refusal struct {
	// Code is its first word, when that is of the usual form, for example WRONGTYPE or NOAUTH.
	Code string
	// Address is where a cluster keeps the key, when Code is MOVED.
	Address string
}

// Error returns the code alone: the rest may quote what the server was sent.
func (r *Refusal) Error() string { return "redis: " + r.Code }

// ErrProtocol is a reply that does not follow the protocol.
var ErrProtocol = errors.New("the reply is not one of Redis")

// Do sends a command and reads its reply. Errors other than a *[Refusal] leave the connection unusable.
func (c *Conn) Do(ctx context.Context, command ...string) (Reply, error) {
	deadline, _ := ctx.Deadline()
	if err := c.conn.SetDeadline(deadline); err != nil {
		return Reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	answer, err := c.exchange(command)
	if !stop() {
		// The connection may be cut off at any moment now.
		return Reply{}, ctx.Err()
	}
	return answer, err
}

func (c *Conn) exchange(command []string) (Reply, error) {
	if _, err := c.conn.Write(encode(command)); err != nil {
		return Reply{}, err
	}
	line, err := c.line()
	if err != nil {
		return Reply{}, err
	}
	rest := line[1:]
	switch line[0] {
	case '+':
		return Reply{Text: rest}, nil
	case '-':
		return Reply{}, refused(rest)
	case ':':
		number, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return Reply{}, ErrProtocol
		}
		return Reply{Number: number}, nil
	case '$':
		return c.bulk(rest)
	}
	return Reply{}, ErrProtocol
}

func encode(command []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(command))
	for _, word := range command {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b
}

// line reads one line, which is not empty, without its end.
func (c *Conn) line() (string, error) {
	line, err := c.reader.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", ErrProtocol
	}
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || text == "" {
		return "", ErrProtocol
	}
	return text, nil
}

func (c *Conn) bulk(size string) (Reply, error) {
	length, err := strconv.ParseInt(size, 10, 64)
	switch {
	case err != nil || length < -1 || length > MaxValue:
		return Reply{}, ErrProtocol
	case length == -1:
		return Reply{Null: true}, nil
	}
	value := make([]byte, length+2)
	if _, err := io.ReadFull(c.reader, value); err != nil {
		return Reply{}, err
	}
	text, ok := strings.CutSuffix(string(value), "\r\n")
	if !ok {
		return Reply{}, ErrProtocol
	}
	return Reply{Text: text}, nil
}

// refused reads an error reply: a code in capitals, and a text that is not looked at any further, except for where a key has moved to.
func refused(text string) error {
	words := strings.Fields(text)
	if len(words) == 0 || len(words[0]) > 20 || strings.Trim(words[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return &Refusal{Code: "ERR"}
	}
	r := &Refusal{Code: words[0]}
	if r.Code == "MOVED" && len(words) == 3 {
		r.Address = words[2]
	}
	return r
}
