package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	_ "time/tzdata" // CronJobs name time zones

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of client-go
	_ "k8s.io/component-base/metrics/prometheus/version"  // metric of the version
	kubeversion "k8s.io/component-base/version"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// kubeRoles are the control plane's own programs.
func kubeRoles() map[string]role {
	return map[string]role{
		"etcd":                    untilSignal(etcd),
		"kube-apiserver":          component(kubeapiserver.NewAPIServerCommand),
		"kube-controller-manager": component(kubecontrollermanager.NewControllerManagerCommand),
		"kube-scheduler":          component(func() *cobra.Command { return kubescheduler.NewSchedulerCommand() }),
	}
}

// component runs an upstream program's own command line.
func component(command func() *cobra.Command) role {
	return func(args []string) int {
		c := command()
		c.SetArgs(args)
		return cli.Run(c)
	}
}

// etcd serves one member without TLS on loopback; it holds nothing that outlives a rehearsal, so it never syncs.
func etcd(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	dir := flags.String("data-dir", "", "directory of the data")
	client := flags.String("listen-client-url", "", "http URL on loopback for clients")
	peer := flags.String("listen-peer-url", "", "http URL on loopback for peers (there are none)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	clientURL, err := url.Parse(*client)
	if err != nil {
		return fmt.Errorf("etcd: listen-client-url: %w", err)
	}
	peerURL, err := url.Parse(*peer)
	if err != nil {
		return fmt.Errorf("etcd: listen-peer-url: %w", err)
	}
	cfg := embed.NewConfig()
	cfg.Name = "lab"
	cfg.Dir = *dir
	cfg.UnsafeNoFsync = true
	cfg.LogLevel = "error"
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	// A lone member elects itself; the usual second of waiting for others would be lost time.
	cfg.TickMs, cfg.ElectionMs = 10, 100
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	}
}

// version prints what the binary plays, one "name version" a line.
func version([]string) int {
	fmt.Printf("kubernetes %s\n", kubeversion.Get().GitVersion)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return 0
	}
	for _, dep := range info.Deps {
		for _, path := range []string{"github.com/argoproj/argo-cd/v3", "go.etcd.io/etcd/server/v3"} {
			if dep.Path == path {
				fmt.Fprintf(os.Stdout, "%s %s\n", strings.TrimSuffix(strings.TrimPrefix(path, "github.com/argoproj/"), "/v3"), dep.Version)
			}
		}
	}
	return 0
}
