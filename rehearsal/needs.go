package rehearsal

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// place is a cluster that a pipeline uses and does not make, with what must be in it before the pipeline starts.
type place struct {
	Context  string   // context of a kubeconfig: a cluster made by kubeadm; "" for one of EKS
	EKS      string   // name in EKS
	Jenkins  workload // the Jenkins that is moved away, if there is one
	Apart    bool     // its nodes are in another zone than the data volume, which the stage of the move says by its route
	Others   bool     // stages other than the move use it too
	Apps     []string // Argo CD runs in it, with these Applications
	Driver   bool     // the EBS CSI driver is installed
	Accounts []string // service accounts that must be there, as namespace/name
	Issuer   string   // issuer of its tokens, where the pipeline names one
}

// workload is a Jenkins in its cluster.
type workload struct{ Namespace, Kind, Name string } // Kind: deployment or statefulset

// needs is what a world must have for a pipeline.
type needs struct {
	Places   []*place
	Policies []string          // ARNs of customer managed policies
	Issuers  map[string]string // buckets with the documents of an issuer that everybody may read, and the issuer's URL
	Params   map[string]string // values for params that have none, where it is clear what they stand for
}

var (
	paramRef   = regexp.MustCompile(`^\$\{\{\s*params\.([A-Za-z0-9]+)\s*}}$`)
	clusterRef = regexp.MustCompile(`^\$\{\{\s*stages\.([A-Za-z0-9]+)\.outputs\.cluster\s*}}$`)
)

// needsOf derives them from the pipeline alone. It understands literals, params and the cluster output of a stage; of what else an
// expression may say, nothing is made ready.
func needsOf(o outline, account string) needs {
	n := needs{Params: map[string]string{}}
	r := reader{o: o, n: &n, account: account}
	for _, s := range o.Spec.Stages {
		r.stage(s)
	}
	for _, s := range o.Spec.Stages { // once it is known what the pipeline installs by itself
		r.content(s)
	}
	return n
}

// reader looks values up in a pipeline.
type reader struct {
	o       outline
	n       *needs
	account string
}

// text is the value of a scalar, as far as it is known; invented is given to a param without a value and may be "".
func (r *reader) text(node *yaml.Node, invented string) string {
	if node == nil || node.Kind != yaml.ScalarNode {
		return ""
	}
	m := paramRef.FindStringSubmatch(node.Value)
	if m == nil {
		if strings.Contains(node.Value, "${{") {
			return ""
		}
		return node.Value
	}
	if v := r.o.Values[m[1]]; v != "" {
		return v
	}
	if invented != "" && r.n.Params[m[1]] == "" {
		r.n.Params[m[1]] = invented
	}
	return r.n.Params[m[1]]
}

// cluster finds the place that a cluster input means; nil for a cluster that the pipeline makes.
func (r *reader) cluster(node *yaml.Node) *place {
	if node == nil {
		return nil
	}
	if m := clusterRef.FindStringSubmatch(node.Value); m != nil {
		for _, s := range r.o.Spec.Stages {
			if s.Name == m[1] {
				return r.eks(s)
			}
		}
		return nil
	}
	if name := r.text(at(node, "context"), "rehearsal"); name != "" {
		return r.place(place{Context: name})
	}
	if name := r.text(at(node, "eks", "name"), "rehearsal"); name != "" && !r.made(name) {
		return r.place(place{EKS: name})
	}
	return nil
}

// eks is the place of a stage that looks at a cluster made elsewhere.
func (r *reader) eks(s stage) *place {
	if s.Step != "provision-eks" || at(&s.With, "existing") == nil || at(&s.With, "existing").Value != "true" {
		return nil
	}
	name := r.text(at(&s.With, "name"), "rehearsal")
	if name == "" {
		return nil
	}
	return r.place(place{EKS: name})
}

