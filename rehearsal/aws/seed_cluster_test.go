package aws

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestASeededClusterIsThereAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{})
		defer c.Close()
		began := time.Now()
		admin := "arn:aws:iam::" + FixtureAccount + ":user/somebody"
		err := c.SeedCluster(t.Context(), ClusterSeed{Name: "old", Admins: []string{admin}, Addons: []string{"aws-ebs-csi-driver"}})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		found := map[string]int{}
		for _, r := range c.Resources() {
			if !r.Seeded {
				t.Errorf("not marked as seeded: %s", r)
			}
			if r.State == "ACTIVE" || r.State == "running" {
				found[r.Kind]++
			}
		}
		for kind, n := range map[string]int{"eks:cluster": 1, "eks:nodegroup": 1, "eks:addon": 1, "instance": 3} {
			if found[kind] != n {
				t.Errorf("%s: %d are up, want %d", kind, found[kind], n)
			}
		}
		if _, groups, err := c.userOf("old", admin); err != nil || len(groups) < 2 {
			t.Errorf("the admin is in groups %v (%v)", groups, err)
		}
		if len(c.Calls()) != 0 {
			t.Errorf("the ledger has calls: %v", c.Calls())
		}
		if c.nominal("eks:CreateCluster") != defaultDurations["eks:CreateCluster"] {
			t.Error("durations stay at zero")
		}
	})
}

func TestSeedingAClusterTwiceIsRefused(t *testing.T) {
	c := New(Options{})
	defer c.Close()
	if err := c.SeedCluster(t.Context(), ClusterSeed{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	if err := c.SeedCluster(t.Context(), ClusterSeed{Name: "old"}); err == nil {
		t.Error("it was not")
	}
}
