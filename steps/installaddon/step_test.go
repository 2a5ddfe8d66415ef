package installaddon_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/bindirsa"
	"pipectl.dev/steps/installaddon"
	"pipectl.dev/steps/provisioneks"
)

const (
	small = "{name: blog, network: {nat: none}, nodeGroups: [{name: main, instanceTypes: [t3.small], desired: 2}]}"
	irsa  = "{cluster: {eks: {name: blog, region: ap-northeast-2}}, serviceAccounts: [{namespace: kube-system, name: ebs-csi-controller-sa}], policyArns: [arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy]}"
)

// world has a cluster with nodes and the add-on's role, and gives the add-on's spec.
func world(t *testing.T, o emulator.Options) (*cloudtest.World, steps.Definition, string) {
	t.Helper()
	w := cloudtest.New(t, o)
	if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, small)); err != nil {
		t.Fatal(err)
	}
	k := w.Kube("blog", cloudtest.Node("ip-10-0-1-5"))
	raw, err := w.Apply(t.Context(), bindirsa.New(w.Open, k.Open), cloudtest.Input(t, irsa))
	if err != nil {
		t.Fatal(err)
	}
	var role bindirsa.Outputs
	if err := json.Unmarshal(raw, &role); err != nil {
		t.Fatal(err)
	}
	return w, installaddon.New(w.Open, k.Open), "cluster: {eks: {name: blog, region: ap-northeast-2, version: '1.34'}}\nname: aws-ebs-csi-driver\nroleArn: " + role.RoleARN + "\n"
}

func decode(t *testing.T, raw []byte, err error) installaddon.Outputs {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var out installaddon.Outputs
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAddonIsInstalledOnceAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, text := world(t, emulator.Options{Seed: 21})
		in := cloudtest.Input(t, text)
		start := time.Now()
		raw, err := w.Apply(t.Context(), d, in)
		out := decode(t, raw, err)
		t.Logf("%s in %s", out.Version, time.Since(start))
		if out.Status != "ACTIVE" || out.Version == "" || out.Newer != "" {
			t.Errorf("got %+v", out)
		}
		mark := w.Mark()
		again, err := w.Apply(t.Context(), d, in)
		reads, writes := w.Count(mark)
		t.Logf("nothing to do: %d reads", reads)
		if err != nil || writes != 0 || string(again) != string(raw) {
			t.Errorf("second run: %v, %d writes, %s", err, writes, again)
		}
	})
}

func TestPinnedVersionIsCheckedKeptAndChangedOnlyByTheSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, text := world(t, emulator.Options{Seed: 22})
		mark := w.Mark()
		_, err := w.Apply(t.Context(), d, cloudtest.Input(t, text+"version: v1.20.0-eksbuild.1\n"))
		if e := steps.Classify(err); err == nil || e.Code != "UnsupportedAddonVersion" || e.Category.ExitCode() != 10 {
			t.Fatalf("got %v, want the unsupported version refused", err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes before the refusal", writes)
		}
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text+"version: v1.48.0-eksbuild.2\n"))
		old := decode(t, raw, err)
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, text))
		if kept := decode(t, raw, err); kept != old || kept.Newer == "" {
			t.Errorf("got %+v, want the old version kept and a newer one told", kept)
		}
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, text+"version: "+old.Newer+"\n"))
		if now := decode(t, raw, err); now.Version != old.Newer || now.Status != "ACTIVE" {
			t.Errorf("got %+v, want %s", now, old.Newer)
		}
	})
}

