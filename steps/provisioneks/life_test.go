package provisioneks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func session(t *testing.T, w *cloudtest.World) *cloud.Session {
	t.Helper()
	s, err := w.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMakespanStaysNearTheLowerBoundWhateverAWSTakes(t *testing.T) {
	var up, down, n float64
	for seed := range int64(12) {
		synctest.Test(t, func(t *testing.T) {
			w := cloudtest.New(t, emulator.Options{Seed: seed, Jitter: true})
			d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
			start, mark := time.Now(), w.Mark()
			if _, err := w.Apply(t.Context(), d, in); err != nil {
				t.Fatal(err)
			}
			created := time.Since(start).Seconds() / w.LowerBound(mark).Create.Seconds()
			start, mark = time.Now(), w.Mark()
			if err := w.Down(t.Context(), d, in, false); err != nil {
				t.Fatal(err)
			}
			removed := time.Since(start).Seconds() / w.LowerBound(mark).Delete.Seconds()
			if created > 1.06 || removed > 1.08 {
				t.Errorf("seed %d: create %.3f, down %.3f times the lower bound", seed, created, removed)
			}
			up, down, n = up+created, down+removed, n+1
		})
	}
	t.Logf("durations +-20 %%, %v seeds: create %.3f, down %.3f times the lower bound on average", n, up/n, down/n)
	if up/n > 1.03 || down/n > 1.05 {
		t.Errorf("averages exceed 1.03 and 1.05")
	}
}

func TestInterruptedWhileTheClusterIsMadeCarriesOn(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 8 * time.Second, 20 * time.Second, 5 * time.Minute, 9 * time.Minute} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 41})
				d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				if _, err := w.Apply(ctx, d, in); err == nil {
					t.Fatal("want an interrupt")
				}
				raw, err := w.Apply(t.Context(), d, in)
				if err != nil {
					t.Fatal(err)
				}
				var out provisioneks.Outputs
				if err := json.Unmarshal(raw, &out); err != nil || len(out.NodeGroups) != 2 {
					t.Errorf("outputs %s, %v", raw, err)
				}
				w.NoDuplicates(t)
			})
		})
	}
}

func TestPlanTellsThatAClusterIsStillComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 42})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}}")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _ = w.Apply(ctx, d, in)
		p, err := d.Plan(t.Context(), w.Env(), in)
		if err != nil || p.Outputs != nil || !strings.Contains(fmt.Sprint(p.Changes), "CREATING") {
			t.Errorf("got %v, %v, want a plan that is not done", p.Changes, err)
		}
	})
}

func TestDriftIsNamedFieldByFieldThenMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 43})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		raw, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("endpoint: {public: true}", "endpoint: {public: true, publicCIDRs: [198.51.100.0/24]}\nlogging: [audit]",
			"desired: 2, max: 3", "desired: 2, max: 5, labels: {team: web}, diskSize: 30").Replace(post)
		p, err := d.Plan(t.Context(), w.Env(), cloudtest.Input(t, changed))
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(p.Changes)
		for _, field := range []string{"endpoint.publicCIDRs: have [0.0.0.0/0], want [198.51.100.0/24]", "logging: have none, want [audit]", "max: have 3, want 5", "labels: have none, want [team=web]", "diskSize: have 20, want 30"} {
			if !strings.Contains(text, field) {
				t.Errorf("plan does not say %q: %s", field, text)
			}
		}
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, changed)); err != nil {
			t.Fatal(err)
		}
		mark := w.Mark()
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, changed)); err != nil {
			t.Fatal(err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes although all was mended", writes)
		}
		if again, err := w.Apply(t.Context(), d, in); err != nil || len(again) != len(raw) {
			t.Errorf("and back: %v", err)
		}
	})
}

