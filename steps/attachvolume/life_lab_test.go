package attachvolume_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/attachvolume"
)

func lastUse(t *testing.T, id string) string {
	t.Helper()
	i := slices.IndexFunc(account.Resources(), func(r emu.Resource) bool { return r.ID == id })
	return account.Resources()[i].Tags["pipectl.dev/last-use"]
}

func changes(cs []steps.Change) []string {
	var out []string
	for _, c := range cs {
		out = append(out, string(c.Action)+" "+c.Kind+"/"+c.Name)
	}
	return out
}

func TestVolumeIsGivenUsedTakenBackAndGivenAgain(t *testing.T) {
	u, kubeconfig := cluster(t)
	id := seedVolume(t)
	in := input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: "+id+", claim: jenkins/jenkins-home}")
	p, err := u.def.Plan(t.Context(), u.env, in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"update ec2:VolumeTags/" + id, "create k8s:PersistentVolume/pipectl-" + id, "create k8s:PersistentVolumeClaim/jenkins/jenkins-home", "create k8s:Namespace/jenkins"}
	if diff := cmp.Diff(want, changes(p.Changes)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	before := ""
	for round := range 2 {
		raw, err := u.def.Apply(t.Context(), u.env, in)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if want := `{"volumeId":"` + id + `","persistentVolume":"pipectl-` + id + `","claim":"jenkins/jenkins-home","values":"persistence:\n  enabled: true\n  existingClaim: jenkins-home\n","zone":"` + emu.FixtureRegion + `a"}`; string(raw) != want {
			t.Errorf("round %d: outputs %s, want %s", round, raw, want)
		}
		if p, err = u.def.Plan(t.Context(), u.env, in); err != nil || string(p.Outputs) != string(raw) {
			t.Errorf("round %d: second plan %v %s, %v", round, changes(p.Changes), p.Outputs, err)
		}
		seen, found, err := u.def.Observe(t.Context(), u.env, in)
		if err != nil || !found || string(seen) != string(raw) {
			t.Errorf("round %d: observe %s %v %v", round, seen, found, err)
		}
		runPod(t, u, id)
		released := make(chan error, 1)
		go func() { released <- u.def.Release(t.Context(), u.env, in) }()
		if err := kube.Await(t.Context(), 50*time.Millisecond, func(context.Context) (bool, error) { return u.said("pod jenkins-0 uses claim"), nil }); err != nil {
			t.Fatal(err)
		}
		if state(t, id) != "in-use" {
			t.Errorf("round %d: the volume was taken from a running pod", round)
		}
		if err := u.client.Typed.CoreV1().Pods("jenkins").Delete(t.Context(), "jenkins-0", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := <-released; err != nil {
			t.Fatalf("round %d: release: %v", round, err)
		}
		if s := state(t, id); s != "available" {
			t.Errorf("round %d: volume is %s after release", round, s)
		}
		use := lastUse(t, id)
		if use == "" || use == before {
			t.Errorf("round %d: the last use is %q, before it was %q", round, use, before)
		}
		before = use
		if err := u.def.Release(t.Context(), u.env, in); err != nil {
			t.Errorf("round %d: second release: %v", round, err)
		}
		if use := lastUse(t, id); use != before {
			t.Errorf("round %d: nothing was let go of, and the last use is %q now", round, use)
		}
		if _, found, err := u.def.Observe(t.Context(), u.env, in); err != nil || found {
			t.Errorf("round %d: observe after release: %v, %v", round, found, err)
		}
		u.mu.Lock()
		u.events = nil
		u.mu.Unlock()
	}
}

// runPod starts a pod that uses the claim and waits until the volume is attached for it.
func runPod(t *testing.T, u *use, volume string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "jenkins-0", Namespace: "jenkins"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "nginx", VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/home"}}}},
		Volumes: []corev1.Volume{{Name: "home", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
			ClaimName: "jenkins-home"}}}},
	}}
	if _, err := u.client.Typed.CoreV1().Pods("jenkins").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var last *storagev1.VolumeAttachmentList
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := kube.Await(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		list, err := u.client.Typed.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		last = list
		attached := err == nil && slices.ContainsFunc(list.Items, func(a storagev1.VolumeAttachment) bool { return a.Status.Attached })
		return attached && state(t, volume) == "in-use", err
	})
	if err != nil {
		now, _ := u.client.Typed.CoreV1().Pods("jenkins").Get(t.Context(), "jenkins-0", metav1.GetOptions{})
		t.Fatalf("volume is %s, attachments %+v, pod %+v: %v", state(t, volume), last.Items, now.Status, err)
	}
}

