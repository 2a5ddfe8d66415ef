//go:build conformance

package conformance

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	emulator "pipectl.dev/rehearsal/aws"
)

// lack is a call in which moto falls short of AWS. The emulator answers it in moto's place: always, or where moto crashes.
type lack struct {
	onlyCrash bool
	reason    string
}

// motoLacks is all that is not asked of moto. An entry that no run needs any more fails the test.
var motoLacks = map[string]lack{
	"eks:DescribeClusterVersions":             {reason: "not implemented"},
	"iam:SimulatePrincipalPolicy":             {reason: "not implemented"},
	"servicequotas:GetAWSDefaultServiceQuota": {reason: "not implemented"},
	"eks:ListNodegroups":                      {onlyCrash: true, reason: "answers 500 where the cluster is gone; AWS documents ResourceNotFoundException among the errors of ListNodegroups"},
}

// notAsked are parts of the blog's pipeline that are not run against moto at all.
var notAsked = map[string]string{
	"eks:CreateAccessEntry, AssociateAccessPolicy":         "moto has no access entries",
	"eks:CreateAddon, DescribeAddon and the rest of those": "moto has no add-ons",
	"sts:AssumeRoleWithWebIdentity":                        "moto lets every token in, so that a proof by it proves nothing",
	"ec2:CreateNatGateway, AvailabilityMode regional":      "moto's gateways are in a subnet",
	"what happens in the cluster":                          "moto's clusters have no API server",
}

// front stands before moto, hands the calls that moto lacks to the emulator and keeps count of all.
type front struct {
	moto http.Handler
	ours *emulator.Cloud

	mu    sync.Mutex
	calls []call
	used  map[string]bool // of motoLacks
}

// call is one request, and whether the service did what it asked: a refused one, such as a cluster's before its new role is known
// everywhere, is made again, as often as the lag lasts.
type call struct {
	op   string
	done bool
}

// newFront is the front of moto, and of our own emulator where moto is nil.
func newFront(t *testing.T, moto *url.URL) (*front, string) {
	t.Helper()
	f := &front{ours: emulator.New(emulator.Options{Speed: 1000}), used: map[string]bool{}}
	t.Cleanup(f.ours.Close)
	if moto != nil {
		f.moto = httputil.NewSingleHostReverseProxy(moto)
	}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, srv.URL
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	again := func() *http.Request {
		c := r.Clone(r.Context())
		c.Body = io.NopCloser(bytes.NewReader(raw))
		return c
	}
	op := emulator.OperationOf(r, raw)
	l, lacking := motoLacks[op]
	lacking = lacking && f.moto != nil
	rec := httptest.NewRecorder()
	switch {
	case f.moto == nil, lacking && !l.onlyCrash:
		f.ours.ServeHTTP(rec, again())
	default:
		f.moto.ServeHTTP(rec, again())
		lacking = lacking && rec.Code == http.StatusInternalServerError
		if lacking {
			rec = httptest.NewRecorder()
			f.ours.ServeHTTP(rec, again())
		}
	}
	f.note(call{op: op, done: rec.Code < http.StatusBadRequest}, lacking)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()) // a client that went away is its own business
}

func (f *front) note(c call, lacked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, c)
	if lacked {
		f.used[c.op] = true
	}
}

// take gives the calls since the last take.
func (f *front) take() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}
