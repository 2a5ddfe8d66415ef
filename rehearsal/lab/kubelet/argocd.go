package kubelet

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"pipectl.dev/rehearsal/lab/spawn"
)

// Ports of Argo CD's programs, as its Services name them.
const (
	repoServerPort        = 8081
	repoServerMetricsPort = 8084
	controllerMetricsPort = 8082
	serverPort            = 8080
	serverMetricsPort     = 8083
)

// playArgoCD runs the role that the container's command names. What a role of its own is not for (copies of the
// binary, dex, notifications) plays nothing.
func (w *worker) playArgoCD(ctx context.Context, s *setting, p *play, env map[string]string) (bool, error) {
	words := append(slices.Clone(s.command), s.args...)
	if len(words) == 0 {
		return false, nil
	}
	var err error
	if p.path, p.argv0, err = argocdBinary(s.c.Image); err != nil {
		return false, err
	}
	if err := w.argocdEnv(s, p, env); err != nil {
		return false, err
	}
	role, rest := filepath.Base(words[0]), words[1:]
	flags, err := w.argocdFlags(ctx, s, p, role, rest, env)
	if err != nil || flags == nil {
		return false, err
	}
	p.args = flags
	return true, nil
}

// argocdBinary is the program that plays an image of Argo CD: this one, or for the release before it the one that stands beside it.
func argocdBinary(image string) (path, argv0 string, err error) {
	_, tag, _ := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	if !strings.HasPrefix(tag, "v2.") {
		return spawn.Self, "lab", nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", "", err
	}
	path = filepath.Join(filepath.Dir(self), "lab214")
	if _, err := os.Stat(path); err != nil {
		return "", "", fmt.Errorf("image %s: %w (make lab214 builds it)", image, err)
	}
	return path, "lab214", nil
}

// argocdFlags is the role and its flags; nil where the program is not played. Ours come last, so they win.
func (w *worker) argocdFlags(ctx context.Context, s *setting, p *play, role string, rest []string, env map[string]string) ([]string, error) {
	if role == "argocd" && slices.Equal(rest[:min(2, len(rest))], []string{"admin", "redis-initial-password"}) {
		return []string{"argocd-redis-initial-password"}, nil
	}
	service := func(name string, port int) (string, error) { return w.k.serviceAddr(ctx, s.pod.Namespace, name, port) }
	switch role {
	case "argocd-application-controller", "argocd-repo-server", "argocd-server", "argocd-applicationset-controller":
	default:
		return nil, nil
	}
	repo, err := service("argocd-repo-server", repoServerPort)
	if err != nil {
		return nil, err
	}
	cache, err := service("argocd-redis", 6379)
	if err != nil {
		return nil, err
	}
	flags := append([]string{role}, rest...)
	switch role {
	case "argocd-repo-server":
		for _, pair := range w.k.gitProxy {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		return append(flags, "--disable-tls", "--redis="+cache, "--address="+w.address, fmt.Sprintf("--port=%d", repoServerPort),
			"--metrics-address="+w.address, fmt.Sprintf("--metrics-port=%d", repoServerMetricsPort)), nil
	case "argocd-server":
		// The server calls itself on localhost, so it must have a port of its own there. It serves metrics on --address too, whatever
		// --metrics-address says: two of them on one machine would take the port from each other.
		port, err := movePort(p, serverPort)
		if err != nil {
			return nil, err
		}
		metrics, err := movePort(p, serverMetricsPort)
		if err != nil {
			return nil, err
		}
		return append(flags, "--repo-server="+repo, "--repo-server-plaintext", "--redis="+cache, "--staticassets=", "--address=127.0.0.1",
			"--port="+port, "--metrics-port="+metrics), nil
	case "argocd-applicationset-controller":
		return append(flags, "--argocd-repo-server="+repo, "--repo-server-plaintext", "--metrics-addr="+join(w.address, 8080),
			"--probe-addr="+join(w.address, 8081), "--webhook-addr="+join(w.address, 7000)), nil
	}
	// The controller serves metrics and health on all addresses, so its port must be free on all of them.
	port, err := movePort(p, controllerMetricsPort)
	if err != nil {
		return nil, err
	}
	return append(flags, "--repo-server="+repo, "--repo-server-plaintext", "--redis="+cache, "--metrics-port="+port), nil
}

// movePort gives a container port a free port of 127.0.0.1; the others stay on the pod's own address.
func movePort(p *play, container int) (string, error) {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return "", fmt.Errorf("free port: %w", err)
	}
	defer l.Close()
	port, others := l.Addr().(*net.TCPAddr).Port, p.addr
	p.addr = func(asked int) string {
		if asked == container {
			return join("127.0.0.1", port)
		}
		return others(asked)
	}
	return strconv.Itoa(port), nil
}