func TestFileSystemIsTheOneOnTheVolume(t *testing.T) {
	u, kubeconfig := cluster(t)
	id, err := account.SeedVolume(emu.FixtureRegion+"a", 20, map[string]string{"pipectl.dev/fs-type": "xfs"})
	if err != nil {
		t.Fatal(err)
	}
	with := "{cluster: {kubeconfig: " + kubeconfig + "}, volume: " + id + ", claim: formatted/home"
	if _, err := u.def.Plan(t.Context(), u.env, input(t, with+", fsType: ext4}")); !kube.HasCode(err, "OtherFileSystem") {
		t.Errorf("another one: %v", err)
	}
	if _, err := u.def.Apply(t.Context(), u.env, input(t, with+"}")); err != nil {
		t.Fatal(err)
	}
	pv, err := u.client.Typed.CoreV1().PersistentVolumes().Get(t.Context(), "pipectl-"+id, metav1.GetOptions{})
	if err != nil || pv.Spec.CSI.FSType != "xfs" {
		t.Errorf("got %+v, %v", pv, err)
	}
}

// TestEveryAWSCallMayGoWrong lets each call of a life of the step go wrong in every way, on a real control plane: run again, it comes to
// the same end, and the volume is neither lost nor taken from anybody.
func TestEveryAWSCallMayGoWrong(t *testing.T) {
	u, kubeconfig := cluster(t)
	for _, call := range []string{"DescribeVolumes", "CreateTags"} {
		for _, kind := range []string{"lost-response", "throttle", "500", "reset", "access-denied", "expired-token"} {
			t.Run(call+" "+kind, func(t *testing.T) {
				id := seedVolume(t)
				in := input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: "+id+", claim: wrong/"+strings.ToLower(call)+"-"+kind+"}")
				again := func(what string, do func() error) {
					mark := account.Mark()
					account.AddFault(emu.Fault{Service: "ec2", Action: call, Kind: kind})
					err := do()
					hit := slices.ContainsFunc(account.Since(mark), func(c emu.Call) bool { return c.Action == call })
					for try := 0; err != nil; try++ {
						if e := steps.Classify(err); e.Category == steps.Internal || try == 2 {
							t.Fatalf("%s: %v", what, err)
						}
						err = do()
					}
					if !hit && what == "apply" {
						t.Errorf("%s: made no call of %s", what, call)
					}
				}
				again("apply", func() error { _, err := u.def.Apply(t.Context(), u.env, in); return err })
				if p, err := u.def.Plan(t.Context(), u.env, in); err != nil || p.Outputs == nil {
					t.Errorf("after it: %v, %v", changes(p.Changes), err)
				}
				again("release", func() error { return u.def.Release(t.Context(), u.env, in) })
				if _, found, err := u.def.Observe(t.Context(), u.env, in); err != nil || found || state(t, id) != "available" {
					t.Errorf("after release: found %v, volume %s, %v", found, state(t, id), err)
				}
			})
		}
	}
}

// TestTheNextClusterTakesTheVolumeOver: the volume has the tags of the cluster before, which is gone.
func TestTheNextClusterTakesTheVolumeOver(t *testing.T) {
	u, kubeconfig := cluster(t)
	at := steps.ClusterRef{Kubeconfig: kubeconfig}
	u.def = attachvolume.New(openAWS, func(ctx context.Context, _ steps.ClusterRef) (*kube.Client, error) {
		return kube.NewOpener(kube.Options{})(ctx, at)
	})
	id, err := account.SeedVolume(emu.FixtureRegion+"a", 20, map[string]string{"ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": "blog"})
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, "{cluster: {eks: {name: next, region: "+emu.FixtureRegion+"}}, volume: "+id+", claim: next/home}")
	p, err := u.def.Plan(t.Context(), u.env, in)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{`ebs.csi.aws.com/cluster-name: have "blog", want "next"`}; !slices.Equal(p.Changes[0].Drift, want) {
		t.Errorf("plan: %v, want %v", p.Changes[0].Drift, want)
	}
	if _, err := u.def.Apply(t.Context(), u.env, in); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(account.Resources(), func(r emu.Resource) bool { return r.ID == id })
	if tags := account.Resources()[i].Tags; tags["ebs.csi.aws.com/cluster"] != "true" || tags["ebs.csi.aws.com/cluster-name"] != "next" {
		t.Errorf("tags: %v", tags)
	}
	if err := u.def.Release(t.Context(), u.env, in); err != nil {
		t.Error(err)
	}
}
