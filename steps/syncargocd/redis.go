package syncargocd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// redis reads from a Redis server: the little of its protocol that needs, and no command that writes.
type redis struct {
	conn  net.Conn
	reply *bufio.Reader
}

// maxReply bounds what one answer may hold.
const maxReply = 64 << 20

func newRedis(conn net.Conn) *redis { return &redis{conn: conn, reply: bufio.NewReader(conn)} }

// account is who one is to a Redis server; one without a user has the password of the default one.
type account struct{ user, password string }

// login says who asks, and which of the server's databases is meant.
func (r *redis) login(ctx context.Context, who account, db int) error {
	if who.password != "" {
		words := []string{"AUTH", who.password}
		if who.user != "" { // a server before ACLs knows no form with a user
			words = []string{"AUTH", who.user, who.password}
		}
		if _, err := r.do(ctx, words...); err != nil {
			return err
		}
	}
	if db == 0 {
		return nil
	}
	_, err := r.do(ctx, "SELECT", strconv.Itoa(db))
	return err
}

// get returns the value of a key; nil: there is none.
func (r *redis) get(ctx context.Context, key string) ([]byte, error) { return r.do(ctx, "GET", key) }

// do sends one command and reads its answer. The connection is of no use after an error, and is closed where ctx ends first.
func (r *redis) do(ctx context.Context, words ...string) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = r.conn.Close() })
	defer stop()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	_, err := io.WriteString(r.conn, b.String())
	var out []byte
	if err == nil {
		out, err = readReply(r.reply)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", words[0], err) // never the other words: one may be the password
	}
	return out, nil
}

// readReply reads one answer that is a text or a value; nil: no value.
func readReply(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the connection was closed without an answer")
	case err != nil:
		return nil, err
	}
	text := strings.TrimRight(string(line), "\r\n")
	if text == "" {
		return nil, errors.New("not an answer of Redis")
	}
	switch kind, rest := text[0], text[1:]; kind {
	case '+':
		return []byte(rest), nil
	case '-':
		return nil, errors.New(rest)
	case '$':
		size, err := strconv.Atoi(rest)
		switch {
		case err != nil || size < -1:
			return nil, errors.New("not an answer of Redis")
		case size == -1:
			return nil, nil
		case size > maxReply:
			return nil, fmt.Errorf("%d bytes are more than is read (%d)", size, maxReply)
		}
		value, err := io.ReadAll(io.LimitReader(r, int64(size)+2))
		if err == nil && len(value) < size+2 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		return value[:size], nil
	}
	return nil, errors.New("not an answer of Redis")
}