func TestWhatAWSCannotChangeIsRefusedWithTheFieldNamed(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"instance types":        {"[t3.small], min: 1, desired: 1", "[t3.medium], min: 1, desired: 1", "instanceTypes: have [t3.small], want [t3.medium]"},
		"range of a subnet":     {"10.0.3.0/24", "10.0.7.0/24", "cidr: have 10.0.3.0/24, want 10.0.7.0/24"},
		"an older version":      {"name: blog\n", "name: blog\nversion: '1.33'\n", "version: have 1.34, want 1.33"},
		"how instances are got": {"min: 1, desired: 1, max: 2", "min: 1, desired: 1, max: 2, capacityType: SPOT", "capacityType: have ON_DEMAND, want SPOT"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 44})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, post)); err != nil {
					t.Fatal(err)
				}
				changed := cloudtest.Input(t, strings.Replace(post, c.from, c.to, 1))
				p, err := d.Plan(t.Context(), w.Env(), changed)
				if err != nil || !strings.Contains(fmt.Sprint(p.Changes), "refuse") {
					t.Errorf("plan: %v, %v, want a refusal", p.Changes, err)
				}
				_, err = d.Apply(t.Context(), w.Env(), changed)
				if e := steps.Classify(err); err == nil || e.Code != "Immutable" || !strings.Contains(err.Error(), c.want) {
					t.Errorf("apply: got %v, want a refusal that says %q", err, c.want)
				}
			})
		})
	}
}

func TestDesiredSizeIsAnAutoscalersBusiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 45})
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, post)); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan(t.Context(), w.Env(), cloudtest.Input(t, strings.Replace(post, "desired: 2", "desired: 3", 1)))
		if err != nil || p.Outputs == nil {
			t.Errorf("got %v, %v, want nothing to do", p.Changes, err)
		}
	})
}

