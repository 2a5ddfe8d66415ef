package aws

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// userDataProblem is why nodes of an image of one's own do not find their cluster: EKS gives them no user data, so the launch template must.
// Images of EKS's get theirs from EKS.
func (c *Cloud) userDataProblem(cl *cluster, g *nodegroup) string {
	if g.ami != "CUSTOM" {
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(g.template.params["UserData"])
	if err != nil {
		return "the user data is not base64"
	}
	text := string(raw)
	said := map[string]string{}
	switch {
	case strings.TrimSpace(text) == "":
		return "the image gets no user data from EKS, and the launch template has none"
	case strings.HasPrefix(text, "#!"):
		return scriptProblem(cl, text)
	case strings.HasPrefix(text, "MIME-Version:") || strings.HasPrefix(text, "Content-Type:"):
		var scripts []string
		if said, scripts, err = mimeFacts(text); err == nil && len(said) == 0 {
			return scriptProblem(cl, strings.Join(scripts, "\n"))
		}
	case strings.Contains(text, "kind: NodeConfig"):
		err = nodeConfigFacts(text, said)
	default:
		said, err = bottlerocketFacts(text)
	}
	if err != nil {
		return "the user data cannot be read: " + err.Error()
	}
	return factsProblem(cl, said)
}

// scriptProblem takes a script that bootstraps by itself at its word.
func scriptProblem(cl *cluster, script string) string {
	if strings.Contains(script, "nodeadm init") || strings.Contains(script, "bootstrap.sh "+cl.name) {
		return ""
	}
	return "the user data does not say which cluster to join"
}

// factsProblem compares what the nodes are told with the cluster. An absent service range, or DNS server, is a node that does not start.
func factsProblem(cl *cluster, said map[string]string) string {
	service := text(object(cl.doc, "kubernetesNetworkConfig"), "serviceIpv4Cidr")
	base, _, _ := strings.Cut(service, "/")
	dns := base[:strings.LastIndex(base, ".")+1] + "10"
	for _, want := range []struct{ fact, value string }{{"name", cl.name}, {"endpoint", text(cl.doc, "endpoint")}, {"ca", text(object(cl.doc, "certificateAuthority"), "data")}} {
		if said[want.fact] != want.value {
			return "the nodes look for a cluster of another " + want.fact
		}
	}
	if said["cidr"] != service && said["dns"] != dns {
		return "the nodes do not know the service range"
	}
	return ""
}

// mimeFacts reads user data of several parts: what its NodeConfigs say, the later the more, and its scripts.
func mimeFacts(text string) (said map[string]string, scripts []string, err error) {
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return nil, nil, err
	}
	said = map[string]string{}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return said, scripts, nil
		}
		if err != nil {
			return nil, nil, err
		}
		body, err := io.ReadAll(p)
		if err != nil {
			return nil, nil, err
		}
		kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		switch {
		case err != nil:
			return nil, nil, err
		case kind == "application/node.eks.aws":
			if err := nodeConfigFacts(string(body), said); err != nil {
				return nil, nil, err
			}
		case kind == "text/x-shellscript":
			scripts = append(scripts, string(body))
		}
	}
}

func nodeConfigFacts(text string, said map[string]string) error {
	var doc struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Spec       struct {
			Cluster map[string]any `yaml:"cluster"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return err
	}
	if doc.APIVersion != "node.eks.aws/v1alpha1" || doc.Kind != "NodeConfig" {
		return errors.New(doc.APIVersion + " " + doc.Kind + " is no NodeConfig")
	}
	for field, fact := range map[string]string{"name": "name", "apiServerEndpoint": "endpoint", "certificateAuthority": "ca", "cidr": "cidr"} {
		if v, ok := doc.Spec.Cluster[field].(string); ok {
			said[fact] = v
		}
	}
	return nil
}

// bottlerocketFacts reads as much TOML as user data of Bottlerocket has: tables, and strings in them. A table twice is an error of TOML.
func bottlerocketFacts(text string) (map[string]string, error) {
	said, tables, table := map[string]string{}, map[string]bool{}, ""
	fields := map[string]string{"cluster-name": "name", "api-server": "endpoint", "cluster-certificate": "ca", "cluster-dns-ip": "dns"}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if head, ok := strings.CutPrefix(line, "["); ok {
			table, _, _ = strings.Cut(head, "]")
			if tables[table] {
				return nil, errors.New("the table " + table + " is there twice")
			}
			tables[table] = true
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if fact := fields[strings.TrimSpace(key)]; ok && fact != "" && table == "settings.kubernetes" {
			v, err := strconv.Unquote(strings.TrimSpace(value))
			if err != nil {
				return nil, err
			}
			said[fact] = v
		}
	}
	return said, nil
}
