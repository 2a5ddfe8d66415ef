package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pipectl.dev/rehearsal/lab/kubelet"
)

func TestParse(t *testing.T) {
	good := []string{"--dir=/d", "--name=c", "--issuer=https://x", "--nodes-dir=/n", "--volumes-dir=/v", "--pipectl=/p"}
	for name, c := range map[string]struct {
		add  []string
		want string // part of the error; "" for none
	}{
		"complete":                  {nil, ""},
		"no directory":              {[]string{"--dir="}, "--dir is missing"},
		"no name":                   {[]string{"--name="}, "--name is missing"},
		"an issuer without TLS":     {[]string{"--issuer=http://x"}, "an https URL is needed"},
		"a path too long to listen": {[]string{"--dir=/" + strings.Repeat("d", 100)}, "too long by 7 bytes"},
		"an unknown flag":           {[]string{"--speed=2"}, "speed"},
	} {
		o, err := parse(append(append([]string{}, good...), c.add...))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if c.want == "" && o.Pipectl != "/p" {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] {
			t.Errorf("port %d was given twice", port)
		}
		seen[port] = true
	}
}

// pool and ebs are what the control API drives, without a cluster behind.
type pool struct{ added []kubelet.NodeSpec }

func (p *pool) Add(_ context.Context, n kubelet.NodeSpec) error {
	if n.Name == "taken" {
		return fmt.Errorf("node %s: %w", n.Name, kubelet.ErrNodeExists)
	}
	p.added = append(p.added, n)
	return nil
}
func (p *pool) Remove(_ context.Context, name string) error {
	return fmt.Errorf("node %s: %w", name, kubelet.ErrNoNode)
}
func (p *pool) Nodes() []kubelet.NodeSpec { return p.added }

func (p *pool) ServiceAddr(_ context.Context, namespace, name string, port int) (string, error) {
	return fmt.Sprintf("127.0.0.2:%d", port), nil
}

type ebs struct{ got string }

func (e *ebs) SetActive(_ context.Context, active bool, role string) error {
	e.got = fmt.Sprint(active, role)
	if role == "broken" {
		return errors.New("no")
	}
	return nil
}

type stopped bool

func (s *stopped) setAPIServer(_ context.Context, running bool) error {
	if running != bool(*s) {
		return errState
	}
	*s = stopped(!running)
	return nil
}

func TestAHeldPortIsNobodyElsesAndCanBeShared(t *testing.T) {
	h, err := holdPort()
	if err != nil {
		t.Fatal(err)
	}
	defer h.free()
	address := fmt.Sprintf("127.0.0.1:%d", h.number)
	if l, err := net.Listen("tcp", address); err == nil {
		l.Close()
		t.Error("somebody else got it")
	}
	sharing := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bad error
		return errors.Join(c.Control(func(fd uintptr) { bad = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), bad)
	}}
	for range 2 { // and once more after it was let go
		l, err := sharing.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close()
	}
}

func TestControlAPI(t *testing.T) {
	p, e := &pool{}, &ebs{}
	handler := controlHandler(p, e, new(stopped))
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string // part of the answer
	}{
		{"GET", "/healthz", "", 200, `"ok":true`},
		{"POST", "/nodes", `{"name":"a","instanceID":"i-1"}`, 201, `"instanceID":"i-1"`},
		{"POST", "/nodes", `{"name":"taken"}`, 409, "node exists"},
		{"POST", "/nodes", `{"nome":"a"}`, 400, "unknown field"},
		{"POST", "/nodes", `{`, 400, "error"},
		{"GET", "/nodes", "", 200, `"name":"a"`},
		{"DELETE", "/nodes/b", "", 404, "no such node"},
		{"PUT", "/addons/aws-ebs-csi-driver", `{"active":true,"roleArn":"r"}`, 200, `"active":true`},
		{"PUT", "/addons/aws-ebs-csi-driver", `{"active":true,"roleArn":"broken"}`, 500, "no"},
		{"PUT", "/services/argocd/argocd-server/443", "", 200, "127.0.0.2:443"},
		{"PUT", "/services/argocd/argocd-server/web", "", 400, "number"},
		{"PUT", "/components/kube-apiserver", `{"running":false}`, 200, `"running":false`},
		{"PUT", "/components/kube-apiserver", `{"running":false}`, 409, "already"},
		{"PUT", "/components/kube-apiserver", `{"running":true}`, 200, `"running":true`},
		{"PUT", "/addons/other", `{"active":true}`, 404, "only aws-ebs-csi-driver"},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %s: %d %s, want %d with %q", c.method, c.path, c.body, w.Code, w.Body, c.code, c.want)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: content type %q", c.method, c.path, got)
		}
	}
	if e.got != "truebroken" || len(p.added) != 1 {
		t.Errorf("driven: %q, %v", e.got, p.added)
	}
}
