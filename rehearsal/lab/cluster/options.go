// Package cluster starts one Kubernetes control plane as child processes, plays its nodes, and takes orders (nodes
// come and go, add-ons turn active) on a unix socket. It must leave nothing behind, whichever way it ends.
package cluster

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"

	"pipectl.dev/rehearsal/lab/gitmirror"
)

// Options say what one cluster is made of.
type Options struct {
	Dir          string   // everything of this cluster: kubeconfig, keys, logs, pods
	Name         string   // name of the cluster and of its kubeconfig context
	Issuer       string   // service account issuer, an https URL
	NodesDir     string   // NodesDir/<instance id>/root is a node's root file system
	VolumesDir   string   // VolumesDir/<volume id> is an EBS volume
	Pipectl      string   // binary that containers of the pipectl image run
	TokenWebhook string   // optional: URL that reviews bearer tokens
	CSIEndpoint  string   // optional: URL that attaches and detaches volumes
	PodEnv       []string // NAME=VALUE for every container of the pipectl image
	GitMirrors   []gitmirror.Mirror
}

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// parse reads the command line of the role. All directories come back absolute.
func parse(args []string) (Options, error) {
	var o Options
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.StringVar(&o.Dir, "dir", "", "directory of the cluster")
	flags.StringVar(&o.Name, "name", "", "name of the cluster")
	flags.StringVar(&o.Issuer, "issuer", "", "service account issuer, an https URL")
	flags.StringVar(&o.NodesDir, "nodes-dir", "", "directory of the nodes' root file systems")
	flags.StringVar(&o.VolumesDir, "volumes-dir", "", "directory of the volumes")
	flags.StringVar(&o.Pipectl, "pipectl", "", "path of the pipectl binary")
	flags.StringVar(&o.TokenWebhook, "token-webhook", "", "URL of a token reviewer")
	flags.StringVar(&o.CSIEndpoint, "csi-endpoint", "", "URL that attaches and detaches volumes")
	flags.Var((*list)(&o.PodEnv), "pod-env", "NAME=VALUE for pods of the pipectl image (repeatable)")
	var mirrors list
	flags.Var(&mirrors, "git-mirror", "URL=DIR: Argo CD fetches the repository at URL from DIR (repeatable)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for name, value := range map[string]*string{"dir": &o.Dir, "nodes-dir": &o.NodesDir, "volumes-dir": &o.VolumesDir, "pipectl": &o.Pipectl} {
		if *value == "" {
			return o, fmt.Errorf("--%s is missing", name)
		}
		path, err := filepath.Abs(*value)
		if err != nil {
			return o, fmt.Errorf("--%s: %w", name, err)
		}
		*value = path
	}
	if o.Name == "" {
		return o, errors.New("--name is missing")
	}
	if !strings.HasPrefix(o.Issuer, "https://") {
		return o, fmt.Errorf("--issuer %q: an https URL is needed, as the API server publishes no keys for any other", o.Issuer)
	}
	for _, pair := range mirrors {
		mirror, err := gitmirror.Parse(pair)
		if err != nil {
			return o, err
		}
		o.GitMirrors = append(o.GitMirrors, mirror)
	}
	// The kernel's limit for a socket's path is 108 bytes with the closing zero.
	if socket := filepath.Join(o.Dir, controlSocket); len(socket) > 107 {
		return o, fmt.Errorf("--dir %s: too long by %d bytes for a socket in it", o.Dir, len(socket)-107)
	}
	return o, nil
}
