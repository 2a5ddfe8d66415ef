package provisioneks

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"gopkg.in/yaml.v3"

	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/spec"
)

// Families of images of one's own, by what they read at their start.
const (
	familyAL2023       = "AmazonLinux2023" // nodeadm: a NodeConfig, alone or in MIME parts
	familyBottlerocket = "Bottlerocket"    // settings in TOML
	familyCustom       = "Custom"          // nothing that we know: its own user data, or none
)

// userDataLimit is what a user may add: EC2 takes 16 KiB, and what the nodes must know of their cluster takes under 3 of them.
const userDataLimit = 13 << 10

const nodeConfigType = "application/node.eks.aws"

// joinFacts are what a node must know to join a cluster. EKS tells them to its own images, and to no other.
type joinFacts struct{ name, endpoint, authority, cidr string }

// joinFactsOf gives those of a cluster, false while it does not have them all.
func joinFactsOf(c *ekstypes.Cluster) (joinFacts, bool) {
	if c == nil || c.CertificateAuthority == nil || c.KubernetesNetworkConfig == nil {
		return joinFacts{}, false
	}
	f := joinFacts{name: aws.ToString(c.Name), endpoint: aws.ToString(c.Endpoint), authority: aws.ToString(c.CertificateAuthority.Data), cidr: aws.ToString(c.KubernetesNetworkConfig.ServiceIpv4Cidr)}
	if c.KubernetesNetworkConfig.IpFamily == ekstypes.IpFamilyIpv6 {
		f.cidr = aws.ToString(c.KubernetesNetworkConfig.ServiceIpv6Cidr)
	}
	return f, f.endpoint != "" && f.authority != "" && f.cidr != ""
}

// dns is the address of the cluster's DNS service: the tenth of its range.
func (f joinFacts) dns() string {
	p, err := netip.ParsePrefix(f.cidr)
	if err != nil {
		return ""
	}
	a := p.Masked().Addr()
	for range 10 {
		a = a.Next()
	}
	return a.String()
}

func (f joinFacts) nodeConfig() string {
	return fmt.Sprintf("---\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster:\n    name: %s\n    apiServerEndpoint: %s\n    certificateAuthority: %s\n    cidr: %s\n",
		f.name, f.endpoint, f.authority, f.cidr)
}

func (f joinFacts) settings() string {
	return fmt.Sprintf("%s\ncluster-name = %q\napi-server = %q\ncluster-certificate = %q\ncluster-dns-ip = %q\n", settingsTable, f.name, f.endpoint, f.authority, f.dns())
}

// userData is what a launch template gives to nodes of an image of one's own, "" where it gives them nothing.
func (l LaunchTemplate) userData(f joinFacts) (string, error) {
	switch l.AMIFamily {
	case familyAL2023:
		own, err := mimeParts(l.UserData)
		if err != nil {
			return "", err
		}
		first := mimePart{kind: nodeConfigType, body: f.nodeConfig()}
		return joinParts(append([]mimePart{first}, own...)), nil
	case familyBottlerocket:
		return mergeSettings(l.UserData, f.settings())
	}
	return l.UserData, nil
}

// mimePart is one document of user data.
type mimePart struct{ kind, body string }

// joinParts keeps the order: of two NodeConfigs the later one wins, field by field.
func joinParts(parts []mimePart) string {
	sum := sha256.New()
	for _, p := range parts {
		_, _ = io.WriteString(sum, p.kind+"\x00"+p.body+"\x00")
	}
	boundary := "==" + hex.EncodeToString(sum.Sum(nil)[:12]) + "==" // the same for the same parts, and in none of them
	var b strings.Builder
	fmt.Fprintf(&b, "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=%q\n\n", boundary)
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\nContent-Type: %s\n\n%s\n", boundary, p.kind, strings.TrimSuffix(p.body, "\n"))
	}
	fmt.Fprintf(&b, "--%s--\n", boundary)
	return b.String()
}

// mimeParts takes a user's own user data apart. What cloud-init would not run, or would contradict us, is an error.
func mimeParts(text string) ([]mimePart, error) {
	var parts []mimePart
	switch head := strings.TrimSpace(text); {
	case head == "":
		return nil, nil
	case strings.HasPrefix(head, "#!"):
		parts = []mimePart{{`text/x-shellscript; charset="utf-8"`, head}}
	case strings.HasPrefix(head, "#cloud-config"):
		parts = []mimePart{{`text/cloud-config; charset="utf-8"`, head}}
	case strings.HasPrefix(head, "MIME-Version:") || strings.HasPrefix(head, "Content-Type:"):
		var err error
		if parts, err = splitParts(head); err != nil {
			return nil, fmt.Errorf("is no MIME document: %w", err)
		}
	case strings.Contains(head, "node.eks.aws/"):
		parts = []mimePart{{nodeConfigType, head}}
	default:
		return nil, errors.New("is neither a script (#!), #cloud-config, a NodeConfig nor a MIME document of such parts")
	}
	for _, p := range parts {
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func splitParts(text string) ([]mimePart, error) {
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") {
		return nil, fmt.Errorf("expected Content-Type multipart/mixed, got %q", m.Header.Get("Content-Type"))
	}
	var parts []mimePart
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		body, err := decoded(p, p.Header)
		if err != nil {
			return nil, err
		}
		parts = append(parts, mimePart{p.Header.Get("Content-Type"), body})
	}
}