// made reports whether the pipeline itself makes an EKS cluster of that name.
func (r *reader) made(name string) bool {
	return slices.ContainsFunc(r.o.Spec.Stages, func(s stage) bool {
		return s.Step == "provision-eks" && r.text(at(&s.With, "name"), "") == name && at(&s.With, "existing") == nil
	})
}

func (r *reader) place(p place) *place {
	for _, have := range r.n.Places {
		if have.Context == p.Context && have.EKS == p.EKS {
			return have
		}
	}
	r.n.Places = append(r.n.Places, &p)
	return &p
}

// stage notes which clusters a stage uses, and the Jenkins that it moves.
func (r *reader) stage(s stage) {
	if p := r.eks(s); p != nil {
		p.Others = true
	}
	if p := r.cluster(at(&s.With, "cluster")); p != nil {
		p.Others = true
	}
	from := at(&s.With, "from")
	if p := r.cluster(at(from, "cluster")); p != nil {
		kind, name, _ := strings.Cut(r.text(at(from, "workload"), ""), "/")
		p.Jenkins = workload{Namespace: r.text(at(from, "namespace"), ""), Kind: kind, Name: name}
		route := r.text(at(&s.With, "route"), "")
		p.Apart = route == "snapshot" || route == "stream"
	}
}

// content notes what a stage presupposes in its cluster.
func (r *reader) content(s stage) {
	p := r.cluster(at(&s.With, "cluster"))
	switch s.Step {
	case "sync-argocd":
		if p != nil && !r.installs("apply-manifests", p, "") {
			for _, app := range items(at(&s.With, "apps")) {
				if name := r.text(at(app, "name"), ""); name != "" && !slices.Contains(p.Apps, name) {
					p.Apps = append(p.Apps, name)
				}
			}
		}
	case "attach-volume":
		if p != nil && !r.installs("install-addon", p, "aws-ebs-csi-driver") {
			p.Driver = true
		}
	case "bind-irsa":
		for _, account := range items(at(&s.With, "serviceAccounts")) {
			if create := at(account, "create"); p != nil && create != nil && create.Value == "false" {
				p.Accounts = append(p.Accounts, r.text(at(account, "namespace"), "")+"/"+r.text(at(account, "name"), ""))
			}
		}
		r.issuer(p, at(&s.With, "issuer"))
		prefix := "arn:aws:iam::" + r.account + ":policy/"
		for _, node := range items(at(&s.With, "policyArns")) {
			if arn := r.text(node, prefix+"rehearsal"); strings.HasPrefix(arn, prefix) && !slices.Contains(r.n.Policies, arn) {
				r.n.Policies = append(r.n.Policies, arn)
			}
		}
	}
}

// issuer notes for whom a cluster made by kubeadm must sign its tokens.
func (r *reader) issuer(p *place, node *yaml.Node) {
	bucket, address := r.text(at(node, "bucket"), "rehearsal-issuer"), r.text(at(node, "url"), "")
	if p == nil || node == nil || bucket == "" && address == "" {
		return
	}
	if address == "" {
		address = "https://s3." + r.o.Spec.Region + ".amazonaws.com/" + bucket
	}
	p.Issuer = address
	if bucket != "" {
		if r.n.Issuers == nil {
			r.n.Issuers = map[string]string{}
		}
		r.n.Issuers[bucket] = address
	}
}

// installs reports whether some stage with that step works on the same cluster; name is that of an add-on, "" for any.
func (r *reader) installs(step string, p *place, name string) bool {
	return slices.ContainsFunc(r.o.Spec.Stages, func(s stage) bool {
		return s.Step == step && r.cluster(at(&s.With, "cluster")) == p && (name == "" || r.text(at(&s.With, "name"), "") == name)
	})
}

// at follows keys through mappings; nil where there is none.
func at(node *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if node == nil || node.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				next = node.Content[i+1]
			}
		}
		node = next
	}
	return node
}

func items(node *yaml.Node) []*yaml.Node {
	if node == nil || node.Kind != yaml.SequenceNode {
		return nil
	}
	return node.Content
}
