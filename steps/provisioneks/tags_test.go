package provisioneks_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
	"pipectl.dev/steps/reconcile"
)

const taggedYAML = "{name: blog, tags: {%s}, logging: [api], access: [{principalArn: '" + devARN + "'}], nodeGroups: [{name: main, instanceTypes: [t3.small]}]}"

// without are the live resources of ours that lack the tags, nodes and their disks apart.
func without(w *cloudtest.World, tags map[string]string) []string {
	var out []string
	for _, r := range w.Resources() {
		if r.Tags[cloud.TagIdentity] == "" || r.Managed {
			continue
		}
		for k, v := range tags {
			if r.Tags[k] != v {
				out = append(out, r.Tags[cloud.TagKind]+"/"+r.Tags[cloud.TagName])
				break
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestAllThatIsMadeHasTheTagsOfTheSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 151})
		w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, fmt.Sprintf(taggedYAML, "team: web, 'cost:centre': '42'"))
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if left := without(w, map[string]string{"team": "web", "cost:centre": "42"}); len(left) > 0 {
			t.Errorf("without them: %v", left)
		}
		if n := len(w.Owned()); n < 20 {
			t.Errorf("only %d resources of ours", n)
		}
		mark := w.Mark()
		if p, err := d.Plan(t.Context(), w.Env(), in); err != nil || p.Outputs == nil {
			t.Errorf("plan afterwards: %v, %v", p.Changes, err)
		}
		if reads, writes := w.Count(mark); writes != 0 || reads > 40 {
			t.Errorf("%d reads, %d writes with nothing to do", reads, writes)
		}
	})
}

