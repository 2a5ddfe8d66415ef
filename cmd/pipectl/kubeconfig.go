package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"pipectl.dev/steps"
)

func (a *app) kubeconfigCommand() *cli.Command {
	return &cli.Command{
		Name: "kubeconfig", Usage: "write a kubeconfig for an EKS cluster", ArgsUsage: " ",
		Description: "Prints it, or with --merge adds it to a file. Tokens are made by `pipectl token` when kubectl asks: nothing secret is written.",
		Flags: flags(clusterFlags(), []cli.Flag{
			&cli.StringFlag{Name: "context", Usage: "`NAME` of the context (default: the cluster's)"},
			&cli.BoolFlag{Name: "merge", Usage: "merge into the kubeconfig file rather than print"},
			&cli.StringFlag{Name: "kubeconfig", Usage: "`FILE` to merge into (default: $KUBECONFIG, else ~/.kube/config)"},
			&cli.StringFlag{Name: "command", Value: "pipectl", Usage: "`COMMAND` that kubectl runs for a token"},
		}),
		Action: a.kubeconfigAction,
	}
}

func (a *app) kubeconfigAction(c *cli.Context) error {
	if err := atMost(c, 0); err != nil {
		return err
	}
	if c.String("cluster") == "" {
		return usage(c, "kubeconfig: --cluster is required")
	}
	ref, err := newClients().describe(c.Context, steps.EKSCluster{Name: c.String("cluster"), Region: c.String("region")})
	if err != nil {
		return err
	}
	cfg, err := kubeconfig(ref, c.String("context"), c.String("command"))
	if err != nil {
		return err
	}
	if !c.Bool("merge") {
		raw, err := clientcmd.Write(*cfg)
		if err != nil {
			return fmt.Errorf("kubeconfig: %w", err)
		}
		_, err = a.stdout.Write(raw)
		return err
	}
	path := c.String("kubeconfig")
	if path == "" {
		path = clientcmd.NewDefaultPathOptions().GetDefaultFilename()
	}
	if err := merge(path, cfg); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "context %s written to %s\n", cfg.CurrentContext, path)
	return nil
}

// kubeconfig is one cluster, one user and one context, all of the same name.
func kubeconfig(ref steps.EKSCluster, name, command string) (*api.Config, error) {
	ca, err := base64.StdEncoding.DecodeString(ref.CertificateAuthority)
	if err != nil || ref.Endpoint == "" {
		return nil, &steps.Error{Code: "ClusterNotReady", Category: steps.Precondition, Message: "eks: " + ref.Name + ": has no endpoint yet"}
	}
	if name == "" {
		name = ref.Name
	}
	cfg := api.NewConfig()
	cfg.Clusters[name] = &api.Cluster{Server: ref.Endpoint, CertificateAuthorityData: ca}
	cfg.AuthInfos[name] = &api.AuthInfo{Exec: &api.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: command, Args: []string{"token", "--cluster", ref.Name, "--region", ref.Region},
		InteractiveMode: api.NeverExecInteractiveMode, InstallHint: "pipectl must be on the PATH",
	}}
	cfg.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	return cfg, nil
}

// merge adds cfg to the file at path and makes its context the current one; other entries stay as they are.
func merge(path string, cfg *api.Config) error {
	old, err := clientcmd.LoadFromFile(path)
	if os.IsNotExist(err) {
		old, err = api.NewConfig(), os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		return &steps.Error{Code: "KubeconfigInvalid", Category: steps.BadInput, Message: "kubeconfig " + path, Err: err}
	}
	for name := range cfg.Contexts {
		old.Clusters[name], old.AuthInfos[name], old.Contexts[name] = cfg.Clusters[name], cfg.AuthInfos[name], cfg.Contexts[name]
	}
	old.CurrentContext = cfg.CurrentContext
	if err := clientcmd.WriteToFile(*old, path); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return nil
}