// argocdEnv adds what Argo CD finds by fixed paths in its image, and shorter waits where the pod asks for none.
func (w *worker) argocdEnv(s *setting, p *play, env map[string]string) error {
	kubeconfig := filepath.Join(s.dir, "kubeconfig")
	if err := w.accountKubeconfig(s, kubeconfig); err != nil {
		return err
	}
	gitconfig := filepath.Join(s.dir, "gitconfig")
	// A repository of the rehearsal may belong to another user than the one the lab runs as.
	if err := os.WriteFile(gitconfig, []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return err
	}
	links, err := w.argocdLinks(p)
	if err != nil {
		return err
	}
	env["PATH"] = links + string(os.PathListSeparator) + env["PATH"]
	env["KUBECONFIG"], env["GIT_CONFIG_GLOBAL"] = kubeconfig, gitconfig
	env["ARGOCD_FAKE_IN_CLUSTER"] = "true" // https://kubernetes.default.svc means KUBECONFIG
	env["ARGOCD_GPG_ENABLED"] = "false"
	env["ARGOCD_TLS_DATA_PATH"] = s.mounts.rewrite("/app/config/tls")
	env["ARGOCD_SSH_DATA_PATH"] = s.mounts.rewrite("/app/config/ssh")
	env["ARGOCD_PLUGINSOCKFILEPATH"] = s.mounts.rewrite("/home/argocd/cmp-server/plugins")
	env["ARGOCD_ASK_PASS_SOCK"] = filepath.Join(w.k.sock, string(w.uid)[:8]+".sock")
	for name, value := range map[string]string{
		"ARGOCD_RECONCILIATION_TIMEOUT": "15s", "ARGOCD_RECONCILIATION_JITTER": "1s", "ARGOCD_SYNC_WAVE_DELAY": "0",
	} {
		if env[name] == "" {
			env[name] = value
		}
	}
	return nil
}

// argocdLinks is a directory of links to this binary and to the one that plays the image, named like the helpers that Argo CD starts by
// name.
func (w *worker) argocdLinks(p *play) (string, error) {
	dir := filepath.Join(w.k.opts.PodsDir, ".bin", p.argv0)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	player := p.path
	if player == spawn.Self {
		player = self
	}
	for name, target := range map[string]string{"argocd-git-ask-pass": player, "kustomize": self} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
			return "", err
		}
	}
	return dir, nil
}

// accountKubeconfig writes a kubeconfig that acts as the pod's service account.
func (w *worker) accountKubeconfig(s *setting, path string) error {
	user := &clientcmdapi.AuthInfo{}
	cluster := &clientcmdapi.Cluster{Server: w.k.opts.Endpoint, CertificateAuthorityData: w.k.opts.Authority.PEM}
	if s.account != "" {
		user.TokenFile = filepath.Join(s.account, "token")
	}
	data, err := clientcmd.Write(clientcmdapi.Config{
		CurrentContext: "in-cluster",
		Clusters:       map[string]*clientcmdapi.Cluster{"in-cluster": cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"in-cluster": user},
		Contexts:       map[string]*clientcmdapi.Context{"in-cluster": {Cluster: "in-cluster", AuthInfo: "in-cluster", Namespace: s.pod.Namespace}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
