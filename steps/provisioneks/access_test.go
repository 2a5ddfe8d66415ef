package provisioneks_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
	"pipectl.dev/steps/reconcile"
)

const devARN = "arn:aws:iam::111122223333:role/dev"

// granted is what a principal may do: its policies with their namespaces, then its groups.
func granted(t *testing.T, s *cloud.Session, principal string) []string {
	t.Helper()
	o, err := cloud.EKS(s).ListAssociatedAccessPolicies(t.Context(), &eks.ListAssociatedAccessPoliciesInput{ClusterName: aws.String("blog"), PrincipalArn: &principal})
	if err != nil {
		t.Fatal(err)
	}
	e, err := cloud.EKS(s).DescribeAccessEntry(t.Context(), &eks.DescribeAccessEntryInput{ClusterName: aws.String("blog"), PrincipalArn: &principal})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range o.AssociatedAccessPolicies {
		name := *p.PolicyArn
		out = append(out, strings.TrimSpace(name[strings.LastIndex(name, "/")+1:]+" "+strings.Join(p.AccessScope.Namespaces, ",")))
	}
	return append(out, e.AccessEntry.KubernetesGroups...)
}

func accessYAML(entry string) string {
	return "{name: blog, network: {nat: none}, access: [{principalArn: '" + devARN + "'" + entry + "}]}"
}

func TestAccessBecomesWhatTheFileSaysAndNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		first, then string
		want        []string
		drift       string
	}{
		"an administrator may only look from now on": {"", ", policy: view", []string{"AmazonEKSViewPolicy"}, "policy: have [clusterAdmin], want [view]"},
		"the whole cluster becomes one namespace":    {", policy: edit", ", policy: edit, namespaces: [web]", []string{"AmazonEKSEditPolicy web"}, "namespaces: have none, want [web]"},
		"a policy gives way to groups":               {", policy: admin", ", policy: none, kubernetesGroups: [deployers]", []string{"deployers"}, "policy: have [admin], want []"},
		"groups change":                              {", policy: none, kubernetesGroups: [a, b]", ", policy: none, kubernetesGroups: [b, c]", []string{"b", "c"}, "kubernetesGroups: have [a b], want [b c]"},
		"groups give way to a policy":                {", policy: none, kubernetesGroups: [a]", ", policy: adminView", []string{"AmazonEKSAdminViewPolicy"}, "kubernetesGroups: have [a], want []"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 101})
				w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, accessYAML(c.first))); err != nil {
					t.Fatal(err)
				}
				in := cloudtest.Input(t, accessYAML(c.then))
				plan, err := d.Plan(t.Context(), w.Env(), in)
				if i := slices.IndexFunc(plan.Changes, func(x steps.Change) bool { return x.Kind == "eks:AccessEntry" }); err != nil || i < 0 ||
					plan.Changes[i].Action != reconcile.Update || !slices.Contains(plan.Changes[i].Drift, c.drift) {
					t.Errorf("plan: %+v, %v, want %q", plan.Changes, err, c.drift)
				}
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, granted(t, session(t, w), devARN)); diff != "" {
					t.Error(diff)
				}
				mark := w.Mark()
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("another run with nothing to do makes %d writes", writes)
				}
			})
		})
	}
}

func TestPolicyThatSomebodyAddedByHandIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 102})
		w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
		d, in, s := provisioneks.New(w.Open, nil), cloudtest.Input(t, accessYAML(", policy: view")), session(t, w)
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.EKS(s).AssociateAccessPolicy(t.Context(), &eks.AssociateAccessPolicyInput{ClusterName: aws.String("blog"), PrincipalArn: aws.String(devARN),
			PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if got := granted(t, s, devARN); !slices.Equal(got, []string{"AmazonEKSViewPolicy"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestEntryOfSomebodyElseIsKeptOrRefusedAndNeverChanged(t *testing.T) {
	for name, c := range map[string]struct {
		entry  string
		refuse bool
	}{
		"it lets in as the file says": {", policy: view", false},
		"it lets in otherwise":        {", policy: clusterAdmin", true},
		"it has no groups":            {", policy: view, kubernetesGroups: [a]", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 103})
				w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
				d, s := provisioneks.New(w.Open, nil), session(t, w)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, "{name: blog, network: {nat: none}}")); err != nil {
					t.Fatal(err)
				}
				if _, err := cloud.EKS(s).CreateAccessEntry(t.Context(), &eks.CreateAccessEntryInput{ClusterName: aws.String("blog"), PrincipalArn: aws.String(devARN)}); err != nil {
					t.Fatal(err)
				}
				if _, err := cloud.EKS(s).AssociateAccessPolicy(t.Context(), &eks.AssociateAccessPolicyInput{ClusterName: aws.String("blog"), PrincipalArn: aws.String(devARN),
					PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}}); err != nil {
					t.Fatal(err)
				}
				mark := w.Mark()
				_, err := w.Apply(t.Context(), d, cloudtest.Input(t, accessYAML(c.entry)))
				if refused := err != nil; refused != c.refuse {
					t.Errorf("got %v, want refused %v", err, c.refuse)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes", writes)
				}
				if got := granted(t, s, devARN); !slices.Equal(got, []string{"AmazonEKSViewPolicy"}) {
					t.Errorf("it is now %v", got)
				}
			})
		})
	}
}

