package provisioneks

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"pipectl.dev/cloud/owned"
)

// kubeconfig merges access to the cluster into a file, under the cluster's ARN. No token is written: a program makes one when needed.
func kubeconfig(sp Spec, needs ...string) resource {
	return resource{
		Kind: kindKubeconfig, Name: sp.Kubeconfig.Path, Needs: needs,
		Observe: func(_ context.Context, s *state) (status, error) {
			cfg, err := readKubeconfig(sp.Kubeconfig.Path)
			if err != nil || s.cluster == nil || s.down {
				return absent, err
			}
			name := aws.ToString(s.cluster.Arn)
			c, ok := cfg.Clusters[name]
			if !ok || cfg.AuthInfos[name] == nil || cfg.AuthInfos[name].Exec == nil {
				return absent, nil
			}
			var d owned.Drift
			d.Mend("server", c.Server, aws.ToString(s.cluster.Endpoint))
			d.Mend("exec", filepath.Base(cfg.AuthInfos[name].Exec.Command), sp.Kubeconfig.Exec)
			return status{Exists: true, Ready: true, ID: name, Drift: d}, nil
		},
		Create: func(_ context.Context, s *state) error { return s.writeKubeconfig() },
		Update: func(_ context.Context, s *state, _ []string) error { return s.writeKubeconfig() },
	}
}

func expand(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, rest), err
}

func readKubeconfig(path string) (*api.Config, error) {
	file, err := expand(path)
	if err != nil {
		return nil, err
	}
	cfg, err := clientcmd.LoadFromFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return api.NewConfig(), nil
	}
	if err != nil {
		return nil, precondition("BadKubeconfig", fmt.Sprintf("kubeconfig.path: %s: %v", path, err), "mend the file, or name another one")
	}
	return cfg, nil
}

// kubeconfigFile is the file of this machine that has access to the cluster, "" where it has none.
func (s *state) kubeconfigFile() string {
	if s.spec.Kubeconfig == nil || s.cluster == nil {
		return ""
	}
	file, err := expand(s.spec.Kubeconfig.Path)
	if err != nil {
		return ""
	}
	cfg, err := readKubeconfig(s.spec.Kubeconfig.Path)
	if err != nil || cfg.Clusters[aws.ToString(s.cluster.Arn)] == nil {
		return ""
	}
	return file
}

func (s *state) writeKubeconfig() error {
	cfg, err := readKubeconfig(s.spec.Kubeconfig.Path)
	if err != nil {
		return err
	}
	file, err := expand(s.spec.Kubeconfig.Path)
	if err != nil {
		return err
	}
	ca, err := base64.StdEncoding.DecodeString(s.ref(s.cluster).EKS.CertificateAuthority)
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	name := aws.ToString(s.cluster.Arn)
	exec := &api.ExecConfig{APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: api.NeverExecInteractiveMode}
	if s.spec.Kubeconfig.Exec == "aws" {
		exec.Command, exec.Args = "aws", []string{"eks", "get-token", "--cluster-name", s.spec.Name, "--region", s.aws.Region}
		exec.APIVersion = "client.authentication.k8s.io/v1beta1"
	} else {
		exec.Command, exec.Args = "pipectl", []string{"token", "--cluster", s.spec.Name, "--region", s.aws.Region}
	}
	cfg.Clusters[name] = &api.Cluster{Server: aws.ToString(s.cluster.Endpoint), CertificateAuthorityData: ca}
	cfg.AuthInfos[name] = &api.AuthInfo{Exec: exec}
	cfg.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	if cfg.CurrentContext == "" {
		cfg.CurrentContext = name
	}
	return clientcmd.WriteToFile(*cfg, file)
}
