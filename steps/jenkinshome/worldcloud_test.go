package jenkinshome

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/treecopy"
)

// What the cloud tells about volumes becomes a link, as the rehearsal's world makes it.
func (s *stage) VolumeAttached(instance, volume, _ string) {
	s.attachedTo = append(s.attachedTo, instance)
	if instance == s.instance || instance == s.worker {
		_ = os.Symlink(s.content(volume), filepath.Join(s.dir, "devices", volume))
	}
}

func (s *stage) VolumeDetached(instance, volume string) {
	if instance == s.instance || instance == s.worker {
		_ = os.Remove(filepath.Join(s.dir, "devices", volume))
	}
}

// content is the directory that plays a volume.
func (s *stage) content(volume string) string {
	if volume == s.volume {
		return filepath.Join(s.dir, "volume")
	}
	return filepath.Join(s.dir, "volume-"+volume)
}

// SnapshotCreated keeps what the old node's root disk holds.
func (s *stage) SnapshotCreated(_, snapshot string) {
	at := "var/lib/jenkins"
	if pod := s.old.get(oldPod); len(containers(pod, "spec", "volumes")) > 0 && containers(pod, "spec", "volumes")[0].(map[string]any)["emptyDir"] != nil {
		at = fmt.Sprintf("var/lib/kubelet/pods/%s/volumes/kubernetes.io~empty-dir/home", sub(pod, "metadata")["uid"])
	}
	s.replicate(s.home(), filepath.Join(s.dir, snapshot, "fs", at))
}

func (s *stage) VolumeFromSnapshot(snapshot, volume string) {
	s.replicate(filepath.Join(s.dir, snapshot), s.content(volume))
}

func (s *stage) replicate(from, to string) {
	if err := os.MkdirAll(to, 0o755); err != nil {
		s.t.Error(err)
	}
	if _, err := treecopy.Copy(context.Background(), from, to, treecopy.Options{}); err != nil {
		s.t.Error(err)
	}
}

func (s *stage) VolumeDeleted(volume string) { _ = os.RemoveAll(s.content(volume)) }

func (s *stage) ClusterCreating(string, string, string) {}

func (s *stage) ClusterEndpoint(context.Context, string) (string, string, error) {
	return "", "", nil
}

func (s *stage) ClusterDeleted(string) {}

func (s *stage) JWKS(context.Context, string) ([]byte, error) { return nil, nil }

func (s *stage) NodesJoined(string, string, []emu.Instance) {}

func (s *stage) NodesLeaving(string, []emu.Instance) {}

func (s *stage) AddonState(string, string, string, bool) {}

// ebs is the volume as the cloud has it. It is no call: what goes wrong with the n-th call must go wrong with one of a step.
func (s *stage) ebs() emu.Resource {
	for _, r := range s.cloud.Resources() {
		if r.ID == s.volume {
			return r
		}
	}
	s.t.Fatalf("volume %s is gone", s.volume)
	return emu.Resource{}
}
