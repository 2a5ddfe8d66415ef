package jenkinshome

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

const (
	sameClaim  = oldNS + "/persistentvolumeclaims/jenkins-ebs"
	sameVolume = "/api/v1/persistentvolumes/pipectl-ebs"
	sameDriver = "/apis/storage.k8s.io/v1/csinodes/node-1"
	samePod    = oldNS + "/pods/new-1"
)

// claimed is what attach-volume leaves in the source cluster, and what the CSI driver says of the old node.
func (s *stage) claimed() {
	s.old.put(sameVolume, object(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: pipectl-ebs, `+ours+`},
spec: {csi: {driver: ebs.csi.aws.com, volumeHandle: `+s.volume+`}, claimRef: {namespace: jenkins, name: jenkins-ebs},
nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [ap-northeast-2a]}]}]}}}}`))
	s.old.put(sameClaim, object(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: jenkins-ebs, namespace: jenkins, `+ours+`}, spec: {volumeName: pipectl-ebs}, status: {phase: Bound}}`))
	s.old.put(sameDriver, object(`{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: node-1}, spec: {drivers: [{name: ebs.csi.aws.com, nodeID: `+s.instance+`}]}}`))
	s.old.edit("/api/v1/nodes/node-1", func(o map[string]any) {
		sub(sub(o, "metadata"), "labels")[corev1.LabelTopologyZone] = "ap-northeast-2a"
	})
}

// claimUser is a pod that has the new claim: a new Jenkins that somebody started too early.
func (s *stage) claimUser() {
	s.old.put(samePod, object(`{apiVersion: v1, kind: Pod, metadata: {name: new-1, namespace: jenkins, labels: {app: new}}, spec: {nodeName: node-1,
containers: [{name: jenkins, volumeMounts: [{name: home, mountPath: /var/jenkins_home}]}], volumes: [{name: home, persistentVolumeClaim: {claimName: jenkins-ebs}}]}, status: {phase: Running}}`))
}

func TestRouteSameNodeIsFoundAndMountsBothClaims(t *testing.T) {
	for name, claim := range map[string]string{"found": "", "named": "jenkins-ebs"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.claimed()
				p, b, mark := s.precopySpec(), s.base(), s.cloud.Mark()
				p.Claim = claim
				plan, err := precopyStep{b}.Plan(t.Context(), s.env("run-1"), p)
				if n := plan.Forecast.Notes; err != nil || len(n) != 4 || n[0] != "route sameNode: home and claim jenkins-ebs are in one cluster: a mover on node node-1 mounts both" || !strings.HasPrefix(n[1], "not route attach: ") {
					t.Errorf("explained %q, %v", n, err)
				}
				pre, err := precopyStep{b}.Apply(t.Context(), s.env("run-1"), p)
				if err != nil {
					t.Fatal(err)
				}
				if pre.Move.Route != routeSameNode || pre.Move.Claim != "jenkins-ebs" || s.tagged(tagRoute) != routeSameNode {
					t.Errorf("route %s by claim %q, tagged %q", pre.Move.Route, pre.Move.Claim, s.tagged(tagRoute))
				}
				if _, err := (migrateStep{b}).Apply(t.Context(), s.env("run-1"), s.migrateSpec(pre.Move)); err != nil {
					t.Fatal(err)
				}
				s.sameHome(t)
				if s.state() != Moved || s.oldRuns() {
					t.Errorf("state %s, old runs: %v", s.state(), s.oldRuns())
				}
				for _, c := range s.cloud.Since(mark) {
					if c.Action == "AttachVolume" || c.Action == "DetachVolume" {
						t.Errorf("%s: the claim's own driver does that", c.Action)
					}
				}
			})
		})
	}
}

func TestAClaimThatDoesNotServeIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(s *stage)
		code string
		auto string // route that is taken instead; "" for none
	}{
		"it does not exist":       {func(s *stage) { s.old.remove(sameClaim); s.old.remove(sameVolume) }, "ClaimNotFound", routeAttach},
		"it is not bound":         {func(s *stage) { s.old.edit(sameClaim, func(o map[string]any) { delete(o, "status") }) }, "ClaimUnbound", routeAttach},
		"it is of another volume": {func(s *stage) { s.old.edit(sameVolume, csiOf("volumeHandle", "vol-0bad")) }, "OtherVolume", routeAttach},
		"it is of another driver": {func(s *stage) { s.old.edit(sameVolume, csiOf("driver", "nfs.csi.k8s.io")) }, "OtherVolume", routeAttach},
		"its zone is another": {func(s *stage) {
			s.old.edit("/api/v1/nodes/node-1", func(o map[string]any) { delete(sub(o, "metadata"), "labels") })
		}, "OtherZone", routeAttach},
		"no driver runs on the node":  {func(s *stage) { s.old.remove(sameDriver) }, "NoDriver", routeAttach},
		"another driver runs there":   {func(s *stage) { s.old.edit(sameDriver, func(o map[string]any) { sub(o, "spec")["drivers"] = []any{} }) }, "NoDriver", routeAttach},
		"a pod has it":                {func(s *stage) { s.claimUser() }, "ClaimInUse", ""},
		"the namespace admits no one": {func(s *stage) { s.old.edit(oldNS, restricted) }, "PodSecurity", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.claimed()
				c.set(s)
				p, mark := s.precopySpec(), s.cloud.Mark()
				p.Route, p.Claim = routeSameNode, "jenkins-ebs"
				step := precopyStep{s.base()}
				if err := step.Preflight(t.Context(), s.env("run-1"), p); code(err) != c.code && c.code != "ClaimNotFound" || err != nil && c.code == "ClaimNotFound" {
					t.Errorf("preflight: %v, want %s", err, c.code)
				}
				if _, err := step.Apply(t.Context(), s.env("run-1"), p); code(err) != c.code {
					t.Errorf("got %v, want %s", err, c.code)
				}
				for _, call := range s.cloud.Since(mark) {
					if call.Write {
						t.Errorf("writes %s", call.Action)
					}
				}
				p.Route = routeAuto
				if out, err := step.Apply(t.Context(), s.env("run-1"), p); c.auto == "" && code(err) != c.code || c.auto != "" && (err != nil || out.Move.Route != c.auto) {
					t.Errorf("auto: %q, %v, want %q", out.Move.Route, err, c.auto)
				}
				s.safe(t)
			})
		})
	}
}

// TestARolledBackMoveGoesByTheClaimThatIsMadeAnew: a rollback takes the claim away, and the stage that makes it runs after the preflights.
func TestARolledBackMoveGoesByTheClaimThatIsMadeAnew(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.claimed()
		move := s.moved(t)
		s.fresh.Do(func(j *jenkinstest.Server) { delete(j.Jobs, "a") })
		if _, err := s.verify(t.Context(), move); code(err) != "JenkinsDiffers" || s.state() != Precopied || !s.oldRuns() {
			t.Fatalf("%v, %s", err, s.state())
		}
		s.old.remove(sameClaim)
		s.old.remove(sameVolume)
		p := s.precopySpec()
		if err := (precopyStep{s.base()}).Preflight(t.Context(), s.env("run-2"), p); err != nil {
			t.Errorf("preflight of precopy: %v", err)
		}
		again, found, err := precopyStep{s.base()}.Observe(t.Context(), s.env("run-2"), p)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		if err := (migrateStep{s.base()}).Preflight(t.Context(), s.env("run-2"), s.migrateSpec(again.Move)); err != nil {
			t.Errorf("preflight of migrate: %v", err)
		}
		if _, err := s.migrate(t.Context(), again.Move, "run-2"); code(err) != "NoClaim" {
			t.Errorf("without the claim: %v", err)
		}
		s.claimed()
		s.fresh.Do(func(j *jenkinstest.Server) { j.Jobs["a"] = s.jenkins.Jobs["a"] })
		if _, err := s.migrate(t.Context(), again.Move, "run-2"); err != nil || s.state() != Moved {
			t.Errorf("then: %v, %s", err, s.state())
		}
		s.sameHome(t)
	})
}

