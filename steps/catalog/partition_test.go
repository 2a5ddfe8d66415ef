package catalog_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
)

// China and GovCloud are partitions of their own: ARNs begin otherwise there, and in China hosts and EC2's principal end otherwise.
func TestOtherPartitionsLiveAndGo(t *testing.T) {
	for region, partition := range map[string]string{"cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov"} {
		t.Run(region, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const logged = "{name: blog, logging: [api], access: [{principalArn: 'arn:aws:iam::111122223333:role/dev'}], nodeGroups: [{name: main, instanceTypes: [t3.medium], desired: 2}]}"
				there := strings.NewReplacer("arn:aws:", "arn:"+partition+":", "ap-northeast-2", region, `, version: "1.33"`, "")
				var stages []stage
				for _, s := range []stage{{"data-volume", homeYAML}, {"provision-eks", logged}, {"bind-irsa", roleYAML}, {"install-addon", addonYAML}} {
					stages = append(stages, stage{s.step, there.Replace(s.with)})
				}
				w := cloudtest.New(t, emulator.Options{Seed: 98, Region: region})
				w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
				k := w.Kube("blog", cloudtest.Node("ip-10-0-1-5"))
				for _, p := range []phase{{name: "create", stages: stages}, {name: "again", stages: stages}, {name: "down", stages: stages, down: true}} {
					mark := w.Mark()
					if err := p.run(t.Context(), t, w, client(w, k)); err != nil {
						t.Fatalf("%s: %v", p.name, err)
					}
					if _, writes := w.Count(mark); p.name == "again" && writes > 0 {
						t.Errorf("again: %d writes", writes)
					}
				}
				for _, c := range w.Calls() {
					if strings.Contains(c.Params, "arn:aws:") {
						t.Errorf("an ARN of another partition: %s", c)
					}
				}
				for _, s := range emulator.LeastPolicy(w.Calls(), cloud.TagIdentity).Statement {
					for _, arn := range s.Resource {
						if arn != "*" && !strings.HasPrefix(arn, "arn:"+partition+":") {
							t.Errorf("the written policy names %s, which is of no use in partition %s", arn, partition)
						}
					}
				}
				if left := w.Owned(); len(left) != 1 {
					t.Errorf("after down: %v, want the volume alone", left)
				}
			})
		})
	}
}