func decoded(r io.Reader, h textproto.MIMEHeader) (string, error) {
	body, err := io.ReadAll(r)
	if err == nil && strings.EqualFold(h.Get("Content-Transfer-Encoding"), "base64") {
		body, err = base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(body), nil)))
	}
	return string(body), err
}

// check refuses a NodeConfig that names a cluster, and a script that bootstraps: the node would be told twice, and not the same.
func (p mimePart) check() error {
	kind, _, err := mime.ParseMediaType(p.kind)
	if err != nil {
		return fmt.Errorf("has a part of Content-Type %q", p.kind)
	}
	switch {
	case kind == nodeConfigType:
		var doc struct {
			Kind string `yaml:"kind"`
			Spec struct {
				Cluster map[string]any `yaml:"cluster"`
			} `yaml:"spec"`
		}
		if err := yaml.Unmarshal([]byte(p.body), &doc); err != nil {
			return fmt.Errorf("has a NodeConfig that is no YAML: %w", err)
		}
		if doc.Kind != "NodeConfig" {
			return fmt.Errorf("has a document of kind %q where nodeadm wants NodeConfig", doc.Kind)
		}
		for _, field := range []string{"name", "apiServerEndpoint", "certificateAuthority", "cidr"} {
			if _, ok := doc.Spec.Cluster[field]; ok {
				return fmt.Errorf("has a NodeConfig with spec.cluster.%s, which comes from the cluster", field)
			}
		}
	case strings.Contains(p.body, "/etc/eks/bootstrap.sh"):
		return errors.New("calls /etc/eks/bootstrap.sh, which Amazon Linux 2023 does not have")
	case strings.Contains(p.body, "nodeadm init"):
		return errors.New("calls nodeadm init, which the image does by itself")
	}
	return nil
}

const settingsTable = "[settings.kubernetes]"

// mergeSettings puts ours under the user's table of the same name, for TOML knows no table twice.
func mergeSettings(own, ours string) (string, error) {
	table, inside, at := "", false, -1
	lines := strings.Split(strings.TrimRight(own, "\n"), "\n")
	for i, line := range lines {
		bare, _, _ := strings.Cut(line, "#")
		bare = strings.TrimSpace(bare)
		if strings.HasPrefix(bare, "[") {
			table = strings.Join(strings.Fields(bare), "")
			if inside = table == settingsTable; inside {
				at = i
			}
			continue
		}
		key, _, assigned := strings.Cut(bare, "=")
		key = strings.Trim(strings.TrimSpace(key), `"'`)
		switch {
		case !assigned:
		case inside && slices.Contains([]string{"cluster-name", "api-server", "cluster-certificate", "cluster-dns-ip"}, key):
			return "", fmt.Errorf("has settings.kubernetes.%s, which comes from the cluster", key)
		case table == "" && strings.HasPrefix(key, "settings"), table == "[settings]" && strings.HasPrefix(key, "kubernetes"):
			return "", fmt.Errorf("has %s outside a table: write it under %s", key, settingsTable)
		}
	}
	if strings.HasPrefix(strings.TrimSpace(own), "#!") || strings.HasPrefix(strings.TrimSpace(own), "MIME-Version:") {
		return "", errors.New("is no TOML, and Bottlerocket reads nothing else")
	}
	if at < 0 {
		return strings.TrimLeft(strings.Join(lines, "\n")+"\n"+ours, "\n"), nil
	}
	return strings.Join(lines[:at], "\n") + strings.Repeat("\n", min(at, 1)) + ours + strings.Join(lines[at+1:], "\n") + "\n", nil
}

// templateUserData is what the launch template of p is to say, and false while the cluster that it speaks of is not there yet.
func (s *state) templateUserData(p *groupPart) (string, bool, error) {
	if p.LaunchTemplate.ImageID == "" {
		return "", true, nil
	}
	facts, known := joinFactsOf(s.cluster)
	if p.LaunchTemplate.AMIFamily == familyCustom {
		known = true
	}
	text, err := p.LaunchTemplate.userData(facts)
	return text, known, err
}

// userDataDrift compares by digest: user data may hold what is nobody's business.
func (s *state) userDataDrift(d *owned.Drift, have *ec2types.ResponseLaunchTemplateData, p *groupPart) error {
	want, known, err := s.templateUserData(p)
	if err != nil {
		return err
	}
	if !known {
		d.Mend("launchTemplate.userData", "that of an earlier cluster", "that of the new one")
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(have.UserData))
	if err != nil {
		raw = []byte("not base64")
	}
	d.Mend("launchTemplate.userData", digest(string(raw)), digest(want))
	return nil
}

func digest(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

func (l LaunchTemplate) check(at string, add adder) {
	if l.ImageID == "" {
		for field, value := range map[string]string{"amiFamily": l.AMIFamily, "userData": l.UserData} {
			if value != "" {
				add(spec.Join(at, field), "leave it out: EKS tells its own images what they must know", "only with launchTemplate.imageId")
			}
		}
		return
	}
	if len(l.UserData) > userDataLimit {
		add(spec.Join(at, "userData"), "have it fetch the rest", "expected at most %d bytes, got %d", userDataLimit, len(l.UserData))
	}
	if _, err := l.userData(joinFacts{}); err != nil {
		add(spec.Join(at, "userData"), "take that out, or use amiFamily: Custom, whose user data is left as it is", "%v", err)
	}
}
