package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const csiRole = "arn:aws:iam::111122223333:role/ebs-csi"

// cloud attaches volumes by links, as the emulated EC2 does, and remembers what it was asked.
type cloud struct {
	dir string

	mu     sync.Mutex
	orders []map[string]string
	refuse string
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var order map[string]string
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders = append(c.orders, order)
	if c.refuse != "" {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": c.refuse})
		return
	}
	link := filepath.Join(c.dir, "nodes", order["nodeID"], "devices", order["volumeID"])
	var err error
	if order["action"] == "attach" {
		err = os.Symlink(filepath.Join(c.dir, "volumes", order["volumeID"]), link)
	} else {
		err = os.Remove(link)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (c *cloud) setRefusal(message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = message
}

func (c *cloud) asked(action string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, order := range c.orders {
		if order["action"] == action {
			return order
		}
	}
	return nil
}

// TestVolumes follows one volume from a claim without a driver to its detachment.
func TestVolumes(t *testing.T) {
	c := &cloud{}
	server := httptest.NewServer(c)
	defer server.Close()
	l := start(t, "--csi-endpoint", server.URL)
	c.dir = l.dir
	l.write(t, filepath.Join(l.dir, "volumes", "vol-1", ".keep"), "")
	l.claim(t, "data", "vol-1", "ext4")
	l.createPod(t, pod("writer", func(s *v1.PodSpec, container *v1.Container) {
		mounted(s, container, "/data", v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}})
	}, "write", "/data/file", "kept"))
	l.event(t, "writer", "not found in the list of registered CSI drivers")

	if code, body := l.order(t, http.MethodPut, "/addons/aws-ebs-csi-driver", map[string]any{"active": true}); code != http.StatusOK {
		t.Fatalf("PUT addon: %d %s", code, body)
	}
	l.attachError(t, "has no annotation eks.amazonaws.com/role-arn")
	c.setRefusal("AccessDenied: not authorized to perform sts:AssumeRoleWithWebIdentity")
	l.annotate(t)
	l.attachError(t, "AccessDenied")
	c.setRefusal("")
	until(t, "the writer succeeds", func(ctx context.Context) (bool, error) {
		got, err := l.client.CoreV1().Pods("default").Get(ctx, "writer", get())
		return err == nil && got.Status.Phase == v1.PodSucceeded, err
	})
	for path, want := range map[string]string{"fs/file": "kept", "fstype": "ext4"} {
		if got, err := os.ReadFile(filepath.Join(l.dir, "volumes", "vol-1", path)); err != nil || string(got) != want {
			t.Errorf("volume has %s = %q, %v", path, got, err)
		}
	}
	order := c.asked("attach")
	if order["cluster"] != "c" || order["volumeID"] != "vol-1" || order["nodeID"] != "i-1" || order["roleArn"] != csiRole || strings.Count(order["token"], ".") != 2 {
		t.Errorf("the cloud was asked %v", order)
	}
	l.detached(t)
	if c.asked("detach") == nil {
		t.Error("the cloud was not asked to detach")
	}
	l.wrongFileSystem(t)
	l.deleteVolume(t)
}

// claim makes a bound pair of volume and claim over an EBS volume.
func (l *lab) claim(t *testing.T, name, volume, fsType string) {
	t.Helper()
	capacity := v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{
		Capacity: capacity, AccessModes: modes, PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimRetain,
		ClaimRef:               &v1.ObjectReference{Namespace: "default", Name: name},
		PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "ebs.csi.aws.com", VolumeHandle: volume, FSType: fsType}},
	}}
	if _, err := l.client.CoreV1().PersistentVolumes().Create(t.Context(), pv, create()); err != nil {
		t.Fatal(err)
	}
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeClaimSpec{
		AccessModes: modes, StorageClassName: pointer(""), VolumeName: name, Resources: v1.VolumeResourceRequirements{Requests: capacity},
	}}
	if _, err := l.client.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, create()); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) annotate(t *testing.T) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"eks.amazonaws.com/role-arn":%q}}}`, csiRole)
	_, err := l.client.CoreV1().ServiceAccounts("kube-system").Patch(t.Context(), "ebs-csi-controller-sa", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (l *lab) event(t *testing.T, pod, words string) {
	t.Helper()
	until(t, "an event of "+pod+" says "+words, func(ctx context.Context) (bool, error) {
		events, err := l.client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
		if err != nil {
			return false, err
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, words) {
				return true, nil
			}
		}
		return false, nil
	})
}

func (l *lab) attachError(t *testing.T, words string) {
	t.Helper()
	until(t, "the attachment says "+words, func(ctx context.Context) (bool, error) {
		all, err := l.client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		if err != nil || len(all.Items) == 0 {
			return false, err
		}
		e := all.Items[0].Status.AttachError
		return e != nil && strings.Contains(e.Message, words), nil
	})
}

func (l *lab) detached(t *testing.T) {
	t.Helper()
	until(t, "the attachment is gone", func(ctx context.Context) (bool, error) {
		all, err := l.client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		return err == nil && len(all.Items) == 0, err
	})
	if left, err := os.ReadDir(filepath.Join(l.dir, "nodes", "i-1", "devices")); err != nil || len(left) != 0 {
		t.Errorf("devices left: %v, %v", left, err)
	}
}

func (l *lab) wrongFileSystem(t *testing.T) {
	t.Helper()
	l.write(t, filepath.Join(l.dir, "volumes", "vol-2", "fstype"), "xfs\n")
	l.claim(t, "other", "vol-2", "ext4")
	l.createPod(t, pod("misled", func(s *v1.PodSpec, c *v1.Container) {
		mounted(s, c, "/data", v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "other"}})
	}, "write", "/data/file", "lost"))
	l.event(t, "misled", "wrong fs type")
	if _, err := os.Stat(filepath.Join(l.dir, "volumes", "vol-2", "fs")); !os.IsNotExist(err) {
		t.Errorf("the foreign file system was touched: %v", err)
	}
	if err := l.client.CoreV1().Pods("default").Delete(t.Context(), "misled", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.gone(t, "misled")
	l.detached(t)
}

// deleteVolume checks that the driver lets a volume's object go once nothing uses it.
func (l *lab) deleteVolume(t *testing.T) {
	t.Helper()
	if err := l.client.CoreV1().Pods("default").Delete(t.Context(), "writer", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.gone(t, "writer")
	if err := l.client.CoreV1().PersistentVolumeClaims("default").Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := l.client.CoreV1().PersistentVolumes().Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the volume's object is gone", func(ctx context.Context) (bool, error) {
		_, err := l.client.CoreV1().PersistentVolumes().Get(ctx, "data", get())
		return apierrors.IsNotFound(err), nil
	})
	if code, body := l.order(t, http.MethodPut, "/addons/aws-ebs-csi-driver", map[string]any{"active": false}); code != http.StatusOK {
		t.Fatalf("PUT addon: %d %s", code, body)
	}
	if _, err := l.client.StorageV1().CSIDrivers().Get(t.Context(), "ebs.csi.aws.com", get()); !apierrors.IsNotFound(err) {
		t.Errorf("the driver's object: %v", err)
	}
}
