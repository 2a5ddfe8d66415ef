package csi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// finalizer holds a VolumeAttachment until the volume is detached, and a volume while it is attached.
	finalizer = "external-attacher/ebs-csi-aws-com"
	// instanceAnnotation keeps the instance, as its node may be gone when the volume is to be detached.
	instanceAnnotation = "csi.alpha.kubernetes.io/node-id"
	// audience is the one that STS takes.
	audience = "sts.amazonaws.com"
)

// order is the body that the endpoint takes.
type order struct {
	Cluster  string `json:"cluster"`
	Action   string `json:"action"` // attach or detach
	VolumeID string `json:"volumeID"`
	NodeID   string `json:"nodeID"` // instance id
	RoleARN  string `json:"roleArn"`
	Token    string `json:"token"`
}

// pending tells whether an attachment needs work.
func pending(a *storagev1.VolumeAttachment) bool {
	if a.DeletionTimestamp != nil {
		return slices.Contains(a.Finalizers, finalizer)
	}
	return !a.Status.Attached
}

// settle attaches or detaches and writes the outcome into the attachment's status.
func (p *Player) settle(ctx context.Context, a *storagev1.VolumeAttachment) error {
	if a.DeletionTimestamp != nil {
		err := p.detach(ctx, a)
		if err != nil && !apierrors.IsNotFound(err) {
			return errors.Join(err, p.note(ctx, a, "detachError", err))
		}
		return nil
	}
	err := p.attach(ctx, a)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return errors.Join(err, p.note(ctx, a, "attachError", err))
	}
	return p.patchStatus(ctx, a, map[string]any{"attached": true, "attachError": nil})
}

func (p *Player) attach(ctx context.Context, a *storagev1.VolumeAttachment) error {
	instance, ok := p.opts.InstanceOf(a.Spec.NodeName)
	if !ok {
		return fmt.Errorf("node %s is not there", a.Spec.NodeName)
	}
	pv, err := p.volume(ctx, a)
	if err != nil {
		return err
	}
	// The finalizers come first: what was attached must not be forgotten.
	if err := p.hold(ctx, pv); err != nil {
		return err
	}
	finalizers := a.Finalizers
	if !slices.Contains(finalizers, finalizer) {
		finalizers = append(slices.Clone(finalizers), finalizer)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": a.UID, "finalizers": finalizers, "annotations": map[string]string{instanceAnnotation: instance},
	}})
	if err != nil {
		return err
	}
	if _, err := p.client.StorageV1().VolumeAttachments().Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return p.order(ctx, "attach", pv.Spec.CSI.VolumeHandle, instance)
}

func (p *Player) detach(ctx context.Context, a *storagev1.VolumeAttachment) error {
	pv, err := p.volume(ctx, a)
	switch {
	case apierrors.IsNotFound(err):
		return p.release(ctx, a) // without its volume there is nothing to name in a call
	case err != nil:
		return err
	}
	instance := a.Annotations[instanceAnnotation]
	if instance == "" {
		return p.release(ctx, a) // it was never attached
	}
	if err := p.order(ctx, "detach", pv.Spec.CSI.VolumeHandle, instance); err != nil && !alreadyDetached(err) {
		return err
	}
	return p.release(ctx, a)
}

// alreadyDetached knows the codes by which EC2 says that the instance or the attachment is gone.
func alreadyDetached(err error) bool {
	for _, code := range []string{"IncorrectState", "InvalidAttachment.NotFound", "InvalidInstanceID.NotFound", "InvalidVolume.NotFound"} {
		if strings.Contains(err.Error(), code) {
			return true
		}
	}
	return false
}