// A principal that left the file may no longer use the cluster; one that somebody else let in may.
func TestEntryWhosePrincipalLeftTheFileIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 104})
		for _, role := range []string{"dev", "ops", "theirs"} {
			w.SeedRole(role, `{"Version":"2012-10-17","Statement":[]}`)
		}
		d, s := provisioneks.New(w.Open, nil), session(t, w)
		const ops, theirs = "arn:aws:iam::111122223333:role/ops", "arn:aws:iam::111122223333:role/theirs"
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, accessYAML(""))); err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.EKS(s).CreateAccessEntry(t.Context(), &eks.CreateAccessEntryInput{ClusterName: aws.String("blog"), PrincipalArn: aws.String(theirs)}); err != nil {
			t.Fatal(err)
		}
		in := cloudtest.Input(t, "{name: blog, network: {nat: none}, access: [{principalArn: '"+ops+"'}]}")
		plan, err := d.Plan(t.Context(), w.Env(), in)
		if err != nil || !slices.ContainsFunc(plan.Changes, func(c steps.Change) bool { return c.ID == devARN && c.Action == reconcile.Delete }) {
			t.Errorf("plan: %+v, %v, want the entry of dev to go", plan.Changes, err)
		}
		if notes := strings.Join(w.Notes(), "\n"); strings.Count(notes, theirs) != 1 || strings.Contains(notes, rehearsalUser) {
			t.Errorf("want the entry of somebody else named, once, and nobody else: %s", notes)
		}
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		list, err := cloud.EKS(s).ListAccessEntries(t.Context(), &eks.ListAccessEntriesInput{ClusterName: aws.String("blog")})
		if want := []string{ops, theirs, rehearsalUser}; err != nil || !slices.Equal(list.AccessEntries, want) {
			t.Errorf("got %v, %v, want %v", list.AccessEntries, err, want)
		}
		mark := w.Mark()
		if p, err := d.Plan(t.Context(), w.Env(), in); err != nil || p.Outputs == nil {
			t.Errorf("afterwards: %v, %v, want nothing to do", p.Changes, err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes", writes)
		}
	})
}

// Roles of IAM Identity Center have a path, and a session does not tell it.
func TestCallerWhoseRoleHasAPathIsKnownAgain(t *testing.T) {
	const name, path, id = "AWSReservedSSO_Admin_0123456789abcdef", "/aws-reserved/sso.amazonaws.com/ap-northeast-2/", "AKIDSSO"
	const role = "arn:aws:iam::111122223333:role" + path + name
	for title, c := range map[string]struct {
		made bool // by this caller
		note string
	}{
		"who made the cluster":          {true, ""},
		"whose entry has left the file": {false, "this run needs it itself"},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 105})
				_, err := cloud.IAM(session(t, w)).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String(name), Path: aws.String(path), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute) // until IAM has spread it
				w.SeedAccessKey(emulator.AccessKey{ID: id, Secret: emulator.FixtureSecretKey, Principal: "arn:aws:sts::111122223333:assumed-role/" + name + "/me@example.com"})
				open, _ := w.ProcessAs(id)
				mine, bare := provisioneks.New(open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}}")
				if c.made {
					_, err = w.Apply(t.Context(), mine, bare)
				} else {
					_, err = w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}, access: [{principalArn: '"+role+"'}]}"))
				}
				if err != nil {
					t.Fatal(err)
				}
				plan, err := mine.Plan(t.Context(), w.Env(), bare)
				if err != nil || plan.Outputs == nil {
					t.Errorf("plan: %v, %+v, want all kept, the caller's entry above all", err, plan.Changes)
				}
				notes := strings.Join(w.Notes(), "\n")
				if strings.Contains(notes, "others have let into the cluster, besides `access`: "+role) || !strings.Contains(notes, c.note) {
					t.Errorf("notes: %s", notes)
				}
			})
		})
	}
}

func TestPermissionsOfARoleWithAPathAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 106})
		_, err := cloud.IAM(session(t, w)).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("runner"), Path: aws.String("/ci/"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.SeedAccessKey(emulator.AccessKey{ID: "AKIDCI", Secret: emulator.FixtureSecretKey, Principal: "arn:aws:sts::111122223333:assumed-role/runner/build-7"})
		open, _ := w.ProcessAs("AKIDCI")
		if err := provisioneks.New(open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, "{name: blog, network: {nat: none}}")); err != nil {
			t.Fatal(err)
		}
		if checks := strings.Join(w.Checks(), "\n"); !strings.Contains(checks, "all that the step needs") {
			t.Errorf("want IAM's answer for the role with its path:\n%s", checks)
		}
	})
}