// TestAClaimThatIsNotMountedIsNotWrittenTo: kubelets have shown a pod the directory of the node in place of its volume.
func TestAClaimThatIsNotMountedIsNotWrittenTo(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.claimed()
		s.unmounted = true
		if _, err := s.precopy(t.Context()); code(err) != "NotTheVolume" {
			t.Errorf("got %v", err)
		}
		if names, err := os.ReadDir(s.disk()); err != nil || len(names) > 0 {
			t.Errorf("written to: %v, %v", names, err)
		}
		s.unmounted = false
		if _, err := s.precopy(t.Context()); err != nil {
			t.Errorf("then: %v", err)
		}
	})
}

func csiOf(key, value string) func(map[string]any) {
	return func(o map[string]any) { sub(sub(o, "spec"), "csi")[key] = value }
}

func restricted(o map[string]any) {
	sub(sub(o, "metadata"), "labels")["pod-security.kubernetes.io/enforce"] = "restricted"
}

// TestAPodOnTheNewClaimTurnsTheCutOverBack starts a new Jenkins on the claim while the last pass is made.
func TestAPodOnTheNewClaimTurnsTheCutOverBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.claimed()
		pre, err := s.precopy(t.Context())
		if err != nil || pre.Move.Route != routeSameNode {
			t.Fatal(pre.Move.Route, err)
		}
		s.on(string(doLastPass), s.claimUser)
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "ClaimInUse" {
			t.Errorf("got %v", err)
		}
		s.await("the old Jenkins", s.oldRuns)
		if s.state() != Precopied {
			t.Errorf("state %s", s.state())
		}
		s.jenkins.Do(func(j *jenkinstest.Server) {
			if j.Quiet {
				t.Error("the old Jenkins takes no builds")
			}
		})
		s.old.remove(samePod)
		if _, err := s.migrate(t.Context(), pre.Move, "run-2"); err != nil || s.state() != Moved {
			t.Errorf("then: %v, %s", err, s.state())
		}
	})
}

func TestAHomeThatIsOnTheDataVolumeIsNotMovedOntoItself(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.claimed()
		s.editPod(`{volumes: [{name: home, persistentVolumeClaim: {claimName: jenkins-ebs}}]}`)
		mark := s.cloud.Mark()
		if _, err := s.precopy(t.Context()); code(err) != "HomeIsThere" {
			t.Errorf("got %v", err)
		}
		for _, call := range s.cloud.Since(mark) {
			if call.Write {
				t.Errorf("writes %s", call.Action)
			}
		}
	})
}

func TestWhereAVolumeCanBeHad(t *testing.T) {
	in := func(key string, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}}}
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: "a"}}}
	csi := corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: ebsDriver, VolumeHandle: "vol-1"}}
	tree := corev1.PersistentVolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "aws://a/vol-1"}}
	block := corev1.PersistentVolumeBlock
	for name, c := range map[string]struct {
		source corev1.PersistentVolumeSource
		mode   *corev1.PersistentVolumeMode
		terms  []corev1.NodeSelectorTerm
		driver *storagev1.CSINode
		code   string
	}{
		"anywhere":                        {csi, nil, nil, nil, ""},
		"in the node's zone":              {csi, nil, []corev1.NodeSelectorTerm{in(corev1.LabelTopologyZone, "b", "a")}, nil, ""},
		"by one of two labels":            {csi, nil, []corev1.NodeSelectorTerm{in("topology.ebs.csi.aws.com/zone", "a"), in(corev1.LabelTopologyZone, "a")}, nil, ""},
		"elsewhere":                       {csi, nil, []corev1.NodeSelectorTerm{in(corev1.LabelTopologyZone, "b")}, nil, "OtherZone"},
		"of the driver that was in-tree":  {tree, nil, nil, nil, ""},
		"as a block device":               {csi, &block, nil, nil, "BlockClaim"},
		"where another driver runs alone": {csi, nil, nil, &storagev1.CSINode{Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "efs.csi.aws.com"}}}}, "NoDriver"},
	} {
		t.Run(name, func(t *testing.T) {
			pv := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: c.source, VolumeMode: c.mode}}
			if c.terms != nil {
				pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: c.terms}}
			}
			if err := servesWith("claim", "vol-1", pv, node, c.driver); code(err) != c.code {
				t.Errorf("got %v, want %q", err, c.code)
			}
		})
	}
}
