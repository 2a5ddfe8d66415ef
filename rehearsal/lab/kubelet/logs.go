package kubelet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Every line of a log file starts with its time and a space, so that logs can be asked for by time.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// logFile takes the output of one process.
type logFile struct {
	writer *os.File // the process's end
	copied chan struct{}
}

// startLog makes the file at path and the pipe that feeds it.
func startLog(path string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	l := &logFile{writer: writer, copied: make(chan struct{})}
	go func() {
		defer close(l.copied)
		defer file.Close()
		defer reader.Close()
		stamp(file, reader)
	}()
	return l, nil
}

// started closes our copy of the process's end: the pipe must end with the process.
func (l *logFile) started() { _ = l.writer.Close() }

// close waits until everything written is in the file. What a stray grandchild still holds open is not waited for.
func (l *logFile) close() {
	_ = l.writer.Close()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-l.copied:
	case <-timer.C:
	}
}

// stamp copies lines and puts the time before each. An unfinished last line gets its end.
func stamp(w io.Writer, r io.Reader) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			line = append(time.Now().UTC().AppendFormat(nil, timeLayout+" "), line...)
			if line[len(line)-1] != '\n' {
				line = append(line, '\n')
			}
			if _, err := w.Write(line); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// logOptions choose lines of a log.
type logOptions struct {
	tail       *int64 // last lines
	limit      *int64 // bytes
	since      time.Time
	timestamps bool
	follow     bool
}

// followEvery is how soon a follower sees a new line.
const followEvery = 100 * time.Millisecond

// copyLog writes the chosen lines of the log at path to w. With follow it goes on until ctx or the process ends.
func copyLog(ctx context.Context, w io.Writer, path string, o logOptions, ended <-chan struct{}) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if o.limit != nil {
		w = &limited{w: w, left: *o.limit}
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	rest := append([]byte(nil), data[whole:]...)
	lines := choose(data[:whole], o)
	for {
		for _, line := range lines {
			if _, err := w.Write(o.show(line)); err != nil {
				return ignoreFull(err)
			}
		}
		if !o.follow {
			return nil
		}
		if flusher, ok := w.(interface{ Flush() }); ok {
			flusher.Flush()
		}
		last := false
		select {
		case <-ended:
			last = true
		default:
			if !pause(ctx, followEvery) {
				return nil
			}
		}
		more, err := io.ReadAll(file)
		if err != nil {
			return err
		}
		rest = append(rest, more...)
		whole := bytes.LastIndexByte(rest, '\n') + 1
		lines, rest = bytes.SplitAfter(rest[:whole:whole], []byte("\n")), rest[whole:]
		if len(more) == 0 && last {
			return nil
		}
	}
}

// choose applies since and tail to whole lines.
func choose(data []byte, o logOptions) [][]byte {
	var lines [][]byte
	for line := range bytes.Lines(data) {
		if !o.since.IsZero() {
			when, _, _ := bytes.Cut(line, []byte(" "))
			if t, err := time.Parse(timeLayout, string(when)); err == nil && t.Before(o.since) {
				continue
			}
		}
		lines = append(lines, line)
	}
	if o.tail != nil && int64(len(lines)) > *o.tail {
		lines = lines[int64(len(lines))-*o.tail:]
	}
	return lines
}

func (o logOptions) show(line []byte) []byte {
	if o.timestamps {
		return line
	}
	_, text, _ := bytes.Cut(line, []byte(" "))
	return text
}

var errFull = errors.New("limit reached")

func ignoreFull(err error) error {
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

// limited stops after so many bytes.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		n, err := l.w.Write(p[:l.left])
		l.left -= int64(n)
		return n, errors.Join(errFull, err)
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}

func (l *limited) Flush() {
	if flusher, ok := l.w.(interface{ Flush() }); ok {
		flusher.Flush()
	}
}
