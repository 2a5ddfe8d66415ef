package bindirsa

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
)

// What kube2iam and kiam read: the role on pods, and on namespaces the roles that their pods may name.
const (
	agentRole      = "iam.amazonaws.com/role"
	kube2iamAllows = "iam.amazonaws.com/allowed-roles"
	kiamPermits    = "iam.amazonaws.com/permitted"
)

// user is a workload whose pods get a role from an agent on the node.
type user struct {
	account  ServiceAccount
	workload string // namespace/kind/name
	role     string // name, path and name, or ARN, as annotated
}

// scan tells, as notes, which bindings would take the place of kube2iam or kiam. It only reads.
func (s *state) scan(ctx context.Context) ([]string, error) {
	users, err := s.agentUsers(ctx)
	if err != nil {
		return nil, kube.Explain(err)
	}
	var out []string
	for _, group := range grouped(users) {
		note, err := s.proposal(ctx, group)
		if err != nil {
			return nil, err
		}
		out = append(out, note)
	}
	out = append(out, torn(users)...)
	spaces, err := s.kube.Typed.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, kube.Explain(err)
	}
	for _, ns := range spaces.Items {
		for _, key := range []string{kube2iamAllows, kiamPermits} {
			if v := ns.Annotations[key]; v != "" {
				out = append(out, fmt.Sprintf("namespace %s has %s: %s; it does nothing for service accounts and can go with the agent", ns.Name, key, v))
			}
		}
	}
	if len(out) == 0 {
		out = append(out, "no workload or namespace has an annotation of kube2iam or kiam")
	}
	return out, nil
}

// agentUsers reads pod templates, and pods and replica sets that none of these made: a controller of another kind did, or somebody by hand.
func (s *state) agentUsers(ctx context.Context) ([]user, error) {
	var out []user
	add := func(kind string, m metav1.ObjectMeta, notes map[string]string, p corev1.PodSpec) {
		if role := notes[agentRole]; roleNamed(role) != "" {
			out = append(out, user{ServiceAccount{Namespace: m.Namespace, Name: cmp.Or(p.ServiceAccountName, "default")}, m.Namespace + "/" + kind + "/" + m.Name, role})
		}
	}
	all, apps := metav1.ListOptions{}, s.kube.Typed.AppsV1()
	deployments, err := apps.Deployments("").List(ctx, all)
	if err != nil {
		return nil, err
	}
	for _, x := range deployments.Items {
		add("deployment", x.ObjectMeta, x.Spec.Template.Annotations, x.Spec.Template.Spec)
	}
	sets, err := apps.StatefulSets("").List(ctx, all)
	if err != nil {
		return nil, err
	}
	for _, x := range sets.Items {
		add("statefulset", x.ObjectMeta, x.Spec.Template.Annotations, x.Spec.Template.Spec)
	}
	daemons, err := apps.DaemonSets("").List(ctx, all)
	if err != nil {
		return nil, err
	}
	for _, x := range daemons.Items {
		add("daemonset", x.ObjectMeta, x.Spec.Template.Annotations, x.Spec.Template.Spec)
	}
	crons, err := s.kube.Typed.BatchV1().CronJobs("").List(ctx, all)
	if err != nil {
		return nil, err
	}
	for _, x := range crons.Items {
		t := x.Spec.JobTemplate.Spec.Template
		add("cronjob", x.ObjectMeta, t.Annotations, t.Spec)
	}
	if err := s.otherUsers(ctx, add); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b user) int {
		return cmp.Or(cmp.Compare(roleNamed(a.role), roleNamed(b.role)), cmp.Compare(a.workload, b.workload), cmp.Compare(a.account.String(), b.account.String()))
	})
	return slices.Compact(out), nil
}

// otherUsers adds what has its pod template elsewhere than in the kinds that are read, under the name of its owner.
func (s *state) otherUsers(ctx context.Context, add func(string, metav1.ObjectMeta, map[string]string, corev1.PodSpec)) error {
	unless := func(read []string, kind string, m metav1.ObjectMeta, notes map[string]string, p corev1.PodSpec) {
		if owner := metav1.GetControllerOf(&m); owner != nil {
			if slices.Contains(read, owner.Kind) {
				return
			}
			kind, m.Name = strings.ToLower(owner.Kind), owner.Name
		}
		add(kind, m, notes, p)
	}
	all := metav1.ListOptions{}
	sets, err := s.kube.Typed.AppsV1().ReplicaSets("").List(ctx, all)
	if err != nil {
		return err
	}
	for _, x := range sets.Items {
		unless([]string{"Deployment"}, "replicaset", x.ObjectMeta, x.Spec.Template.Annotations, x.Spec.Template.Spec)
	}
	jobs, err := s.kube.Typed.BatchV1().Jobs("").List(ctx, all)
	if err != nil {
		return err
	}
	for _, x := range jobs.Items {
		unless([]string{"CronJob"}, "job", x.ObjectMeta, x.Spec.Template.Annotations, x.Spec.Template.Spec)
	}
	pods, err := s.kube.Typed.CoreV1().Pods("").List(ctx, all)
	if err != nil {
		return err
	}
	for _, x := range pods.Items {
		unless([]string{"ReplicaSet", "StatefulSet", "DaemonSet", "Job"}, "pod", x.ObjectMeta, x.Annotations, x.Spec)
	}
	return nil
}

