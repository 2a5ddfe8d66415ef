package cloud_test

import (
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/datavolume"
	"pipectl.dev/steps/provisioneks"
)

// Spot instances and regional gateways cost something else than their kind does elsewhere: not known is not the price of another.
func TestInventoryTellsSpotAndRegionalApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 82})
		in := cloudtest.Input(t, "{name: blog, network: {nat: regional}, nodeGroups: [{name: n, instanceTypes: [t3.small], desired: 1, capacityType: SPOT}, {name: m, instanceTypes: [t3.small], desired: 1}]}")
		if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), in); err != nil {
			t.Fatal(err)
		}
		s, err := w.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Inventory(t.Context(), w.Env().Identity.String())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, h := range list {
			got[h.Kind+" "+h.Name] = h.Item
		}
		for what, want := range map[string]string{"ec2:Instance blog/n": "spot:t3.small", "ec2:Instance blog/m": "t3.small", "ec2:NatGateway blog/nat-regional": "nat:regional"} {
			if got[what] != want {
				t.Errorf("%s is priced as %q, want %q", what, got[what], want)
			}
		}
	})
}

func TestInventoryFindsWhatCostsByOwnerTagAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 81})
		if _, err := w.SeedVolume("ap-northeast-2a", 100, nil); err != nil { // of nobody
			t.Fatal(err)
		}
		volume, home := datavolume.New(w.Open), cloudtest.Input(t, "{name: home, zone: ap-northeast-2a, size: 20Gi}")
		cluster, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, nodeGroups: [{name: n, instanceTypes: [t3.small], desired: 2}]}")
		if _, err := w.Apply(t.Context(), volume, home); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Apply(t.Context(), cluster, in); err != nil {
			t.Fatal(err)
		}
		s, err := w.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		count := func() (kinds map[string]int, usd, data float64) {
			list, err := s.Inventory(t.Context(), w.Env().Identity.String())
			if err != nil {
				t.Fatal(err)
			}
			kinds = map[string]int{}
			for _, h := range list {
				kinds[h.Kind]++
				v, ok := s.Prices.Hourly(h.Region, h.Item)
				if !ok {
					t.Errorf("no price for %+v", h)
				}
				usd += v * h.Count
				if h.Data {
					data += v * h.Count
				}
			}
			return kinds, usd, data
		}
		kinds, usd, data := count()
		for kind, want := range map[string]int{"eks:Cluster": 1, "ec2:Instance": 2, "ec2:NatGateway": 1, "ec2:ElasticIp": 1, "ec2:Volume": 3} {
			if kinds[kind] != want {
				t.Errorf("%s: got %d, want %d", kind, kinds[kind], want)
			}
		}
		if usd < 0.22 || usd > 0.23 || data < 0.0024 || data > 0.0026 {
			t.Errorf("costs %.4f USD an hour, %.4f of it data", usd, data)
		}
		if err := w.Down(t.Context(), cluster, in, false); err != nil {
			t.Fatal(err)
		}
		if kinds, usd, data := count(); len(kinds) != 1 || kinds["ec2:Volume"] != 1 || usd != data {
			t.Errorf("after down: %v, %.4f", kinds, usd)
		}
	})
}