func (p *Player) volume(ctx context.Context, a *storagev1.VolumeAttachment) (*v1.PersistentVolume, error) {
	if a.Spec.Source.PersistentVolumeName == nil {
		return nil, errors.New("only persistent volumes are played")
	}
	pv, err := p.client.CoreV1().PersistentVolumes().Get(ctx, *a.Spec.Source.PersistentVolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if pv.Spec.CSI == nil {
		return nil, fmt.Errorf("volume %s has no csi source", pv.Name)
	}
	return pv, nil
}

// order has the endpoint attach or detach with the controller's identity.
func (p *Player) order(ctx context.Context, action, volume, instance string) error {
	if p.opts.Endpoint == "" {
		return fmt.Errorf("%s %s: the lab was started without --csi-endpoint", action, volume)
	}
	accounts := p.client.CoreV1().ServiceAccounts(namespace)
	account, err := accounts.Get(ctx, controllerAccount, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("%s %s: %s", action, volume, err) //nolint:errorlint // not wrapped: only a missing attachment may look missing
	}
	role := account.Annotations[RoleAnnotation]
	if role == "" {
		return fmt.Errorf("%s %s: no EC2 credentials: service account %s/%s has no annotation %s", action, volume, namespace, controllerAccount, RoleAnnotation)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	token, err := accounts.CreateToken(ctx, controllerAccount, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("%s %s: token: %s", action, volume, err) //nolint:errorlint // see above
	}
	body, err := json.Marshal(order{Cluster: p.opts.Cluster, Action: action, VolumeID: volume, NodeID: instance, RoleARN: role, Token: token.Status.Token})
	if err != nil {
		return err
	}
	if err := p.post(ctx, body); err != nil {
		return fmt.Errorf("%s %s: %w", action, volume, err)
	}
	return nil
}

func (p *Player) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.opts.Endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	var refusal struct{ Error string }
	if json.Unmarshal(answer, &refusal) == nil && refusal.Error != "" {
		return errors.New(refusal.Error)
	}
	return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
}

// note writes why an attachment could not be settled where people look for it.
func (p *Player) note(ctx context.Context, a *storagev1.VolumeAttachment, field string, cause error) error {
	err := p.patchStatus(ctx, a, map[string]any{field: storagev1.VolumeError{Time: metav1.Now(), Message: cause.Error()}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (p *Player) patchStatus(ctx context.Context, a *storagev1.VolumeAttachment, status map[string]any) error {
	if _, set := status["attached"]; !set {
		status["attached"] = a.Status.Attached // it is required, so a first patch must have it
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": a.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = p.client.StorageV1().VolumeAttachments().Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// release lets the attachment's object go.
func (p *Player) release(ctx context.Context, a *storagev1.VolumeAttachment) error {
	left := slices.DeleteFunc(slices.Clone(a.Finalizers), func(f string) bool { return f == finalizer })
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": a.UID, "finalizers": left}})
	if err != nil {
		return err
	}
	_, err = p.client.StorageV1().VolumeAttachments().Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// hold keeps a volume's object as long as the volume is attached.
func (p *Player) hold(ctx context.Context, pv *v1.PersistentVolume) error {
	if slices.Contains(pv.Finalizers, finalizer) {
		return nil
	}
	if pv.DeletionTimestamp != nil {
		return fmt.Errorf("volume %s is being deleted", pv.Name)
	}
	return p.setFinalizers(ctx, pv, append(slices.Clone(pv.Finalizers), finalizer))
}

// releaseVolumes lets the objects of deleted volumes go once nothing attaches them.
func (p *Player) releaseVolumes(ctx context.Context, volumes []*v1.PersistentVolume, attachments []*storagev1.VolumeAttachment) {
	used := map[string]bool{}
	for _, a := range attachments {
		if name := a.Spec.Source.PersistentVolumeName; name != nil && a.Spec.Attacher == Driver {
			used[*name] = true
		}
	}
	for _, pv := range volumes {
		if pv.DeletionTimestamp == nil || used[pv.Name] || !slices.Contains(pv.Finalizers, finalizer) {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(pv.Finalizers), func(f string) bool { return f == finalizer })
		if err := p.setFinalizers(ctx, pv, left); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			p.opts.Log.Warn("csi: release", "volume", pv.Name, "error", err)
		}
	}
}

func (p *Player) setFinalizers(ctx context.Context, pv *v1.PersistentVolume, finalizers []string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pv.UID, "resourceVersion": pv.ResourceVersion, "finalizers": finalizers,
	}})
	if err != nil {
		return err
	}
	_, err = p.client.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