func TestPreflightFindsBeforeTheFirstWriteWhatWouldFailLater(t *testing.T) {
	for name, c := range map[string]struct {
		spec, want string
		exit       int
		options    emulator.Options
	}{
		"a version that EKS no longer makes":   {strings.Replace(post, "name: blog\n", "name: blog\nversion: '1.27'\n", 1), "1.34 (standard support", 10, emulator.Options{}},
		"an image family of the wrong arch":    {strings.ReplaceAll(post, "[t3.small]", "[t4g.small], amiType: AL2023_x86_64_STANDARD"), "t4g.small is arm64", 10, emulator.Options{}},
		"an image family that ended":           {strings.ReplaceAll(post, "[t3.small]", "[t3.small], amiType: AL2_x86_64"), "ended with Kubernetes 1.32", 10, emulator.Options{}},
		"an instance type that does not exist": {strings.ReplaceAll(post, "t3.small", "t9.small"), "EC2 has no t9.small", 10, emulator.Options{}},
		"a full quota of VPCs":                 {post, `quota "VPCs per Region": 0 of 0 used, 1 more needed`, 10, emulator.Options{Quotas: map[string]float64{"L-F678F1CE": 0}}},
		"a full quota of addresses":            {post, "EC2-VPC Elastic IPs", 10, emulator.Options{Quotas: map[string]float64{"L-0263D0A3": 0}}},
		"no OIDC provider left":                {post, "OpenID Connect providers", 10, emulator.Options{Quotas: map[string]float64{"L-858F3967": 0}}},
		"a zone without the instance type":     {strings.Replace(strings.ReplaceAll(post, "t3.small", "t4g.small"), "ap-northeast-2a", "ap-northeast-2b", 1), "ap-northeast-2b has none of t4g.small", 10, emulator.Options{}},
		"a full quota of internet gateways":    {post, "Internet gateways per Region", 10, emulator.Options{Quotas: map[string]float64{"L-A4707A72": 0}}},
		"a full quota of NAT gateways":         {post, "NAT gateways per Availability Zone", 10, emulator.Options{Quotas: map[string]float64{"L-FE5A380F": 0}}},
		"a full quota of clusters":             {post, "EKS clusters", 10, emulator.Options{Quotas: map[string]float64{"L-1194D53C": 0}}},
		"too few vCPUs":                        {post, "0 of 4 used, 6 more needed", 10, emulator.Options{Quotas: map[string]float64{"L-1216C47A": 4}}},
		"too few spot vCPUs":                   {"{name: blog, nodeGroups: [{name: n, instanceTypes: [t3.small], desired: 3, capacityType: SPOT}]}", "Spot Instance Requests", 10, emulator.Options{Quotas: map[string]float64{"L-34B43A08": 4}}},
		"too little EBS storage":               {post, "Storage of gp3 volumes", 10, emulator.Options{Quotas: map[string]float64{"L-7A658B76": 0.05}}},
		"nodes too small for the system":       {"{name: blog, nodeGroups: [{name: n, instanceTypes: [t3.nano], desired: 1}]}", "room for 4 on 1 nodes, 7 of them for the system's own", 10, emulator.Options{}},
		"nodes too small for the pipeline":     {"{name: blog, expectPods: 30, nodeGroups: [{name: n, instanceTypes: [t3.small], desired: 2}]}", "use larger nodeGroups[].instanceTypes: a t3.small runs at most 11 pods", 10, emulator.Options{}},
		"a zone that hosts no control plane":   {"{name: blog, network: {zones: [us-east-1a, us-east-1e]}}", "EKS makes no control plane in us-east-1e", 10, emulator.Options{Region: "us-east-1"}},
		"a caller outside the endpoint":        {"{name: blog, endpoint: {publicCIDRs: [203.0.113.0/24]}}", "add 198.51.100.7/32", 10, emulator.Options{}},
		"a caller who may not":                 {post, "the caller may not ec2:CreateVpc, eks:CreateCluster", 11, emulator.Options{Policies: map[string][]string{rehearsalUser: allBut("ec2:CreateVpc", "eks:CreateCluster")}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, c.options)
				err := provisioneks.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, c.spec))
				e := steps.Classify(err)
				var all []string
				for _, one := range flatten(err) {
					all = append(all, one.Error()+" hints: "+fmt.Sprint(hints(one)))
				}
				if err == nil || e.Category.ExitCode() != c.exit || !strings.Contains(strings.Join(all, "\n"), c.want) {
					t.Errorf("got %v, want exit %d and %q", all, c.exit, c.want)
				}
				if _, writes := w.Count(0); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

const rehearsalUser = "arn:aws:iam::111122223333:user/rehearsal"

// allBut are actions of all services without some.
func allBut(without ...string) []string {
	var out []string
	for _, a := range provisioneks.Actions() {
		if !slices.Contains(without, a) {
			out = append(out, a)
		}
	}
	return append(out, "sts:*", "servicequotas:*", "iam:SimulatePrincipalPolicy", "ec2:Describe*", "eks:ListClusters")
}

func TestPreflightTellsAllProblemsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Quotas: map[string]float64{"L-F678F1CE": 0, "L-0263D0A3": 0}, Policies: map[string][]string{rehearsalUser: allBut("iam:PassRole")}})
		bad := strings.NewReplacer("name: blog\n", "name: blog\nversion: \"1.27\"\n", "t3.small], min: 1, desired: 2", "t4g.small], amiType: AL2_x86_64, min: 1, desired: 2").Replace(post)
		err := provisioneks.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, bad))
		var all []string
		for _, one := range flatten(err) {
			all = append(all, steps.Classify(one).Code)
		}
		slices.Sort(all)
		if diff := cmp.Diff([]string{"ArchitectureMismatch", "NotAllowed", "QuotaExceeded", "QuotaExceeded", "UnsupportedVersion"}, all); diff != "" {
			t.Errorf("-want +got:\n%s\n%v", diff, err)
		}
	})
}

