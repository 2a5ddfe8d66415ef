package jenkinshome

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"pipectl.dev/steps"
)

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}}
}

func TestWhatAPodAsksFor(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	for name, c := range map[string]struct {
		pod  corev1.PodSpec
		want asks
	}{
		"nothing":                     {corev1.PodSpec{Containers: []corev1.Container{{}}}, asks{}},
		"containers run side by side": {corev1.PodSpec{Containers: []corev1.Container{{Resources: requests("500m", "1Gi")}, {Resources: requests("1", "512Mi")}}}, asks{1500, 1536 << 20}},
		"an init container that asks for more counts alone": {corev1.PodSpec{InitContainers: []corev1.Container{{Resources: requests("100m", "3Gi")}, {Resources: requests("2", "1Gi")}},
			Containers: []corev1.Container{{Resources: requests("500m", "1Gi")}}}, asks{2000, 3 << 30}},
		"a sidecar runs beside the others": {corev1.PodSpec{InitContainers: []corev1.Container{{RestartPolicy: &always, Resources: requests("100m", "1Gi")}, {Resources: requests("100m", "2Gi")}},
			Containers: []corev1.Container{{Resources: requests("500m", "1Gi")}}}, asks{600, 3 << 30}},
		"overhead of a runtime class": {corev1.PodSpec{Containers: []corev1.Container{{Resources: requests("500m", "1Gi")}}, Overhead: requests("250m", "120Mi").Requests}, asks{750, 1144 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := asksOf(c.pod); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestWhetherTheNewClusterHasRoom(t *testing.T) {
	jenkins := asks{1000, 2 << 30}
	small, large := place{Name: "small", Has: asks{1930, 1500 << 20}, Pods: 11}, place{Name: "large", Has: asks{1930, 3300 << 20}, Pods: 11}
	with := func(p place, taken asks, pods int64) place {
		p.Taken, p.PodsThis = taken, pods
		return p
	}
	for name, c := range map[string]struct {
		places     []place
		note, code string
	}{
		"a node is free":                       {[]place{small, large}, "", ""},
		"no node is in the zone":               {nil, "no node that can run Jenkins is in zone z", ""},
		"every node is too small":              {[]place{small}, "", "NoRoom"},
		"the large one has too little memory":  {[]place{small, with(large, asks{0, 2 << 30}, 4)}, "large has 1930m CPU and 1252 MiB memory and runs 4 of 11 pods", ""},
		"the large one has too little CPU":     {[]place{with(large, asks{1900, 0}, 4)}, "large has 30m CPU", ""},
		"the large one runs all pods it can":   {[]place{with(large, asks{}, 11)}, "runs 11 of 11 pods", ""},
		"a node that does not count its pods":  {[]place{{Name: "x", Has: asks{4000, 8 << 30}, PodsThis: 40}}, "", ""},
		"the large one takes no more volumes":  {[]place{small, {Name: "full", Has: large.Has, Full: true}}, "no node of the new cluster in zone z that is large enough for Jenkins has an attach slot free", ""},
		"one of two large ones takes more":     {[]place{{Name: "full", Has: large.Has, Full: true}, large}, "", ""},
		"one of two large ones is free enough": {[]place{with(large, asks{}, 11), large}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			note, err := fit(jenkins, "z", c.places)
			if code(err) != c.code || !strings.Contains(note, c.note) || c.note == "" && note != "" {
				t.Errorf("got %q, %v", note, err)
			}
			if c.code != "" && (steps.Classify(err).Category != steps.Precondition || !strings.Contains(err.Error(), "1000m CPU and 2048 MiB memory") || !strings.Contains(err.Error(), "small, has 1930m CPU and 1500 MiB")) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRoomIsLookedForBeforeTheOldJenkinsStops(t *testing.T) {
	node := func(s *stage, name, zone, memory, more string) {
		s.new.put("/api/v1/nodes/"+name, object(`{apiVersion: v1, kind: Node, metadata: {name: `+name+`, labels: {topology.kubernetes.io/zone: `+zone+`}}, spec: {`+more+`},
  status: {allocatable: {cpu: "2", memory: `+memory+`, pods: "11"}}}`))
	}
	for name, c := range map[string]struct {
		arrange    func(*stage)
		code, note string
	}{
		"the only large node is in another zone": {func(s *stage) { node(s, "a", "ap-northeast-2a", "1Gi", ""); node(s, "c", "ap-northeast-2c", "8Gi", "") }, "NoRoom", ""},
		"the large node is not for Jenkins": {func(s *stage) {
			node(s, "a", "ap-northeast-2a", "8Gi", "taints: [{key: gpu, effect: NoSchedule}]")
			node(s, "b", "ap-northeast-2a", "1Gi", "")
		}, "NoRoom", ""},
		"the large node takes no more volumes": {func(s *stage) {
			node(s, "a", "ap-northeast-2a", "8Gi", "")
			s.new.put("/apis/storage.k8s.io/v1/csinodes/a", object(`{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: a}, spec: {drivers: [{name: ebs.csi.aws.com, nodeID: i-1, allocatable: {count: 1}}]}}`))
			s.new.put(newAttach, object(`{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: csi-1}, spec: {attacher: ebs.csi.aws.com, nodeName: a, source: {persistentVolumeName: other}}}`))
		}, "", "has an attach slot free"},
		"no node is there yet":        {func(*stage) {}, "", "no node that can run Jenkins"},
		"the cluster does not answer": {func(s *stage) { s.new.away = true }, "", "is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.editPod(`{containers: [{name: jenkins, ports: [{name: http, containerPort: 8080}], volumeMounts: [{name: home, mountPath: /var/jenkins_home}], resources: {requests: {memory: 2Gi}}}]}`)
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				c.arrange(s)
				spec := s.migrateSpec(pre.Move)
				spec.Cluster = &steps.ClusterRef{EKS: &steps.EKSCluster{Name: "new", Region: "ap-northeast-2"}}
				plan, err := migrateStep{s.base()}.Plan(t.Context(), s.env("run-1"), spec)
				if code(err) != c.code || !slices.ContainsFunc(append(plan.Forecast.Notes, ""), func(n string) bool { return strings.Contains(n, c.note) }) {
					t.Errorf("plan: %v %q", err, plan.Forecast.Notes)
				}
				if c.code != "" {
					_, err := migrateStep{s.base()}.Apply(t.Context(), s.env("run-1"), spec)
					if code(err) != c.code || !s.oldRuns() || s.state() != Precopied {
						t.Errorf("apply: %v, the old one runs: %v, %s", err, s.oldRuns(), s.state())
					}
				}
			})
		})
	}
}
