package jenkins_test

import "net/http"

// via sends every request to one address, as a port-forward does.
type via struct{ addr string }

func (v via) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = v.addr
	return http.DefaultTransport.RoundTrip(r)
}