// grouped gives the users of each role, roles in order.
func grouped(users []user) [][]user {
	var out [][]user
	for _, u := range users {
		if n := len(out); n > 0 && roleNamed(out[n-1][0].role) == roleNamed(u.role) {
			out[n-1] = append(out[n-1], u)
			continue
		}
		out = append(out, []user{u})
	}
	return out
}

// torn tells service accounts that would need two roles.
func torn(users []user) []string {
	roles := map[string][]string{}
	for _, u := range users {
		if a, r := u.account.String(), roleNamed(u.role); !slices.Contains(roles[a], r) {
			roles[a] = append(roles[a], r)
		}
	}
	var out []string
	for a, r := range roles {
		if len(r) > 1 {
			out = append(out, fmt.Sprintf("service account %s runs workloads of several roles (%s): give each role a service account of its own first", a, strings.Join(r, ", ")))
		}
	}
	slices.Sort(out)
	return out
}

// roleNamed is the name in a role's ARN or path.
func roleNamed(role string) string { return role[strings.LastIndex(role, "/")+1:] }

var noStage = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// proposal is the stage for the users of one role: a role of its own with the policies of the old one, for that one's trust is in others'
// hands and stays until the agent is gone.
func (s *state) proposal(ctx context.Context, users []user) (string, error) {
	name := roleNamed(users[0].role)
	var accounts, workloads, restart []string
	seen := map[ServiceAccount]bool{}
	for _, u := range users {
		workloads = append(workloads, u.workload)
		if k := strings.Split(u.workload, "/")[1]; slices.Contains([]string{"deployment", "statefulset", "daemonset"}, k) {
			restart = append(restart, u.workload)
		}
		if !seen[u.account] {
			seen[u.account] = true
			accounts = append(accounts, fmt.Sprintf("{namespace: %s, name: %s}", u.account.Namespace, u.account.Name))
		}
	}
	with := []string{`cluster: "${{ stages.cluster.outputs.cluster }}"`, "serviceAccounts: [" + strings.Join(accounts, ", ") + "]"}
	policies, inline, err := s.policiesOf(ctx, name)
	if err != nil {
		return "", err
	}
	rest := ""
	if len(policies) > 0 {
		with = append(with, "policyArns: "+quoted(policies))
	}
	if len(inline) > 0 {
		rest = "; copy its inline policies to inlinePolicies: " + strings.Join(inline, ", ")
	}
	if len(restart) > 0 {
		with = append(with, "restart: "+quoted(restart))
	}
	stage := "role" + noStage.ReplaceAllString(strings.ToUpper(name[:1])+name[1:], "")
	text := fmt.Sprintf("- {name: %s, step: bind-irsa, with: {%s}}", stage, strings.Join(with, ", "))
	return fmt.Sprintf("%s: %s by kube2iam or kiam; in its place%s: %s", strings.Join(workloads, ", "), name, rest, text), nil
}

func quoted(list []string) string {
	text, _ := json.Marshal(list) // strings, cannot fail; YAML reads JSON
	return string(text)
}

// policiesOf are the policies of a role that need not exist, nor be ours to look at.
func (s *state) policiesOf(ctx context.Context, role string) (managed, inline []string, err error) {
	a, err := cloud.IAM(s.aws).ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if cloud.IsNotFound(err) || cloud.IsDenied(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, cloud.Explain(err)
	}
	for _, p := range a.AttachedPolicies {
		managed = append(managed, aws.ToString(p.PolicyArn))
	}
	in, err := cloud.IAM(s.aws).ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if cloud.IsNotFound(err) || cloud.IsDenied(err) {
		return managed, nil, nil
	}
	if err != nil {
		return nil, nil, cloud.Explain(err)
	}
	return managed, in.PolicyNames, nil
}