func TestLatestIsChosenOnceAndToldLater(t *testing.T) {
	for name, unknown := range map[string]bool{"of a cluster whose version is known": false, "of a cluster that is only named": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d, text := world(t, emulator.Options{Seed: 33})
				if unknown {
					text = strings.Replace(text, ", version: '1.34'", "", 1)
				}
				raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text+"version: latest\n"))
				if out := decode(t, raw, err); out.Version != "v1.54.0-eksbuild.1" || out.Newer != "" {
					t.Errorf("got %+v, want the latest, which is not EKS's default", out)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w, d, text := world(t, emulator.Options{Seed: 34})
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text+"version: v1.53.0-eksbuild.1\n"))
		decode(t, raw, err)
		mark := w.Mark()
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, text+"version: latest\n"))
		if out := decode(t, raw, err); out.Version != "v1.53.0-eksbuild.1" || out.Newer != "v1.54.0-eksbuild.1" {
			t.Errorf("got %+v, want the one that is there kept, and the latest told", out)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes, want nothing upgraded unasked", writes)
		}
	})
}

// What EKS is told to do about fields that somebody else has set. It takes PRESERVE for an update only.
func TestConflictsAreSolvedAsTheSpecSays(t *testing.T) {
	for conflicts, want := range map[string]string{"": "OVERWRITE OVERWRITE", "overwrite": "OVERWRITE OVERWRITE", "none": "NONE NONE", "preserve": "OVERWRITE PRESERVE"} {
		t.Run("conflicts: "+conflicts, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d, text := world(t, emulator.Options{Seed: 31})
				if conflicts != "" {
					text += "conflicts: " + conflicts + "\n"
				}
				var out installaddon.Outputs
				for _, version := range []string{"v1.48.0-eksbuild.2", "v1.54.0-eksbuild.1"} {
					raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text+"version: "+version+"\n"))
					if out = decode(t, raw, err); out.Version != version {
						t.Errorf("got %+v, want %s", out, version)
					}
				}
				var said []string
				for _, c := range w.Calls() {
					if _, p, ok := strings.Cut(c.Params, "resolveConflicts="); ok {
						word, _, _ := strings.Cut(p, " ")
						said = append(said, word)
					}
				}
				if got := strings.Join(said, " "); got != want {
					t.Errorf("told EKS %s to make and to change it, want %s", got, want)
				}
			})
		})
	}
}

func TestDownLeavesAnAddonThatGoesWithItsCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, text := world(t, emulator.Options{Seed: 23})
		in := cloudtest.Input(t, text)
		raw, err := w.Apply(t.Context(), d, in)
		decode(t, raw, err)
		eks, cluster := provisioneks.New(w.Open, nil), cloudtest.Input(t, small)
		if err := eks.Release(t.Context(), w.Env(), cluster); err != nil {
			t.Fatal(err)
		}
		mark := w.Mark()
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes for an add-on that goes with its cluster", writes)
		}
		if err := w.Down(t.Context(), eks, cluster, false); err != nil {
			t.Fatal(err)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Errorf("without its cluster: %v", err)
		}
	})
}

func TestDownRemovesAnAddonWhoseClusterStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, text := world(t, emulator.Options{Seed: 24})
		in := cloudtest.Input(t, text)
		raw, err := w.Apply(t.Context(), d, in)
		decode(t, raw, err)
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(w.Owned(), "\n"); strings.Contains(text, "Addon") {
			t.Errorf("still there: %s", text)
		}
	})
}

func TestFaultsOfCreateAddon(t *testing.T) {
	for _, kind := range []string{"lost-response", "500", "throttle", "reset"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d, text := world(t, emulator.Options{Seed: 25})
				w.AddFault(emulator.Fault{Service: "eks", Action: "CreateAddon", Kind: kind, Times: 2})
				raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text))
				if out := decode(t, raw, err); out.Status != "ACTIVE" {
					t.Errorf("got %+v", out)
				}
				w.NoDuplicates(t)
			})
		})
	}
}

func TestThrottledPollsAreNotFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, text := world(t, emulator.Options{Seed: 26})
		w.AddFault(emulator.Fault{Service: "eks", Action: "DescribeAddon", Kind: "throttle", Times: 30, At: 3})
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text))
		if out := decode(t, raw, err); out.Status != "ACTIVE" {
			t.Errorf("got %+v", out)
		}
	})
}
