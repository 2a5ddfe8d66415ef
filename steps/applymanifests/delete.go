package applymanifests

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Delete removes what carries our mark from a cluster that stays. A cluster that is gone, or that this pipeline made and so removes
// itself, needs nothing from us.
func (s *step) Delete(ctx context.Context, env steps.Env, sp Spec, _ steps.DeleteOptions) error {
	if sp.Cluster.IsZero() || env.Unknown("cluster") {
		return nil
	}
	if vanishes, err := s.vanishes(ctx, env, sp.Cluster); err != nil || vanishes {
		return err
	}
	w, err := s.open(ctx, env, sp)
	if kube.HasCode(err, kube.CodeClusterNotFound) {
		return nil
	}
	if kube.HasCode(err, kube.CodeClusterUnreachable) {
		return leftovers(sp, err)
	}
	if err != nil {
		return err
	}
	refs := w.refs()
	slices.Reverse(refs) // what was declared last usually needs what came before
	var spaces, rest, definitions []kube.ObjectRef
	for _, r := range refs {
		switch r.Kind {
		case "Namespace":
			spaces = append(spaces, r)
		case "CustomResourceDefinition":
			definitions = append(definitions, r)
		default:
			rest = append(rest, r)
		}
	}
	for _, x := range sp.Secrets {
		if ns := namespaceRef(x.Namespace); !slices.Contains(spaces, ns) {
			spaces = append(spaces, ns)
		}
	}
	if err := w.remove(ctx, env, rest); err != nil {
		return err
	}
	if err := w.remove(ctx, env, definitions); err != nil {
		return err
	}
	return w.removeEmpty(ctx, env, spaces)
}

func (w *work) removeEmpty(ctx context.Context, env steps.Env, spaces []kube.ObjectRef) error {
	for _, ns := range spaces {
		live, err := w.client.Get(ctx, ns)
		if err != nil {
			return err
		}
		if live == nil || !kube.Owned(live, w.id) {
			continue
		}
		empty, err := w.empty(ctx, ns.Name)
		if err != nil {
			return err
		}
		if !empty {
			env.Note(fmt.Sprintf("namespace %s is left: there are things in it that pipectl did not make", ns.Name))
			continue
		}
		if err := w.remove(ctx, env, []kube.ObjectRef{ns}); err != nil {
			return err
		}
	}
	return nil
}

func leftovers(sp Spec, err error) error {
	return &steps.Error{Code: "Leftovers", Category: steps.Partial, Retryable: true, Err: err,
		Message: fmt.Sprintf("objects of %v are left in %s", sp.Paths, sp.Cluster), Hints: []string{"run `pipectl down` again when the cluster answers"}}
}

// vanishes reports whether an EKS cluster is gone, going, or made by this identity and so removed by it.
func (s *step) vanishes(ctx context.Context, env steps.Env, ref steps.ClusterRef) (bool, error) {
	if ref.EKS == nil {
		return false, nil
	}
	session, err := s.aws(ctx, ref.EKS.Region)
	if err != nil {
		return false, err
	}
	out, err := cloud.EKS(session).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String(ref.EKS.Name)})
	var missing *ekstypes.ResourceNotFoundException
	if errors.As(err, &missing) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("cluster %s: %w", ref, cloud.Explain(err))
	}
	return out.Cluster.Status == ekstypes.ClusterStatusDeleting || out.Cluster.Tags[cloud.TagIdentity] == env.Identity.String(), nil
}
