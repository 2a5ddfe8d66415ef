package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"pipectl.dev/rehearsal/lab/csi"
	"pipectl.dev/rehearsal/lab/gitmirror"
	"pipectl.dev/rehearsal/lab/kubelet"
)

// startTimeout bounds the start on the slowest machine worth using; a warm start takes a few seconds.
const startTimeout = 2 * time.Minute

// gitProxyPort is where web proxies usually are.
const gitProxyPort = 3128

// controlSocket is the socket's name in the cluster's directory.
const controlSocket = "control.sock"

// ready is the one line on stdout.
type ready struct {
	Ready      bool   `json:"ready"`
	Endpoint   string `json:"endpoint"`
	CA         string `json:"ca"`
	Kubeconfig string `json:"kubeconfig"`
	Control    string `json:"control"`
	GitProxy   string `json:"gitProxy,omitempty"` // with mirrors: an HTTPS proxy to them; its certificates are signed by ca
}

// Main runs one cluster until ctx ends, stdin reaches its end, or a part of it fails.
func Main(ctx context.Context, args []string) error {
	opts, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Whoever started the cluster holds the other end of stdin, so even its death by SIGKILL ends the cluster.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(context.Canceled)
	}()
	return run(ctx, opts, os.Stdout)
}

func run(ctx context.Context, opts Options, stdout io.Writer) error {
	if opts.TokenWebhook != "" {
		relay, err := startRelay(opts.TokenWebhook)
		if err != nil {
			return err
		}
		defer relay.close()
		opts.TokenWebhook = relay.url
	}
	plane, err := startControlPlane(ctx, opts)
	defer plane.stop()
	if err != nil {
		return quiet(ctx, err)
	}
	start, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("not ready within "+startTimeout.String()))
	defer cancel()
	if err := plane.ready(start); err != nil {
		return quiet(ctx, err)
	}
	return serve(ctx, start, plane, stdout)
}

// serve plays what surrounds a control plane that is up, and says that all is ready.
func serve(ctx, start context.Context, plane *controlPlane, stdout io.Writer) error {
	logFile, err := os.OpenFile(plane.file("logs", "nodes.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	log := slog.New(slog.NewTextHandler(logFile, nil))
	config, err := clientcmd.BuildConfigFromFlags("", plane.file("nodes.kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS = -1
	nodes, player, err := playNodes(ctx, plane, config, log)
	if err != nil {
		return err
	}
	defer nodes.Close()
	proxy, err := mirrorGit(plane, nodes)
	if err != nil {
		return err
	}
	defer proxy.close()
	control, err := listenControl(plane.file(controlSocket), nodes, player, plane)
	if err != nil {
		return err
	}
	defer control.close()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return nodes.Run(running) })
	group.Go(func() error { return player.Run(running) })
	group.Go(func() error {
		select {
		case <-running.Done():
			return nil
		case err := <-plane.failed:
			return err
		}
	})
	group.Go(func() error {
		if err := firstServiceAccount(start, config); err != nil {
			return err
		}
		line := ready{Ready: true, Endpoint: plane.endpoint, CA: base64.StdEncoding.EncodeToString(plane.authority.PEM),
			Kubeconfig: plane.file("kubeconfig"), Control: plane.file(controlSocket), GitProxy: proxy.url}
		return json.NewEncoder(stdout).Encode(line)
	})
	return quiet(ctx, group.Wait())
}

// playNodes builds the kubelet and the CSI player of the cluster; neither runs yet.
func playNodes(_ context.Context, plane *controlPlane, config *rest.Config, log *slog.Logger) (*kubelet.Kubelet, *csi.Player, error) {
	opts := plane.opts
	nodes, err := kubelet.New(kubelet.Options{
		Cluster: opts.Name, Config: config, Authority: plane.authority, Endpoint: plane.endpoint,
		PodsDir: plane.file("pods"), NodesDir: opts.NodesDir, Pipectl: opts.Pipectl, PodEnv: opts.PodEnv, EKS: opts.TokenWebhook != "", Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	player, err := csi.New(csi.Options{Cluster: opts.Name, Config: config, Endpoint: opts.CSIEndpoint, InstanceOf: nodes.InstanceOf, Log: log})
	if err != nil {
		nodes.Close()
		return nil, nil, err
	}
	return nodes, player, nil
}

type gitProxy struct {
	url   string // "" where nothing is mirrored
	close func()
}

// mirrorGit starts the proxy to mirrored repositories, where there are any, and has Argo CD's pods use it.
func mirrorGit(plane *controlPlane, nodes *kubelet.Kubelet) (gitProxy, error) {
	if len(plane.opts.GitMirrors) == 0 {
		return gitProxy{close: func() {}}, nil
	}
	listener, err := nodes.Listen(gitProxyPort)
	if err != nil {
		return gitProxy{}, fmt.Errorf("git mirror: %w", err)
	}
	proxy, err := gitmirror.Start(listener, plane.opts.GitMirrors, plane.authority, plane.file("gitconfig"))
	if err != nil {
		_ = listener.Close()
		return gitProxy{}, err
	}
	url := "http://" + listener.Addr().String()
	nodes.UseGitProxy(url, plane.file("ca.crt"))
	return gitProxy{url: url, close: proxy.Close}, nil
}

// firstServiceAccount waits for the account that the first pod will need; the controller manager makes it.
func firstServiceAccount(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, last = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("service account default/default: %w (last: %w)", context.Cause(ctx), last)
	}
	return nil
}

// quiet drops the errors that come of being told to end.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return nil
	}
	return err
}
