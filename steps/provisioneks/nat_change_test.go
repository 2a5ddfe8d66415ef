package provisioneks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func natYAML(t *testing.T, nat, groups string) steps.Input {
	t.Helper()
	return cloudtest.Input(t, "{name: blog, network: {nat: "+nat+"}, nodeGroups: ["+groups+"]}")
}

const oneNode = "{name: n, instanceTypes: [t3.small]}"

// waysOut are the gateways that the default routes of the private subnets lead to, by subnet; "" is none.
func waysOut(t *testing.T, s *cloud.Session) map[string]string {
	t.Helper()
	o, err := cloud.EC2(s).DescribeRouteTables(t.Context(), &ec2.DescribeRouteTablesInput{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, table := range o.RouteTables {
		if !strings.HasPrefix(cloud.EC2TagMap(table.Tags)[cloud.TagName], "blog/private") {
			continue
		}
		way := ""
		for _, r := range table.Routes {
			if r.State == ec2types.RouteStateActive {
				way += aws.ToString(r.NatGatewayId)
			}
		}
		for _, a := range table.Associations {
			out[aws.ToString(a.SubnetId)] = way
		}
	}
	return out
}

func TestNATOfANetworkThatStandsChangesWithoutCuttingNodesOff(t *testing.T) {
	for name, c := range map[string]struct {
		from, to, groups string
		gateways         int
		drift            string
	}{
		"one for each zone":        {"single", "per-az", oneNode, 3, "routeTable: have blog/private, want blog/private-1"},
		"one for all zones":        {"per-az", "single", oneNode, 1, "routeTable: have blog/private-1, want blog/private"},
		"none, without nodes":      {"single", "none", "", 0, "ec2:NatGateway blog/nat-1"},
		"none, from one a zone":    {"per-az", "none", "", 0, "ec2:NatGateway blog/nat-3"},
		"one where there was none": {"none", "single", "", 1, "ec2:NatGateway blog/nat-1"},
		"a regional one":           {"single", "regional", oneNode, 1, "ec2:NatGateway blog/nat-regional"},
		"one a zone for it":        {"regional", "per-az", oneNode, 3, "routeTable: have blog/private, want blog/private-1"},
		"none for a regional one":  {"regional", "none", "", 0, "ec2:NatGateway blog/nat-regional"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 111})
				d, s := provisioneks.New(w.Open, nil), session(t, w)
				if _, err := w.Apply(t.Context(), d, natYAML(t, c.from, c.groups)); err != nil {
					t.Fatal(err)
				}
				in := natYAML(t, c.to, c.groups)
				p, err := d.Plan(t.Context(), w.Env(), in)
				if text := fmt.Sprint(p.Changes); err != nil || !strings.Contains(text, c.drift) {
					t.Errorf("plan %s, %v, want %q in it", text, err, c.drift)
				}
				done, cut := make(chan struct{}), []string{}
				go func() { // looks every second whether a subnet of nodes is without a way out
					for c.groups != "" {
						select {
						case <-done:
							return
						case <-time.After(time.Second):
							for sub, way := range waysOut(t, s) {
								if way == "" {
									cut = append(cut, sub)
								}
							}
						}
					}
				}()
				_, err = w.Apply(t.Context(), d, in)
				close(done)
				synctest.Wait()
				if err != nil {
					t.Fatal(err)
				}
				if slices.Sort(cut); len(cut) > 0 {
					t.Errorf("without a way out meanwhile: %v", slices.Compact(cut))
				}
				ways, gateways := waysOut(t, s), map[string]bool{}
				for _, way := range ways {
					gateways[way] = way != ""
				}
				delete(gateways, "")
				addresses := c.gateways
				if c.to == "regional" {
					addresses = 0
				}
				if owned := strings.Join(w.Owned(), "\n"); len(ways) != 3 || len(gateways) != c.gateways || strings.Count(owned, "ec2:NatGateway") != c.gateways || strings.Count(owned, "ec2:ElasticIp") != addresses {
					t.Errorf("ways out %v, want by %d gateways; there are\n%s", ways, c.gateways, owned)
				}
				mark := w.Mark()
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("second run: %d writes", writes)
				}
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
				if left := w.Leftovers(nil); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestNATThatNodesNeedIsNotTakenAway(t *testing.T) {
	for _, c := range []struct{ from, to string }{{"single", "none"}, {"per-az", "none"}, {"regional", "none"}} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 112})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, natYAML(t, c.from, oneNode)); err != nil {
					t.Fatal(err)
				}
				mark := w.Mark()
				_, err := w.Apply(t.Context(), d, natYAML(t, c.to, oneNode))
				if e := steps.Classify(err); err == nil || e.Code != "NodesWouldBeCutOff" || e.Category.ExitCode() != 10 || !strings.Contains(err.Error(), "network.nat: "+c.to) {
					t.Errorf("got %v, want a refusal that names network.nat", err)
				}
				if p, err := d.Plan(t.Context(), w.Env(), natYAML(t, c.to, oneNode)); err != nil || !strings.Contains(fmt.Sprint(p.Changes), "refuse") {
					t.Errorf("plan %v, %v, want a refusal", p.Changes, err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

// Nodes in public subnets keep their way out when the network gets NAT; only what is made from then on is in private ones.
func TestNATIsAddedBesideNodesInPublicSubnets(t *testing.T) {
	for _, nat := range []string{"single", "per-az"} {
		t.Run(nat, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 113})
				d, s := provisioneks.New(w.Open, nil), session(t, w)
				if _, err := w.Apply(t.Context(), d, natYAML(t, "none", oneNode)); err != nil {
					t.Fatal(err)
				}
				before := group(t, w, "n").Subnets
				in := natYAML(t, nat, oneNode+", {name: later, instanceTypes: [t3.small]}")
				if _, err := d.Plan(t.Context(), w.Env(), in); err != nil || !strings.Contains(strings.Join(w.Notes(), "\n"), "node group n stays in the public subnets") {
					t.Errorf("%v, told: %v", err, w.Notes())
				}
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if got := group(t, w, "n").Subnets; !slices.Equal(got, before) {
					t.Errorf("n is in %v, was in %v", got, before)
				}
				ways := waysOut(t, s)
				for _, sub := range group(t, w, "later").Subnets {
					if ways[sub] == "" {
						t.Errorf("later is in %s, which is no private subnet with NAT: %v", sub, ways)
					}
				}
				mark := w.Mark()
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("second run: %d writes", writes)
				}
				_, err := w.Apply(t.Context(), d, natYAML(t, "none", oneNode))
				if e := steps.Classify(err); err == nil || e.Code != "NodesWouldBeCutOff" || !strings.Contains(err.Error(), "node group later is in private ones") {
					t.Errorf("back to none: %v, want the group named that it would cut off", err)
				}
				env := w.Env()
				env.Prune = true
				if _, err := d.Apply(t.Context(), env, natYAML(t, nat, oneNode)); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Apply(t.Context(), d, natYAML(t, "none", oneNode)); err != nil {
					t.Errorf("back to none without it: %v", err)
				}
				if err := w.Down(t.Context(), d, natYAML(t, "none", oneNode), false); err != nil {
					t.Fatal(err)
				}
				if left := w.Leftovers(nil); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}