func TestCredentialsThatEndTooSoon(t *testing.T) {
	for name, c := range map[string]struct {
		left time.Duration
		want string
	}{"before the cluster is there": {5 * time.Minute, "CredentialsEndTooSoon"}, "after it": {time.Hour, ""}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Setenv("AWS_ACCESS_KEY_ID", emulator.FixtureAccessKey)
				t.Setenv("AWS_CREDENTIAL_EXPIRATION", time.Now().Add(c.left).Format(time.RFC3339))
				w := cloudtest.New(t, emulator.Options{})
				err := provisioneks.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, post))
				got := ""
				if err != nil {
					got = steps.Classify(err).Code
				}
				if got != c.want {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		})
	}
}

func TestWhoMayNotAskIAMIsToldSoAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Faults: []emulator.Fault{{Service: "iam", Action: "SimulatePrincipalPolicy", Kind: "access-denied"}, {Service: "servicequotas", Action: "*", Kind: "access-denied", Times: -1}}})
		if err := provisioneks.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, post)); err != nil {
			t.Error(err)
		}
		if !strings.Contains(strings.Join(w.Checks(), "\n"), "permissions: IAM does not tell this caller") {
			t.Errorf("not told: %q", w.Checks())
		}
	})
}

func flatten(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}

func hints(err error) []string {
	var e *steps.Error
	if errors.As(err, &e) {
		return e.Hints
	}
	return nil
}

func TestSpecIsCheckedWhenItIsLoaded(t *testing.T) {
	for name, c := range map[string]struct{ spec, path, hint string }{
		"an AMI id as family":       {"{name: a, nodeGroups: [{name: n, instanceTypes: [t3.small], amiType: ami-0123456789}]}", "nodeGroups[0].amiType", "launchTemplate: {imageId: ami-0123456789}"},
		"subnets that overlap":      {"{name: a, network: {cidr: 10.0.0.0/16, privateSubnets: [10.0.0.0/20, 10.0.8.0/24], publicSubnets: [10.0.64.0/20, 10.0.80.0/20]}}", "network.privateSubnets[1]", ""},
		"a subnet outside":          {"{name: a, network: {cidr: 10.0.0.0/16, privateSubnets: [10.1.0.0/20, 10.0.8.0/24], publicSubnets: [10.0.64.0/20, 10.0.80.0/20]}}", "network.privateSubnets[0]", ""},
		"one zone only":             {"{name: a, network: {privateSubnets: [10.0.0.0/24], publicSubnets: [10.0.1.0/24]}}", "network.privateSubnets", ""},
		"sizes in no order":         {"{name: a, nodeGroups: [{name: n, instanceTypes: [t3.small], min: 3, desired: 1, max: 2}]}", "nodeGroups[0].desired", ""},
		"nobody reaches it":         {"{name: a, endpoint: {public: false, private: false}}", "endpoint", ""},
		"groups of an existing":     {"{name: a, existing: true, nodeGroups: [{name: n, instanceTypes: [t3.small]}]}", "nodeGroups", ""},
		"days that nobody keeps":    {"{name: a, logging: [api], logRetentionDays: 45}", "logRetentionDays", "take 60"},
		"more days than are kept":   {"{name: a, logging: [api], logRetentionDays: 9999}", "logRetentionDays", "take 3653"},
		"a release of no family":    {"{name: a, nodeGroups: [{name: n, instanceTypes: [t3.small], releaseVersion: newest}]}", "nodeGroups[0].releaseVersion", ""},
		"a release of an own image": {"{name: a, nodeGroups: [{name: n, instanceTypes: [t3.small], releaseVersion: latest, launchTemplate: {imageId: ami-1}}]}", "nodeGroups[0].releaseVersion", "leave it out"},
		"a log that is not known":   {"{name: a, logging: [everything]}", "logging[0]", ""},
		"access of a session":       {"{name: a, access: [{principalArn: 'arn:aws:sts::111122223333:assumed-role/ci/build-7'}]}", "access[0].principalArn", "arn:aws:iam::111122223333:role/ci"},
		"access of no principal":    {"{name: a, access: [{principalArn: 'arn:aws:s3:::bucket'}]}", "access[0].principalArn", ""},
		"access given twice":        {"{name: a, access: [{principalArn: 'arn:aws:iam::111122223333:role/dev'}, {principalArn: 'arn:aws:iam::111122223333:role/dev', policy: view}]}", "access[1].principalArn", "join the two"},
		"access to nothing":         {"{name: a, access: [{principalArn: 'arn:aws:iam::111122223333:role/dev', policy: none}]}", "access[0].policy", "kubernetesGroups"},
		"a group of the system":     {"{name: a, access: [{principalArn: 'arn:aws:iam::111122223333:role/dev', kubernetesGroups: ['system:masters']}]}", "access[0].kubernetesGroups[0]", "clusterAdmin"},
	} {
		t.Run(name, func(t *testing.T) {
			ps := provisioneks.New(nil, nil).Check(cloudtest.Input(t, c.spec))
			if len(ps) != 1 || ps[0].Path != c.path || !strings.Contains(ps[0].Hint, c.hint) || ps[0].Line == 0 {
				t.Errorf("got %+v, want one problem at %s", ps, c.path)
			}
		})
	}
}

