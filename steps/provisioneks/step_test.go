package provisioneks_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/provisioneks"
)

// post is the cluster of the blog post.
const post = `
name: blog
network:
  cidr: 10.0.0.0/16
  privateSubnets: [10.0.1.0/24, 10.0.2.0/24, 10.0.3.0/24]
  publicSubnets: [10.0.4.0/24, 10.0.5.0/24, 10.0.6.0/24]
  nat: single
endpoint: {public: true}
nodeGroups:
  - {name: node-group-1, instanceTypes: [t3.small], min: 1, desired: 2, max: 3, zones: [ap-northeast-2a]}
  - {name: node-group-2, instanceTypes: [t3.small], min: 1, desired: 1, max: 2}
`

func TestClusterIsMadeOnceKeptAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 1})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)

		start, mark := time.Now(), w.Mark()
		raw, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start).Seconds()
		bound := w.LowerBound(mark)
		t.Logf("create: %.0f s, lower bound %.0f s, ratio %.3f, path %v", took, bound.Create.Seconds(), took/bound.Create.Seconds(), bound.CreatePath)
		if took > 1.03*bound.Create.Seconds() {
			t.Errorf("create took %.0f s, more than 1.03 of the lower bound %s", took, bound.Create)
		}
		var out provisioneks.Outputs
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatal(err)
		}
		if out.Cluster.EKS == nil || out.Cluster.EKS.Endpoint == "" || out.OIDC.ProviderARN == "" || len(out.SubnetIDs.Private) != 3 || len(out.NodeGroups) != 2 {
			t.Errorf("outputs are not whole: %s", raw)
		}
		w.NoDuplicates(t)

		mark = w.Mark()
		again, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		reads, writes := w.Count(mark)
		t.Logf("nothing to do: %d reads, %d writes", reads, writes)
		if writes != 0 || string(again) != string(raw) {
			t.Errorf("second run: %d writes, outputs %s, want none and %s", writes, again, raw)
		}

		start, mark = time.Now(), w.Mark()
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		took, bound = time.Since(start).Seconds(), w.LowerBound(mark)
		t.Logf("down: %.0f s, lower bound %.0f s, ratio %.3f", took, bound.Delete.Seconds(), took/bound.Delete.Seconds())
		if took > 1.05*bound.Delete.Seconds() {
			t.Errorf("down took %.0f s, more than 1.05 of the lower bound %s", took, bound.Delete)
		}
		if left := w.Leftovers(nil); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Errorf("down of nothing: %v", err)
		}
	})
}
