package bindirsa_test

import (
	"strings"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gopkg.in/yaml.v3"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/bindirsa"
)

func template(role, account string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"iam.amazonaws.com/role": role}}, Spec: corev1.PodSpec{ServiceAccountName: account}}
}

func owner(kind, name string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}
}

func TestScanProposesWhatTakesThePlaceOfAnAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := world(t, emulator.Options{Seed: 41})
		w.SeedRole("shop-web", podTrust)
		_, err := cloud.IAM(session(t, w)).AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("shop-web"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")})
		if err != nil {
			t.Fatal(err)
		}
		k := w.Kube("blog",
			&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{Template: template("arn:aws:iam::111122223333:role/shop-web", "web")}},
			&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "agent"}, Spec: appsv1.DaemonSetSpec{Template: template("shop-web", "")}},
			&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "plain"}},
			&batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"}, Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template("gone", "web")}}}},
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "of-a-set", Annotations: map[string]string{"iam.amazonaws.com/role": "shop-web"}, OwnerReferences: owner("ReplicaSet", "web-5d4")}},
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "data", Name: "driver-1", Annotations: map[string]string{"iam.amazonaws.com/role": "spark"}, OwnerReferences: owner("SparkApplication", "count")}},
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "data", Name: "driver-2", Annotations: map[string]string{"iam.amazonaws.com/role": "spark"}, OwnerReferences: owner("SparkApplication", "count")}},
			&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-77", OwnerReferences: owner("Rollout", "cart")}, Spec: appsv1.ReplicaSetSpec{Template: template("shop-cart", "cart")}},
			&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "of-web", OwnerReferences: owner("Deployment", "web")}, Spec: appsv1.ReplicaSetSpec{Template: template("shop-web", "web")}},
			&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "import"}, Spec: batchv1.JobSpec{Template: template("import", "web")}},
			&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "of-nightly", OwnerReferences: owner("CronJob", "nightly")}, Spec: batchv1.JobSpec{Template: template("gone", "web")}},
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{"iam.amazonaws.com/permitted": ".*"}}},
		)
		d := bindirsa.New(w.Open, k.Open)
		mark := w.Mark()
		notes := planned(t, w, d, cloudtest.Input(t, csi+"scan: true\n")).Forecast.Notes
		if _, writes := w.Count(mark); writes > 0 {
			t.Errorf("%d writes", writes)
		}
		text := strings.Join(notes, "\n")
		for _, want := range []string{"a/daemonset/agent, shop/deployment/web: shop-web", "AmazonEKSClusterPolicy", `restart: ["a/daemonset/agent","shop/deployment/web"]`, "{namespace: a, name: default}", "shop/cronjob/nightly: gone", "data/sparkapplication/count: spark", "shop/rollout/cart: shop-cart", "shop/job/import: import", "shop/web runs workloads of several roles", "namespace shop has iam.amazonaws.com/permitted"} {
			if !strings.Contains(text, want) {
				t.Errorf("notes lack %q:\n%s", want, text)
			}
		}
		if strings.Contains(text, "of-") || strings.Contains(text, "plain") {
			t.Errorf("notes tell too much:\n%s", text)
		}
		for _, n := range notes {
			_, stage, ok := strings.Cut(n, ": - ")
			if !ok {
				continue
			}
			var s []struct {
				Step string
				With yaml.Node
			}
			if err := yaml.Unmarshal([]byte("- "+stage), &s); err != nil || s[0].Step != "bind-irsa" {
				t.Fatalf("%v: not a stage: %s", err, stage)
			}
			with := strings.Replace(n[strings.Index(n, "with: ")+6:len(n)-1], `"${{ stages.cluster.outputs.cluster }}"`, "{eks: {name: blog, region: ap-northeast-2}}", 1)
			if ps := d.Check(cloudtest.Input(t, with)); len(ps) > 0 {
				t.Errorf("the proposed stage is not valid: %v\n%s", ps, with)
			}
		}
		if notes := planned(t, w, d, cloudtest.Input(t, csi)).Forecast.Notes; len(notes) > 0 {
			t.Errorf("told without being asked: %q", notes)
		}
	})
}
