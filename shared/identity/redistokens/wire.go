package redistokens

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
	// maxBulk is the longest value of a reply, in bytes. Longer ones are never asked for.
	maxBulk = maxSealed
)

// wire speaks the Redis protocol, version 2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), over one connection: a few
// commands, each of which is answered by a status, a number or a value. It is here because the usual client links every command there is,
// which makes a function half as large again, for a pool of connections that a function cannot keep.
type wire struct {
	conn   net.Conn
	reader *bufio.Reader
}

func newWire(conn net.Conn) *wire { return &wire{conn, bufio.NewReaderSize(conn, maxLine)} }

// reply is the answer to a command.
type reply struct {
	text   string // of a status or a value
	number int64
	null   bool // there is no value
}

// refusal is an error that the server reports. The connection is good for further commands.
type refusal struct {
	// code is its first word, when that is of the usual form, for example WRONGTYPE or NOAUTH.
	code string
	// address is where a cluster keeps the key, when code is MOVED.
	address string
}

func (r *refusal) Error() string { return "redis: " + r.code }

var errProtocol = errors.New("the reply is not one of Redis")

// do sends a command and reads its reply. Errors other than a *refusal leave the connection unusable.
func (w *wire) do(ctx context.Context, command ...string) (reply, error) {
	deadline, _ := ctx.Deadline()
	if err := w.conn.SetDeadline(deadline); err != nil {
		return reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
	answer, err := w.exchange(command)
	if !stop() {
		// The connection may be cut off at any moment now.
		return reply{}, ctx.Err()
	}
	return answer, err
}

func (w *wire) exchange(command []string) (reply, error) {
	if _, err := w.conn.Write(encode(command)); err != nil {
		return reply{}, err
	}
	line, err := w.line()
	if err != nil {
		return reply{}, err
	}
	rest := line[1:]
	switch line[0] {
	case '+':
		return reply{text: rest}, nil
	case '-':
		return reply{}, refused(rest)
	case ':':
		number, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return reply{}, errProtocol
		}
		return reply{number: number}, nil
	case '$':
		return w.bulk(rest)
	}
	return reply{}, errProtocol
}

func encode(command []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(command))
	for _, word := range command {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b
}

// line reads one line, which is not empty, without its end.
func (w *wire) line() (string, error) {
	line, err := w.reader.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errProtocol
	}
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || text == "" {
		return "", errProtocol
	}
	return text, nil
}

func (w *wire) bulk(size string) (reply, error) {
	length, err := strconv.ParseInt(size, 10, 64)
	switch {
	case err != nil || length < -1 || length > maxBulk:
		return reply{}, errProtocol
	case length == -1:
		return reply{null: true}, nil
	}
	value := make([]byte, length+2)
	if _, err := io.ReadFull(w.reader, value); err != nil {
		return reply{}, err
	}
	text, ok := strings.CutSuffix(string(value), "\r\n")
	if !ok {
		return reply{}, errProtocol
	}
	return reply{text: text}, nil
}

// refused reads an error reply: a code in capitals, and a text that is not looked at any further, except for where a key has moved to.
func refused(text string) error {
	words := strings.Fields(text)
	if len(words) == 0 || len(words[0]) > 20 || strings.Trim(words[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return &refusal{code: "ERR"}
	}
	r := &refusal{code: words[0]}
	if r.code == "MOVED" && len(words) == 3 {
		r.address = words[2]
	}
	return r
}
