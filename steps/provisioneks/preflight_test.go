package provisioneks_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

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

// allBut are actions of all services without some.
func allBut(without ...string) []string {
	var out []string
	for _, a := range provisioneks.Actions() {
		if !slices.Contains(without, a) {
			out = append(out, a)
		}
	}
	return append(out, "sts:*", "servicequotas:*", "iam:SimulatePrincipalPolicy", "iam:CreateServiceLinkedRole", "ec2:Describe*", "eks:ListClusters")
}

// The first cluster of an account wants one permission more, which no policy for the second one shows.
func TestFirstClusterOfAnAccountNeedsServiceLinkedRoles(t *testing.T) {
	for name, c := range map[string]struct {
		there, may  bool
		want, check string
	}{
		"the first, of who may":         {false, true, "", "EKS makes AWSServiceRoleForAmazonEKS and AWSServiceRoleForAmazonEKSNodegroup with the account's first cluster"},
		"the first, of who may not":     {false, false, "the caller may not iam:CreateServiceLinkedRole", "EKS makes AWSServiceRoleForAmazonEKS"},
		"one of many, of who could not": {true, false, "", "service-linked roles: are there"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := emulator.Options{Seed: 70, Policies: map[string][]string{rehearsalUser: allBut()}}
				if !c.may {
					o.Policies[rehearsalUser] = slices.DeleteFunc(allBut(), func(a string) bool { return a == "iam:CreateServiceLinkedRole" })
				}
				w := cloudtest.New(t, o)
				if c.there {
					w.SeedLinkedRoles()
				}
				err := provisioneks.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, post))
				if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || steps.Classify(err).Category.ExitCode() != 11) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if checks := strings.Join(w.Checks(), "\n"); !strings.Contains(checks, c.check) {
					t.Errorf("checks %s\nwant %q", checks, c.check)
				}
			})
		})
	}
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
