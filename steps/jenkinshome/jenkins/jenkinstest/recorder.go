package jenkinstest

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// recorder turns what a handler writes into a response, without a socket.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func (r *recorder) response(req *http.Request) *http.Response {
	return &http.Response{StatusCode: r.code, Status: strconv.Itoa(r.code) + " " + http.StatusText(r.code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: io.NopCloser(&r.body), ContentLength: int64(r.body.Len()), Request: req}
}
