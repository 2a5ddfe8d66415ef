package rehearsal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestNeedsOfTheShippedPipelines(t *testing.T) {
	const context = "kubernetes-admin@kubernetes"
	jenkins := workload{Namespace: "jenkins", Kind: "deployment", Name: "jenkins"}
	given := map[string]string{"old": context, "context": context, "zone": "ap-northeast-2a"}
	for file, want := range map[string]needs{
		"blog.yaml": {Places: []*place{{Context: context, Jenkins: jenkins}}},
		"irsa.yaml": {
			Places:   []*place{{EKS: "rehearsal", Others: true}},
			Policies: []string{"arn:aws:iam::1:policy/rehearsal"},
			Params:   map[string]string{"cluster": "rehearsal", "policy": "arn:aws:iam::1:policy/rehearsal"},
		},
		"irsa-anywhere.yaml": {
			Places:   []*place{{Context: context, Others: true, Issuer: "https://s3.ap-northeast-2.amazonaws.com/rehearsal-issuer"}},
			Policies: []string{"arn:aws:iam::1:policy/rehearsal"},
			Issuers:  map[string]string{"rehearsal-issuer": "https://s3.ap-northeast-2.amazonaws.com/rehearsal-issuer"},
			Params:   map[string]string{"bucket": "rehearsal-issuer", "policy": "arn:aws:iam::1:policy/rehearsal"},
		},
		"jenkins-to-ebs.yaml": {
			Places: []*place{{EKS: "rehearsal", Others: true, Driver: true}, {Context: context, Jenkins: jenkins}},
			Params: map[string]string{"cluster": "rehearsal"},
		},
		"sync.yaml": {Places: []*place{{Context: context, Others: true, Apps: []string{"jenkins", "blog"}}}},
	} {
		t.Run(file, func(t *testing.T) {
			o, err := readOutline(filepath.Join(shipped(t), file))
			if err != nil {
				t.Fatal(err)
			}
			o.Values = given
			if diff := cmp.Diff(want, needsOf(o, "1"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNeeds(t *testing.T) {
	for sentence, c := range map[string]struct {
		stages string
		values map[string]string
		want   needs
	}{
		"a param with a value names the cluster": {
			stages: "- {name: c, step: provision-eks, with: {name: '${{ params.cluster }}', existing: true}}",
			values: map[string]string{"cluster": "mine"},
			want:   needs{Places: []*place{{EKS: "mine", Others: true}}},
		},
		"a cluster that the pipeline makes is not there before": {
			stages: "- {name: c, step: provision-eks, with: {name: mine}}\n- {name: a, step: attach-volume, with: {cluster: {eks: {name: mine}}, claim: a/b}}",
			want:   needs{},
		},
		"an add-on that the pipeline installs is not there before": {
			stages: "- {name: i, step: install-addon, with: {cluster: {eks: {name: x}}, name: aws-ebs-csi-driver}}\n- {name: a, step: attach-volume, with: {cluster: {eks: {name: x}}, claim: a/b}}",
			want:   needs{Places: []*place{{EKS: "x", Others: true}}},
		},
		"an Argo CD that the pipeline installs is not there before": {
			stages: "- {name: m, step: apply-manifests, with: {cluster: {context: x}}}\n- {name: s, step: sync-argocd, with: {cluster: {context: x}, apps: [{name: a}]}}",
			want:   needs{Places: []*place{{Context: "x", Others: true}}},
		},
		"a service account that is not to be made is there before": {
			stages: "- {name: b, step: bind-irsa, with: {cluster: {eks: {name: x}}, serviceAccounts: [{namespace: n, name: a, create: false}, {namespace: n, name: b}]}}",
			want:   needs{Places: []*place{{EKS: "x", Others: true, Accounts: []string{"n/a"}}}},
		},
		"a policy of another account cannot be made here": {
			stages: "- {name: b, step: bind-irsa, with: {cluster: {eks: {name: x}}, policyArns: ['arn:aws:iam::2:policy/p', 'arn:aws:iam::1:policy/q', 'arn:aws:iam::aws:policy/r']}}",
			want:   needs{Places: []*place{{EKS: "x", Others: true}}, Policies: []string{"arn:aws:iam::1:policy/q"}},
		},
		"a Jenkins is moved out of the cluster that it is used in": {
			stages: "- {name: p, step: precopy-jenkins-home, with: {from: {cluster: {eks: {name: x}}, namespace: ci, workload: statefulset/j}}}\n- {name: s, step: sync-argocd, with: {cluster: {eks: {name: x}}, apps: [{name: a}]}}",
			want:   needs{Places: []*place{{EKS: "x", Others: true, Jenkins: workload{"ci", "statefulset", "j"}, Apps: []string{"a"}}}},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.yaml")
			text := "metadata: {name: p}\nspec:\n  stages:\n"
			for _, line := range strings.Split(c.stages, "\n") {
				text += "    " + line + "\n"
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			o, err := readOutline(file)
			if err != nil {
				t.Fatal(err)
			}
			o.Values = c.values
			if diff := cmp.Diff(c.want, needsOf(o, "1"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
