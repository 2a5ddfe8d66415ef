package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"pipectl.dev/rehearsal/lab/pki"
	"pipectl.dev/rehearsal/lab/spawn"
)

// serviceRange is the range of cluster IPs; nothing routes them.
const serviceRange = "10.96.0.0/16"

// controlPlane is the running etcd, API server, controller manager and scheduler of one cluster.
type controlPlane struct {
	opts      Options
	endpoint  string // https://127.0.0.1:port
	authority *pki.Authority
	failed    chan error // the first child that ended unasked
	apiserver []string   // its flags
	port      *heldPort  // of the API server

	mu       sync.Mutex
	children []*spawn.Process // in the order of their start
	names    []string
	asked    map[*spawn.Process]bool // to end
}

// file is the path of a file of the cluster.
func (p *controlPlane) file(elem ...string) string {
	return filepath.Join(append([]string{p.opts.Dir}, elem...)...)
}

// startControlPlane writes keys and kubeconfigs and starts the children. They are not ready yet when it returns; stop
// must be called in any case.
func startControlPlane(ctx context.Context, opts Options) (*controlPlane, error) {
	p := &controlPlane{opts: opts, failed: make(chan error, 4), asked: map[*spawn.Process]bool{}}
	for _, dir := range []string{"logs", "etcd", "pods"} {
		if err := os.MkdirAll(p.file(dir), 0o700); err != nil {
			return p, err
		}
	}
	var err error
	if p.port, err = holdPort(); err != nil {
		return p, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return p, err
	}
	p.endpoint = fmt.Sprintf("https://127.0.0.1:%d", p.port.number)
	etcdURL := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	// Keys take longer than etcd's start, so it goes first.
	if err := p.child("etcd", "--data-dir="+p.file("etcd"), "--listen-client-url="+etcdURL,
		fmt.Sprintf("--listen-peer-url=http://127.0.0.1:%d", ports[1])); err != nil {
		return p, err
	}
	if err := p.writeKeys(); err != nil {
		return p, fmt.Errorf("keys: %w", err)
	}
	if err := waitHTTP(ctx, p, nil, etcdURL+"/health"); err != nil {
		return p, err
	}
	p.apiserver = p.apiserverFlags(p.port.number, etcdURL)
	if err := p.child(apiserver, p.apiserver...); err != nil {
		return p, err
	}
	if err := p.child("kube-scheduler", p.schedulerFlags(ports[2])...); err != nil {
		return p, err
	}
	if err := p.child("kube-controller-manager", p.controllerManagerFlags(ports[3])...); err != nil {
		return p, err
	}
	return p, nil
}

// ready waits until the API server answers that it is.
func (p *controlPlane) ready(ctx context.Context) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.authority.PEM)
	cert, err := tls.LoadX509KeyPair(p.file("admin.crt"), p.file("admin.key"))
	if err != nil {
		return err
	}
	return waitHTTP(ctx, p, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}, p.endpoint+"/readyz")
}

// stop ends all children, the last started first, and returns when they are gone.
func (p *controlPlane) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.port.free()
	for i := len(p.children) - 1; i >= 0; i-- {
		// Controllers and scheduler hold nothing worth a farewell, and an API server waits for its watchers.
		grace := 200 * time.Millisecond
		if p.names[i] == "etcd" {
			grace = 2 * time.Second
		}
		p.children[i].Stop(grace)
	}
}

// child starts one role of this binary with its log in logs/<role>.log.
func (p *controlPlane) child(role string, args ...string) error {
	log, err := os.OpenFile(p.file("logs", role+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(spawn.Self, append([]string{role}, args...)...)
	cmd.Args[0] = "lab"
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.opts.Dir, log, log
	process, err := spawn.Start(cmd)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.children, p.names = append(p.children, process), append(p.names, role)
	go func() {
		<-process.Done()
		p.mu.Lock()
		asked := p.asked[process]
		p.mu.Unlock()
		if asked {
			return
		}
		p.failed <- fmt.Errorf("%s ended with code %d: %s", role, process.ExitCode(), lastLine(log.Name()))
	}()
	return nil
}

func (p *controlPlane) writeKeys() error {
	authority, err := pki.NewAuthority("lab " + p.opts.Name)
	if err != nil {
		return err
	}
	p.authority = authority
	server, err := authority.Server("127.0.0.1", "localhost", "kubernetes.default.svc", "10.96.0.1")
	if err != nil {
		return err
	}
	signing, public, err := pki.SigningKey()
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"ca.crt": authority.PEM, "apiserver.crt": server.Cert, "apiserver.key": server.Key, "sa.key": signing, "sa.pub": public,
	}
	clients := []struct {
		file, user string
		groups     []string
	}{
		{"admin", "kubernetes-admin", []string{"system:masters"}},
		{"nodes", "lab-nodes", []string{"system:masters"}},
		{"kubelet-client", "kube-apiserver-kubelet-client", []string{"system:masters"}},
		// They start together with the API server, which makes the roles that would else allow them.
		{"controller-manager", "system:kube-controller-manager", []string{"system:masters"}},
		{"scheduler", "system:kube-scheduler", []string{"system:masters"}},
	}
	for _, c := range clients {
		pair, err := authority.Client(c.user, c.groups...)
		if err != nil {
			return err
		}
		files[c.file+".crt"], files[c.file+".key"] = pair.Cert, pair.Key
		if files[c.file+".kubeconfig"], err = p.kubeconfig(c.user, pair); err != nil {
			return err
		}
	}
	files["kubeconfig"] = files["admin.kubeconfig"]
	delete(files, "admin.kubeconfig")
	if p.opts.TokenWebhook != "" {
		if files["webhook.kubeconfig"], err = webhookKubeconfig(p.opts.TokenWebhook); err != nil {
			return err
		}
	}
	paths := map[string][]byte{}
	for name, data := range files {
		paths[p.file(name)] = data
	}
	return pki.Write(paths)
}

func (p *controlPlane) kubeconfig(user string, pair pki.Pair) ([]byte, error) {
	name := p.opts.Name
	return clientcmd.Write(clientcmdapi.Config{
		CurrentContext: name,
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: p.endpoint, CertificateAuthorityData: p.authority.PEM}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user}},
	})
}

