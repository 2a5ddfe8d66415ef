package rehearsal

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"pipectl.dev/kube"
	"pipectl.dev/rehearsal/aws"
	"pipectl.dev/rehearsal/cluster"
)

// site is a cluster that is there before the pipeline starts.
type site struct {
	*place
	cluster  *cluster.Cluster
	config   *rest.Config // an administrator's
	client   kube.Typed
	node     string // where a Jenkins would run
	instance string // the EC2 instance of that node
}

// machine is an EC2 instance of a kubeadm cluster.
type machine struct{ ID, Name, IP, Zone, Type string }

// machines are the two of the nth kubeadm cluster: a control plane and a worker.
func machines(n int, zone string) []machine {
	var out []machine
	for i, last := range []string{"10", "20"} {
		ip := "172.31." + strconv.Itoa(n) + "." + last
		out = append(out, machine{fmt.Sprintf("i-0a11ce%011d", 2*n+i+1), "ip-" + strings.ReplaceAll(ip, ".", "-"), ip, zone, "t3.medium"})
	}
	return out
}

// besides is another zone of the same region.
func besides(zone string) string {
	if strings.HasSuffix(zone, "a") {
		return strings.TrimSuffix(zone, "a") + "c"
	}
	return zone[:len(zone)-1] + "a"
}

// worker is the machine whose disk holds a Jenkins home.
func worker(ms []machine) machine { return ms[len(ms)-1] }

// startKubeadm starts the nth cluster made by kubeadm, on EC2 instances but without a cloud provider: its nodes have no provider ID and
// are found by their private address.
func (w *world) startKubeadm(ctx context.Context, s *site, n int) error {
	name := "kubeadm"
	if n > 0 {
		name += strconv.Itoa(n + 1)
	}
	zone := w.outline.zone()
	if s.Apart {
		zone = besides(zone)
	}
	ms := machines(n, zone)
	for _, m := range ms {
		i, err := w.cloud.SeedInstance(aws.InstanceSeed{ID: m.ID, Name: m.Name, PrivateIP: m.IP, Zone: m.Zone, Type: m.Type})
		if err != nil {
			return err
		}
		w.eks.RootDisk(i.RootDisk, m.ID)
	}
	s.node, s.instance = worker(ms).Name, worker(ms).ID
	var err error
	if s.cluster, err = w.lab.Start(ctx, name, cluster.Options{Issuer: cmp.Or(s.Issuer, "https://kubernetes.default.svc.cluster.local")}); err != nil {
		return err
	}
	for _, m := range ms {
		n := cluster.Node{Name: m.Name, InstanceID: m.ID, PrivateIP: m.IP, Zone: m.Zone, Region: w.outline.Spec.Region, InstanceType: m.Type}
		if err := s.cluster.AddNode(ctx, n); err != nil {
			return err
		}
	}
	return s.connect()
}

// startEKS makes an EKS cluster that was there before, which the client under test may administer.
func (w *world) startEKS(ctx context.Context, s *site) error {
	seed := aws.ClusterSeed{Name: s.EKS, Admins: []string{w.access.Principal}}
	if s.Driver {
		seed.Addons = []string{"aws-ebs-csi-driver"}
	}
	if err := w.cloud.SeedCluster(ctx, seed); err != nil {
		return err
	}
	var err error
	if s.cluster, err = w.eks.Cluster(ctx, s.EKS); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "topology.kubernetes.io/zone=" + w.outline.zone()})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		s.node, s.instance = n.Name, filepath.Base(n.Spec.ProviderID)
	}
	return nil
}

func (s *site) connect() error {
	var err error
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.cluster.Kubeconfig); err != nil {
		return err
	}
	s.config.QPS, s.config.WarningHandler = -1, rest.NoWarnings{}
	s.client, err = kube.NewTyped(s.config)
	return err
}

// startSite starts a cluster and puts into it what the pipeline presupposes.
func (w *world) startSite(ctx context.Context, s *site, n int) error {
	group, starting := errgroup.WithContext(ctx)
	switch {
	case s.Context == "":
		group.Go(func() error { return w.startEKS(starting, s) })
	case s.Jenkins.Name != "": // the instance is known beforehand, and both take their time
		group.Go(func() error { return w.makeFiles(worker(machines(n, "")).ID) })
		fallthrough
	default:
		group.Go(func() error { return w.startKubeadm(starting, s, n) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if s.Context == "" && s.Jenkins.Name != "" {
		if err := w.makeFiles(s.instance); err != nil {
			return err
		}
	}
	if err := w.furnish(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", s.title(), err)
	}
	return nil
}

func (w *world) furnish(ctx context.Context, s *site) error {
	for _, account := range s.Accounts {
		namespace, name, _ := strings.Cut(account, "/")
		if err := putAccount(ctx, s.client, namespace, name); err != nil {
			return err
		}
	}
	if s.Jenkins.Name != "" {
		if err := putJenkins(ctx, s.client, s.Jenkins, s.node); err != nil {
			return err
		}
	}
	if len(s.Apps) > 0 {
		if err := w.putArgoCD(ctx, s); err != nil {
			return err
		}
		return w.putApps(ctx, s)
	}
	return nil
}

func (s *site) title() string {
	if s.Context != "" {
		return "cluster " + s.Context
	}
	return "EKS cluster " + s.EKS
}

// writeKubeconfig gives the client under test a kubeconfig with a context for each cluster made by kubeadm; the first is the current one.
func writeKubeconfig(sites []*site, to string) error {
	all := clientcmdapi.NewConfig()
	for _, s := range sites {
		if s.Context == "" {
			continue
		}
		cfg, err := clientcmd.LoadFromFile(s.cluster.Kubeconfig)
		if err != nil {
			return err
		}
		current := cfg.Contexts[cfg.CurrentContext].DeepCopy()
		name := s.cluster.Name
		all.Clusters[name], all.AuthInfos[name] = cfg.Clusters[current.Cluster], cfg.AuthInfos[current.AuthInfo]
		current.Cluster, current.AuthInfo = name, name
		all.Contexts[s.Context] = current
		if all.CurrentContext == "" {
			all.CurrentContext = s.Context
		}
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return clientcmd.WriteToFile(*all, to)
}
