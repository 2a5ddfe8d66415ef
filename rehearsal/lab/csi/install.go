package csi

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RoleAnnotation is the annotation of a service account that names the IAM role of its pods.
const RoleAnnotation = "eks.amazonaws.com/role-arn"

const (
	namespace         = "kube-system"
	controllerAccount = "ebs-csi-controller-sa"
	nodeAccount       = "ebs-csi-node-sa"
	// zoneLabel is put on a node when the driver registers there.
	zoneLabel = "topology.ebs.csi.aws.com/zone"
	// volumesPerNode is what most Nitro instances can attach next to their root volume and network interface.
	volumesPerNode = int32(25)
)

// install makes the add-on's objects. What exists stays, but for the role.
func (p *Player) install(ctx context.Context, roleARN string) error {
	labels := map[string]string{"app.kubernetes.io/name": "aws-ebs-csi-driver", "app.kubernetes.io/managed-by": "EKS"}
	for _, name := range []string{controllerAccount, nodeAccount} {
		account := &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels}}
		_, err := p.client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	if roleARN != "" {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{RoleAnnotation: roleARN}}})
		if err != nil {
			return err
		}
		_, err = p.client.CoreV1().ServiceAccounts(namespace).Patch(ctx, controllerAccount, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			return err
		}
	}
	yes, no, policy := true, false, storagev1.FileFSGroupPolicy
	driver := &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: Driver, Labels: labels},
		Spec: storagev1.CSIDriverSpec{
			AttachRequired: &yes, PodInfoOnMount: &no, FSGroupPolicy: &policy,
			VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent},
		},
	}
	_, err := p.client.StorageV1().CSIDrivers().Create(ctx, driver, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// uninstall removes the add-on's objects, its service accounts too, as EKS does.
func (p *Player) uninstall(ctx context.Context) error {
	var all []error
	for _, name := range []string{controllerAccount, nodeAccount} {
		all = append(all, p.client.CoreV1().ServiceAccounts(namespace).Delete(ctx, name, metav1.DeleteOptions{}))
	}
	all = append(all, p.client.StorageV1().CSIDrivers().Delete(ctx, Driver, metav1.DeleteOptions{}))
	return errors.Join(slices.DeleteFunc(all, func(err error) bool { return err == nil || apierrors.IsNotFound(err) })...)
}

func (p *Player) registerAll(ctx context.Context, active bool) error {
	nodes, err := p.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range nodes.Items {
		if err := p.register(ctx, &nodes.Items[i], active); err != nil {
			return err
		}
	}
	return nil
}

// register adds the driver to a node's CSINode, or takes it away.
func (p *Player) register(ctx context.Context, node *v1.Node, active bool) error {
	instance, ok := p.opts.InstanceOf(node.Name)
	if !ok {
		return nil
	}
	nodes := p.client.StorageV1().CSINodes()
	object, err := nodes.Get(ctx, node.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && active:
		_, err = nodes.Create(ctx, &storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}},
			Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{entry(instance)}},
		}, metav1.CreateOptions{})
	case apierrors.IsNotFound(err):
		err = nil
	case err == nil && HasDriver(object, Driver) != active:
		object.Spec.Drivers = slices.DeleteFunc(object.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == Driver })
		if active {
			object.Spec.Drivers = append(object.Spec.Drivers, entry(instance))
		}
		_, err = nodes.Update(ctx, object, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	var zone any // null takes the label away
	if active {
		zone = node.Labels[v1.LabelTopologyZone]
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{zoneLabel: zone}}})
	if err != nil {
		return err
	}
	_, err = p.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func entry(instance string) storagev1.CSINodeDriver {
	count := volumesPerNode
	return storagev1.CSINodeDriver{
		Name: Driver, NodeID: instance, Allocatable: &storagev1.VolumeNodeResources{Count: &count},
		TopologyKeys: []string{"kubernetes.io/os", zoneLabel, v1.LabelTopologyZone},
	}
}
