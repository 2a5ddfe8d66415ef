package syncargocd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	"pipectl.dev/steps/reconcile"
)

// secret is one whose value stands in Git, as it should not.
func secret(value string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: " + value + ", same: unchanged}\n"
}

// drift is the plan of one Application, and the notes of the plan.
func (a *argo) drift(with string) (lines, notes string) {
	a.t.Helper()
	p := a.plan(with)
	if len(p.Changes) != 1 || p.Outputs != nil {
		a.t.Fatalf("plan: %+v", p)
	}
	return strings.Join(p.Changes[0].Drift, "\n"), strings.Join(p.Forecast.Notes, "\n")
}

func TestAPlanNamesTheFieldsThatWouldChange(t *testing.T) {
	ways(t, func(a *argo) {
		t, name := a.t, "fields-"+a.way
		a.commit(map[string]string{"f/web.yaml": web("f", "", "nginx:1"), "f/cm.yaml": config("c", "one"), "f/s.yaml": secret("hunter1"), "f/old.yaml": config("old", "x")})
		a.app(name, "f", "")
		with := "apps: [{name: " + name + "}]\nhealthyFor: 100ms\nprune: true\n"
		a.synced(with)
		a.commit(map[string]string{"f/web.yaml": web("f", "  replicas: 2\n", "nginx:2"), "f/cm.yaml": config("c", "two"), "f/s.yaml": secret("hunter2"),
			"f/old.yaml": "", "f/new.yaml": config("new", "x"), "f/slow.yaml": slow(0)})
		before := a.object(kube.ApplicationRef("argocd", name))["operation"]
		got, notes := a.drift(with)
		got, _, _ = strings.Cut(got, "\nhealth: have Missing")
		want := strings.ReplaceAll(`sync: have OutOfSync, want Synced
ConfigMap %/c: update: data.value: have "one", want "two"
ConfigMap %/new: create
ConfigMap %/old: delete: Git does not hold it any more
Secret %/s: update: data.key: differs
Deployment %/f: update: spec.replicas: have 1, want 2
Deployment %/f: update: spec.template.spec.containers[0].image: have "nginx:1", want "nginx:2"`, "%", name)
		if diff := cmp.Diff(want, got); diff != "" || notes != "" {
			t.Errorf("plan, with notes %q (-want +got):\n%s", notes, diff)
		}
		if strings.Contains(got, "hunter") || strings.Contains(got, "++++") {
			t.Errorf("something of the Secret's value is in:\n%s", got)
		}
		// The same for programs. Argo CD says in which order.
		update := func(group, kind, of string, fields ...reconcile.FieldChange) reconcile.ObjectChange {
			return reconcile.ObjectChange{Group: group, Kind: kind, Namespace: name, Name: of, Action: reconcile.Update, Fields: fields}
		}
		objects := []reconcile.ObjectChange{
			update("", "ConfigMap", "c", reconcile.FieldChange{Path: "data.value", Before: "one", After: "two"}),
			{Kind: "ConfigMap", Namespace: name, Name: "new", Action: reconcile.Create},
			{Kind: "ConfigMap", Namespace: name, Name: "old", Action: reconcile.Delete},
			update("", "Secret", "s", reconcile.FieldChange{Path: "data.key", Hidden: true}),
			update("apps", "Deployment", "f", reconcile.FieldChange{Path: "spec.replicas", Before: int64(1), After: int64(2)},
				reconcile.FieldChange{Path: "spec.template.spec.containers[0].image", Before: "nginx:1", After: "nginx:2"}),
		}
		if diff := cmp.Diff(objects, a.plan(with).Changes[0].Objects); diff != "" {
			t.Errorf("objects (-want +got):\n%s", diff)
		}
		if op := a.object(kube.ApplicationRef("argocd", name))["operation"]; op != nil || before != nil || a.syncs(name) != 1 {
			t.Errorf("the plan wrote an operation: %v", op)
		}
	})
}

// little is a kubeconfig of somebody who may do no more with Argo CD than sync.
func (a *argo) little() string {
	a.t.Helper()
	a.apply(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: little, namespace: argocd}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: little, namespace: argocd}
rules: [{apiGroups: [argoproj.io], resources: [applications], verbs: [get, list, watch, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: little, namespace: argocd}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: little}
subjects: [{kind: ServiceAccount, name: little, namespace: argocd}]
`)
	token, _, err := a.client.ServiceAccountToken(a.t.Context(), "argocd", "little", nil, time.Hour)
	if err != nil {
		a.t.Fatal(err)
	}
	cfg, err := clientcmd.LoadFromFile(labtest.Cluster(a.t).Kubeconfig)
	if err != nil {
		a.t.Fatal(err)
	}
	for user := range cfg.AuthInfos {
		cfg.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
	}
	raw, err := clientcmd.Write(*cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	path := filepath.Join(a.t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func TestAPlanThatCannotNameFieldsSaysWhy(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"b/cm.yaml": config("b", "one")})
	a.app("blind", "b", "")
	with := "apps: [{name: blind}]\nhealthyFor: 100ms\n"
	a.synced(with)
	a.commit(map[string]string{"b/cm.yaml": config("b", "two"), "b/new.yaml": config("new", "x")})
	params := kube.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: "argocd", Name: "argocd-cmd-params-cm"}
	set := func(data string) { // Argo CD's programs have read theirs already
		t.Helper()
		if _, err := a.client.MergePatch(t.Context(), params, []byte(`{"data":`+data+`}`)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct{ params, access, says string }{
		"may not":          {"{}", "cluster: {kubeconfig: " + a.little() + "}\n", `User "system:serviceaccount:argocd:little" cannot get resource "configmaps"`},
		"outside":          {`{"redis.server":"redis.example.com:6379"}`, "", "the Redis of Argo CD is redis.example.com:6379, outside of namespace argocd"},
		"gone":             {`{"redis.server":"no-redis:6379"}`, "", `service no-redis: `},
		"nobody listens":   {`{"redis.server":"argocd-redis:1"}`, "", "AUTH: "},
		"under other keys": {`{"redis.compression":"none"}`, "", "the Redis of Argo CD has nothing of this Application"},
	} {
		t.Run(name, func(t *testing.T) {
			set(test.params)
			defer set(`{"redis.server":null,"redis.compression":null}`)
			got, notes := a.drift(test.access + with)
			if notes := strings.TrimPrefix(notes, "the plan names resources, but not the fields that would change: "); !strings.Contains(notes, test.says) || strings.Contains(notes, "\n") {
				t.Errorf("notes: %s", notes)
			}
			want := "ConfigMap blind/new: create"
			if test.access != "" { // may not look there either
				want = "ConfigMap blind/new: update"
			}
			if !strings.HasPrefix(got, "sync: have OutOfSync, want Synced\n") || !strings.Contains(got, "ConfigMap blind/b: update") || !strings.Contains(got, want) {
				t.Errorf("plan:\n%s", got)
			}
		})
	}
}