func TestOtherShapesOfNetworkLiveAndGo(t *testing.T) {
	for name, text := range map[string]string{
		"a NAT gateway in each zone": "{name: blog, network: {nat: per-az}, nodeGroups: [{name: n, instanceTypes: [t3.small]}]}",
		"no NAT gateway":             "{name: blog, network: {nat: none}, nodeGroups: [{name: n, instanceTypes: [t3.small]}]}",
		"spot, taints and an image":  "{name: blog, nodeGroups: [{name: n, instanceTypes: [t4g.small, t4g.medium], capacityType: SPOT, taints: [{key: a, value: b, effect: NoSchedule}]}, {name: own, instanceTypes: [t3.small], launchTemplate: {imageId: ami-0123456789abcdef0}}]}",
		"access for another role":    "{name: blog, network: {nat: none}, access: [{principalArn: 'arn:aws:iam::111122223333:role/dev', policy: view, namespaces: [web]}]}",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 46})
				dev := w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
				d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, text)
				raw, err := w.Apply(t.Context(), d, in)
				if err != nil {
					t.Fatal(err)
				}
				mark := w.Mark()
				again, err := w.Apply(t.Context(), d, in)
				if _, writes := w.Count(mark); err != nil || writes != 0 || string(again) != string(raw) {
					t.Errorf("second run: %v, %d writes", err, writes)
				}
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
				if left := w.Leftovers(func(r emulator.Resource) bool { return r.ID == dev || strings.Contains(r.ID, "aws-service-role") }); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestExistingClusterIsReadAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 47})
		if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, post)); err != nil {
			t.Fatal(err)
		}
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, existing: true}")
		mark := w.Mark()
		raw, err := w.Apply(t.Context(), d, in)
		if err == nil {
			err = w.Down(t.Context(), d, in, true)
		}
		if _, writes := w.Count(mark); err != nil || writes != 0 || !strings.Contains(string(raw), "oidc-provider") {
			t.Errorf("got %s, %v, %d writes", raw, err, writes)
		}
		_, err = w.Apply(t.Context(), d, cloudtest.Input(t, "{name: other, existing: true}"))
		if e := steps.Classify(err); err == nil || e.Code != "ClusterNotFound" || e.Category.ExitCode() != 10 {
			t.Errorf("a cluster that is not there: %v", err)
		}
	})
}

func TestClusterOfSomebodyElseIsRefusedAndLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 48})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		before := len(w.Resources())
		other := w.Env()
		other.Identity.Pipeline = "theirs"
		err := d.Preflight(t.Context(), other, in)
		if e := steps.Classify(err); err == nil || e.Category.ExitCode() != 12 {
			t.Errorf("got %v, want exit 12", err)
		}
		if err := errors.Join(d.Release(t.Context(), other, in), d.Delete(t.Context(), other, in, steps.DeleteOptions{WithData: true})); err != nil {
			t.Errorf("down of what is not ours: %v", err)
		}
		if after := len(w.Resources()); after != before {
			t.Errorf("%d of %d resources are left", after, before)
		}
	})
}

func TestDownRemovesWhatHasLeftTheSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 49})
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, strings.Replace(post, "nat: single", "nat: per-az", 1))); err != nil {
			t.Fatal(err)
		}
		if err := w.Down(t.Context(), d, cloudtest.Input(t, "{name: blog, network: {nat: none}}"), false); err != nil {
			t.Fatal(err)
		}
		if left := w.Leftovers(nil); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestDownNamesWhatBlocksItThenGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 50})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		raw, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		var out provisioneks.Outputs
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatal(err)
		}
		api := cloud.EC2(session(t, w))
		theirs, err := api.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &out.VPCID, CidrBlock: aws.String("10.0.99.0/24")})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Down(t.Context(), d, in, false)
		if e := steps.Classify(err); err == nil || e.Category.ExitCode() != 16 || !strings.Contains(err.Error(), aws.ToString(theirs.Subnet.SubnetId)) {
			t.Errorf("got %v, want exit 16 and the subnet of somebody else named", err)
		}
		if _, err := api.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: theirs.Subnet.SubnetId}); err != nil {
			t.Fatal(err)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if left := w.Leftovers(nil); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestNodeGroupWithoutCapacityFailsAtOnceAndIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 51, Faults: []emulator.Fault{{Service: "eks", Action: "CreateNodegroup", Kind: "capacity"}}})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		start := time.Now()
		_, err := w.Apply(t.Context(), d, in)
		if e := steps.Classify(err); err == nil || e.Code != "NodegroupFailed" || e.Category.ExitCode() != 17 || len(e.Hints) == 0 {
			t.Fatalf("got %v, want the node group's own reason", err)
		}
		if took := time.Since(start); took > 15*time.Minute {
			t.Errorf("told only after %s", took)
		}
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Errorf("the next run does not replace it: %v", err)
		}
		w.NoDuplicates(t)
	})
}

func TestThrottledPollsAreNotYetAndNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 52, Faults: []emulator.Fault{{Service: "eks", Action: "DescribeCluster", Kind: "throttle", At: 4, Times: 40}}})
		if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, post)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestForecastSaysTimeAndCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 53})
		p, err := provisioneks.New(w.Open, nil).Plan(t.Context(), w.Env(), cloudtest.Input(t, post))
		if err != nil {
			t.Fatal(err)
		}
		if f := p.Forecast; f.Seconds < 600 || f.Seconds > 700 || f.Cost == nil || f.Cost.HourlyUSD < 0.249 || f.Cost.HourlyUSD > 0.250 {
			t.Errorf("got %+v %+v", f, f.Cost)
		}
	})
}

func TestVolumesZoneComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 54})
		raw, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, strings.Replace(post, "ap-northeast-2a", "ap-northeast-2d", 1)))
		var out provisioneks.Outputs
		if err != nil || json.Unmarshal(raw, &out) != nil || out.Zones[0] != "ap-northeast-2d" || out.NodeGroups[0].Zones[0] != "ap-northeast-2d" {
			t.Errorf("got %s, %v", raw, err)
		}
	})
}

func TestKubeconfigIsMergedAndHoldsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 55})
		file := filepath.Join(t.TempDir(), "config")
		other := "apiVersion: v1\nkind: Config\ncurrent-context: old\ncontexts: [{name: old, context: {cluster: old, user: old}}]\nclusters: [{name: old, cluster: {server: 'https://old'}}]\nusers: [{name: old, user: {}}]\n"
		if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}, kubeconfig: {path: "+file+"}}")
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"current-context: old", "https://old", "command: pipectl", "- token", "https://blog.eks"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("kubeconfig lacks %q:\n%s", want, text)
			}
		}
		if strings.Contains(string(text), "k8s-aws-v1") {
			t.Error("a token was written")
		}
	})
}
