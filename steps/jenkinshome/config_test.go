package jenkinshome

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatTiesAHomeToItsOldPlaceIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		config, location string
		want             []string
	}{
		"no clouds": {`<?xml version='1.1' encoding='UTF-8'?><hudson><version>2.528.1</version><clouds/></hudson>`, "", nil},
		"a Kubernetes cloud with the addresses of its cluster": {`<?xml version='1.1' encoding='UTF-8'?><hudson><clouds><org.csanchez.jenkins.plugins.kubernetes.KubernetesCloud>
<serverUrl>https://172.31.0.10:6443</serverUrl><jenkinsUrl>http://jenkins.ci:8080</jenkinsUrl><jenkinsTunnel>jenkins-agent:50000</jenkinsTunnel>
</org.csanchez.jenkins.plugins.kubernetes.KubernetesCloud></clouds></hudson>`, "", []string{
			"config.xml: serverUrl is https://172.31.0.10:6443 (API server of a Kubernetes cloud; empty means the cluster that Jenkins runs in): see that it is right at the new place",
			"config.xml: jenkinsUrl is http://jenkins.ci:8080 (URL by which agents reach Jenkins): see that it is right at the new place",
			"config.xml: jenkinsTunnel is jenkins-agent:50000 (address by which agents reach Jenkins): see that it is right at the new place",
		}},
		"empty addresses follow Jenkins": {`<hudson><serverUrl></serverUrl><jenkinsUrl/></hudson>`, "", nil},
		"a pod template that mounts Docker's socket, twice": {`<hudson><hostPath>/var/run/docker.sock</hostPath><mountPath>/var/run/docker.sock</mountPath></hudson>`, "", []string{
			"config.xml: a pod template mounts /var/run/docker.sock: nodes of EKS run containerd and have none; build images another way"}},
		"the location": {`<hudson/>`, `<?xml version='1.1' encoding='UTF-8'?><x><adminAddress>me</adminAddress><jenkinsUrl>https://ci.example.com/</jenkinsUrl></x>`, []string{
			"jenkins.model.JenkinsLocationConfiguration.xml: jenkinsUrl is https://ci.example.com/ (URL by which agents reach Jenkins): see that it is right at the new place"}},
		"credentials in a URL": {`<hudson><jenkinsUrl>https://me:hunter2@ci.example.com/</jenkinsUrl></hudson>`, "", []string{
			"config.xml: jenkinsUrl is https://me:xxxxx@ci.example.com/ (URL by which agents reach Jenkins): see that it is right at the new place"}},
		"what is no XML": {"<hudson><\x00", "", []string{"config.xml: could not be looked through for addresses of the old place: line 1: not XML"}},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for file, text := range map[string]string{"config.xml": c.config, "jenkins.model.JenkinsLocationConfiguration.xml": c.location} {
				if text != "" {
					if err := os.WriteFile(filepath.Join(home, file), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if d := cmp.Diff(c.want, oldAddresses(home)); d != "" {
				t.Error(d)
			}
		})
	}
}
