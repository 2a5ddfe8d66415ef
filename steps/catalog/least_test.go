package catalog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/catalog"
)

// TestTheLeastSpecRemovesAllOfAUse makes two clusters with what hangs on them, takes one of each away by what owner tags alone tell, and
// holds the rest against what there was without it.
func TestTheLeastSpecRemovesAllOfAUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 91})
		k := w.Kube("blog", cloudtest.Node("ip-10-0-1-5"))
		defs := map[string]steps.Definition{}
		for _, d := range catalog.All(catalog.Deps{AWS: w.Open, Kube: k.Open}) {
			defs[d.Name] = d
		}
		apply := func(step, with string) {
			t.Helper()
			if _, err := w.Apply(t.Context(), defs[step], cloudtest.Input(t, with)); err != nil {
				t.Fatal(err)
			}
		}
		const cluster, group = "cluster: {eks: {name: blog, region: ap-northeast-2}}, ", ", nodeGroups: [{name: n, instanceTypes: [t3.small], desired: 1}]}"
		apply("data-volume", "{name: home, zone: ap-northeast-2a, size: 20Gi}")
		apply("provision-eks", "{name: blog"+group)
		apply("bind-irsa", "{"+cluster+"serviceAccounts: [{namespace: a, name: stays}]}")
		want := w.Owned()
		apply("provision-eks", "{name: old"+group)
		apply("bind-irsa", "{"+cluster+"serviceAccounts: [{namespace: a, name: goes}]}")
		apply("bind-irsa", "{"+cluster+"roleName: named, serviceAccounts: [{namespace: b, name: goes}]}")
		apply("install-addon", "{"+cluster+"name: aws-ebs-csi-driver}")
		apply("install-addon", "{"+cluster+"name: eks-pod-identity-agent}")
		apply("bind-irsa", "{"+cluster+"roleName: pods-goes, podIdentity: true, serviceAccounts: [{namespace: c, name: goes}]}")
		for bucket, issuer := range map[string]string{ // the second URL does not tell its bucket to who does not know S3's ways
			"issuers": "https://s3.ap-northeast-2.amazonaws.com/issuers", "keys": "https://keys.s3.ap-northeast-2.amazonaws.com/a/b"} {
			at := strings.TrimPrefix(strings.TrimPrefix(issuer, "https://keys.s3.ap-northeast-2.amazonaws.com/"), "https://s3.ap-northeast-2.amazonaws.com/issuers")
			if at != "" {
				at += "/"
			}
			if err := errors.Join(w.MakeBucket(bucket), w.Publish(bucket, at+".well-known/openid-configuration", at+"openid/v1/jwks")); err != nil {
				t.Fatal(err)
			}
			kubeadm := w.Kube("mine-" + bucket)
			kubeadm.SelfManaged("kubeadm", issuer)
			for _, d := range catalog.All(catalog.Deps{AWS: w.Open, Kube: kubeadm.Open}) {
				if d.Name == "bind-irsa" {
					in := cloudtest.Input(t, "{cluster: {context: kubeadm}, issuer: {bucket: "+bucket+", url: '"+issuer+"'}, roleName: "+bucket+"-goes, serviceAccounts: [{namespace: default, name: backup}]}")
					if _, err := w.Apply(t.Context(), d, in); err != nil {
						t.Fatal(err)
					}
				}
			}
		}

		s, err := w.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Belongings(t.Context(), w.Env().Identity.String())
		if err != nil {
			t.Fatal(err)
		}
		var removed []string
		for _, h := range all {
			for _, d := range defs {
				if d.Least == nil {
					continue
				}
				least, ok := d.Least(h.Kind, h.Name)
				goes := strings.HasPrefix(h.Name, "old") || strings.Contains(h.Name, "goes") || h.Kind == "iam:IssuerProvider" || h.Name == "named" || h.Kind == "eks:Addon" || d.Data
				if key := d.Name + " " + least.With; ok && goes && !slices.Contains(removed, key) {
					removed = append(removed, key)
					in := cloudtest.Input(t, least.With)
					in.Partial = least.Partial
					if err := errors.Join(d.Release(t.Context(), w.Env(), in), d.Delete(t.Context(), w.Env(), in, steps.DeleteOptions{})); err != nil {
						t.Errorf("%s: %v", key, err)
					}
				}
			}
		}
		if left := len(w.Objects("issuers")) + len(w.Objects("keys")); left != 0 {
			t.Errorf("%d documents of the issuers are left", left)
		}
		if len(removed) != 12 {
			t.Errorf("%d uses found: %q, want a cluster, five roles, an association, two issuers, two add-ons and a volume", len(removed), removed)
		}
		if got := w.Owned(); !slices.Equal(got, want) {
			t.Errorf("left %q\nwant %q", got, want)
		}
	})
}