// Whoever changes a cost centre, or takes a tag off by hand, must not have the cluster made anew for it.
func TestTagsThatDifferAreMendedInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 152})
		w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
		d, s := provisioneks.New(w.Open, nil), session(t, w)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, fmt.Sprintf(taggedYAML, "team: web"))); err != nil {
			t.Fatal(err)
		}
		in := cloudtest.Input(t, fmt.Sprintf(taggedYAML, "team: ops"))
		p, err := d.Plan(t.Context(), w.Env(), in)
		i := slices.IndexFunc(p.Changes, func(c steps.Change) bool { return c.Kind == "aws:Tags" })
		if err != nil || i < 0 || p.Changes[i].Action != reconcile.Update {
			t.Fatalf("plan: %v, %v, want tags to be mended", p.Changes, err)
		}
		for _, want := range []string{"ec2:Vpc/blog", "ec2:NatGateway/blog/nat-1", "eks:Cluster/blog", "eks:Nodegroup/blog/main", "iam:Role/blog/node", "iam:OidcProvider/blog", "want [team=ops]"} {
			if !strings.Contains(p.Changes[i].Drift[0], want) {
				t.Errorf("plan does not name %s: %s", want, p.Changes[i].Drift)
			}
		}
		mark := w.Mark()
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		calls := map[string]int{}
		for _, c := range w.Since(mark) {
			if c.Write {
				calls[c.Service+":"+c.Action]++
			}
		}
		if want := map[string]int{"ec2:CreateTags": 1, "eks:TagResource": 2, "iam:TagRole": 2, "iam:TagOpenIDConnectProvider": 1}; !maps.Equal(calls, want) {
			t.Errorf("calls %v, want %v", calls, want)
		}
		later := func(name string) bool { // they have the tags that they were made with
			return strings.HasPrefix(name, "eks:AccessEntry/") || strings.HasPrefix(name, "logs:") || strings.HasPrefix(name, "ec2:Instance/") || strings.HasPrefix(name, "ec2:Volume/")
		}
		if left := slices.DeleteFunc(without(w, map[string]string{"team": "ops"}), later); len(left) > 0 {
			t.Errorf("not mended: %v", left)
		}
		vpcs, err := cloud.EC2(s).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: cloud.OwnedBy(w.Env().Identity.String())})
		if err != nil || len(vpcs.Vpcs) != 1 {
			t.Fatalf("%v, %v", vpcs, err)
		}
		if _, err := cloud.EC2(s).DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{*vpcs.Vpcs[0].VpcId}, Tags: cloud.EC2Tags(map[string]string{"team": "ops"})}); err != nil {
			t.Fatal(err)
		}
		p, err = d.Plan(t.Context(), w.Env(), in)
		if i := slices.IndexFunc(p.Changes, func(c steps.Change) bool { return c.Kind == "aws:Tags" }); err != nil || i < 0 || !slices.Equal(p.Changes[i].Drift, []string{"tags: have others on ec2:Vpc/blog, want [team=ops]"}) {
			t.Errorf("a tag taken off by hand: %v, %v", p.Changes, err)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if left := w.Leftovers(func(r emulator.Resource) bool { return r.Seeded || strings.Contains(r.ID, "aws-service-role") }); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// What left the file goes from what is there; what others put beside it stays, and so does all of it where a run before was cut off.
func TestTagsThatLeftTheFileAreTakenOff(t *testing.T) {
	for name, c := range map[string]struct {
		now  string
		keys []string
	}{
		"one of two": {"team: web", []string{"cost"}},
		"all":        {"", []string{"cost", "team", "pipectl.dev/tag-keys"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 153})
				w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
				d, s := provisioneks.New(w.Open, nil), session(t, w)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, fmt.Sprintf(taggedYAML, "team: web, cost: a1"))); err != nil {
					t.Fatal(err)
				}
				vpcs, err := cloud.EC2(s).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: cloud.OwnedBy(w.Env().Identity.String())})
				if err != nil {
					t.Fatal(err)
				}
				theirs := &ec2.CreateTagsInput{Resources: []string{*vpcs.Vpcs[0].VpcId}, Tags: cloud.EC2Tags(map[string]string{"audit": "yes"})}
				if _, err := cloud.EC2(s).CreateTags(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
				in := cloudtest.Input(t, fmt.Sprintf(taggedYAML, c.now))
				p, err := d.Plan(t.Context(), w.Env(), in)
				i := slices.IndexFunc(p.Changes, func(c steps.Change) bool { return c.Kind == "aws:Tags" })
				if err != nil || i < 0 || !slices.ContainsFunc(p.Changes[i].Drift, func(d string) bool {
					return strings.HasPrefix(d, "tags.cost: have on ") && strings.Contains(d, "eks:Cluster/blog") && strings.Contains(d, "ec2:Vpc/blog") && strings.HasSuffix(d, ", want none")
				}) {
					t.Fatalf("plan: %v, %v, want the tag that goes, and from what", p.Changes, err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				w.OnCall("eks", "UntagResource", cancel) // in the middle of it
				if _, err := w.Apply(ctx, d, in); err == nil {
					t.Fatal("not cut off")
				}
				cancel()
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				for _, r := range w.Resources() {
					later := r.Managed || strings.HasPrefix(r.Tags[cloud.TagKind], "eks:AccessEntry") || strings.HasPrefix(r.Tags[cloud.TagKind], "logs:")
					for _, k := range c.keys {
						if _, has := r.Tags[k]; has && !later {
							t.Errorf("%s %s has %s still", r.Tags[cloud.TagKind], r.Tags[cloud.TagName], k)
						}
					}
					if r.ID == *vpcs.Vpcs[0].VpcId && r.Tags["audit"] != "yes" {
						t.Error("a tag of others is gone")
					}
				}
				mark := w.Mark()
				if p, err := d.Plan(t.Context(), w.Env(), in); err != nil || p.Outputs == nil {
					t.Errorf("plan afterwards: %v, %v", p.Changes, err)
				}
				if reads, writes := w.Count(mark); writes != 0 || reads > 40 {
					t.Errorf("%d reads, %d writes with nothing to do", reads, writes)
				}
			})
		})
	}
}

func TestTagsOfOthersKeepTheirKeys(t *testing.T) {
	many := []string{}
	for i := range 41 {
		many = append(many, fmt.Sprintf("k%d: v", i))
	}
	for text, path := range map[string]string{
		"Name: mine": "tags.Name", "pipectl.dev/identity: x": "tags.pipectl.dev/identity", "kubernetes.io/cluster/blog: owned": "tags.kubernetes.io/cluster/blog", "'aws:x': y": "tags.aws:x",
		strings.Join(many, ", "): "tags", "a: " + strings.Repeat("b", 257): "tags.a",
	} {
		ps := provisioneks.New(nil, nil).Check(cloudtest.Input(t, "{name: blog, tags: {"+text+"}}"))
		if len(ps) != 1 || ps[0].Path != path {
			t.Errorf("%.60s: got %+v, want one problem at %s", text, ps, path)
		}
	}
	if ps := provisioneks.New(nil, nil).Check(cloudtest.Input(t, "{name: blog, existing: true, tags: {a: b}}")); len(ps) != 1 || ps[0].Path != "tags" {
		t.Errorf("an existing cluster: %+v", ps)
	}
}