func webhookKubeconfig(url string) ([]byte, error) {
	return clientcmd.Write(clientcmdapi.Config{
		CurrentContext: "webhook",
		Clusters:       map[string]*clientcmdapi.Cluster{"webhook": {Server: url}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"apiserver": {}},
		Contexts:       map[string]*clientcmdapi.Context{"webhook": {Cluster: "webhook", AuthInfo: "apiserver"}},
	})
}

func (p *controlPlane) apiserverFlags(port int, etcdURL string) []string {
	flags := []string{
		"--etcd-servers=" + etcdURL,
		"--secure-port=" + strconv.Itoa(port), "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--permit-port-sharing=true",
		"--tls-cert-file=" + p.file("apiserver.crt"), "--tls-private-key-file=" + p.file("apiserver.key"),
		"--client-ca-file=" + p.file("ca.crt"),
		"--kubelet-client-certificate=" + p.file("kubelet-client.crt"), "--kubelet-client-key=" + p.file("kubelet-client.key"),
		"--kubelet-certificate-authority=" + p.file("ca.crt"),
		// The nodes' InternalIP is a private address of the pretend VPC; Hostname is where they really answer.
		"--kubelet-preferred-address-types=Hostname,InternalIP",
		"--service-account-issuer=" + p.opts.Issuer,
		"--service-account-jwks-uri=" + strings.TrimSuffix(p.opts.Issuer, "/") + "/keys",
		"--service-account-signing-key-file=" + p.file("sa.key"), "--service-account-key-file=" + p.file("sa.pub"),
		"--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--service-cluster-ip-range=" + serviceRange,
		"--endpoint-reconciler-type=none",
		"--shutdown-delay-duration=0s",
	}
	if p.opts.TokenWebhook != "" {
		flags = append(flags, "--authentication-token-webhook-config-file="+p.file("webhook.kubeconfig"),
			"--authentication-token-webhook-version=v1", "--authentication-token-webhook-cache-ttl=5s")
	}
	return flags
}

func (p *controlPlane) controllerManagerFlags(port int) []string {
	return []string{
		"--kubeconfig=" + p.file("controller-manager.kubeconfig"), "--authentication-skip-lookup=true",
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port), "--cert-dir=" + p.file("controller-manager"),
		"--leader-elect=false",
		"--service-account-private-key-file=" + p.file("sa.key"), "--root-ca-file=" + p.file("ca.crt"),
		"--use-service-account-credentials=false",
		"--controllers=*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,-service-lb-controller,-bootstrap-signer-controller,-token-cleaner-controller",
		// A lab waits for volumes, never for a quota.
		"--concurrent-serviceaccount-token-syncs=2", "--attach-detach-reconcile-sync-period=5s",
		"--kube-api-qps=200", "--kube-api-burst=400",
	}
}

func (p *controlPlane) schedulerFlags(port int) []string {
	return []string{
		"--kubeconfig=" + p.file("scheduler.kubeconfig"), "--authentication-skip-lookup=true",
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port), "--cert-dir=" + p.file("scheduler"),
		"--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400",
	}
}

// waitHTTP polls url until it answers 200, a child ends, or ctx does.
func waitHTTP(ctx context.Context, p *controlPlane, config *tls.Config, url string) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 2 * time.Second}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if last = getOK(ctx, client, url); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %w)", url, context.Cause(ctx), last)
		case err := <-p.failed:
			return err
		case <-tick.C:
		}
	}
}

func getOK(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// freePorts asks the kernel for n ports of loopback that are free now. They are held together, so they all differ.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// lastLine is the end of a log, for an error that should say why.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
