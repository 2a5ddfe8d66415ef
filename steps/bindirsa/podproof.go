package bindirsa

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws/aws-sdk-go-v2/service/eks"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
)

const kindPodProof = "eks-auth:Proof"

// podRemedies map each refusal of AssumeRoleForPodIdentity to the one thing that mends it; the first that fits holds. Of its AccessDenied
// and ExpiredToken only these speak of the role and the token: the others are of the caller, who signs this call.
var podRemedies = []refusal{
	{"AccessDeniedException", "assume the associated role", "the role's trust policy must let " + podService + " do sts:AssumeRole and sts:TagSession: look for a condition in it, or a policy of the organization, that shuts out this cluster or namespace"},
	{"ResourceNotFoundException", "", "EKS has no association for this service account: look for another tool that removes it, then run again"},
	{"ExpiredTokenException", "The token included", expiredHint},
	{"InvalidTokenException", "", otherPodHint},
	{"InvalidParameterException", "", otherPodHint},
	{"InvalidRequestException", "", otherPodHint},
}

const otherPodHint = "EKS does not take the token for one of a pod of this cluster: was the pod or the cluster made anew meanwhile? run again"

// podProof shows that a pod of the service account gets the role: with a token of one that runs, as the agent on its node asks EKS. The
// association's tag says for what role and trust it was given. A service account of which no pod runs has nothing to prove yet: a later
// run does. That others are refused needs no proof: EKS keeps an association for one service account, and knows no patterns.
func (s *state) podProof(a ServiceAccount, needs []string) resource {
	name := s.associationName(a.Namespace, a.Name)
	return resource{
		Kind: kindPodProof, Name: name, Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			there := status{Exists: true, Ready: true, ID: name}
			x, _, err := s.associationOf(ctx, name+" proof", a)
			if err != nil || s.provenFor(x) {
				return there, err
			}
			pod, err := s.podOf(ctx, a)
			if err != nil || pod == nil {
				s.remark(unproven(a))
				return there, err
			}
			if x.tags[tagProven] == "" {
				return status{}, nil
			}
			var d owned.Drift
			d.Mend("proof", "that of an earlier role or trust policy", "a new one")
			there.Drift = d
			return there, nil
		},
		Create: func(ctx context.Context, s *state) error { return s.provePod(ctx, a) },
		Update: func(ctx context.Context, s *state, _ []string) error { return s.provePod(ctx, a) },
	}
}

func unproven(a ServiceAccount) string {
	return "no pod runs as " + a.String() + " yet: that it gets the role is proven by a run after one does"
}

// provenFor reports whether what an association gives now was proven.
func (s *state) provenFor(x association) bool {
	return x.id != "" && x.role == s.roleARN && x.tags[tagProven] == s.digest()
}

// podOf is a pod that runs as the service account, nil where there is none or the caller may not look.
func (s *state) podOf(ctx context.Context, a ServiceAccount) (*corev1.Pod, error) {
	list, err := s.kube.Typed.CoreV1().Pods(a.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.serviceAccountName=" + a.Name})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, kube.Explain(err)
	}
	for _, p := range list.Items {
		if p.Spec.ServiceAccountName == a.Name && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			return &p, nil
		}
	}
	return nil, nil
}

// provePod takes the role on as a pod would. A pod that ended since it was seen leaves the proof to a later run.
func (s *state) provePod(ctx context.Context, a ServiceAccount) error {
	pod, err := s.podOf(ctx, a)
	if err != nil || pod == nil {
		return err
	}
	token, _, err := s.kube.PodToken(ctx, pod, []string{podService}, 10*time.Minute)
	if err != nil {
		return err
	}
	var got cloud.PodSession
	err = s.aws.Retry(ctx, spread, podSettling, func(ctx context.Context) error {
		got, err = s.aws.AssumeRoleForPodIdentity(ctx, s.spec.Cluster.EKS.Name, token)
		return err
	})
	if err != nil {
		return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, remedied(podRemedies, err))
	}
	if err := s.giveRole(ctx, got.Credentials.AccessKeyID, got.Credentials.SecretAccessKey, got.Credentials.SessionToken); err != nil {
		return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return s.markProven(ctx, a)
}

func (s *state) markProven(ctx context.Context, a ServiceAccount) error {
	x, found, err := s.associationOf(ctx, a.String()+" proven", a)
	if err != nil || !found {
		return err
	}
	defer s.associations.Changed()
	_, err = cloud.EKS(s.aws).TagResource(ctx, &eks.TagResourceInput{ResourceArn: &x.arn, Tags: map[string]string{tagProven: s.digest()}})
	return err
}

// podSettling are the errors that a right association gives while EKS and IAM are still spreading it.
func podSettling(err error) bool {
	return cloud.IsNotFound(err) || cloud.Code(err) == "AccessDeniedException" && cloud.Says(err, podRemedies[0].says)
}

// podsProven says whether what every service account gets was proven, and tells of those where it was not.
func (s *state) podsProven(ctx context.Context, tell func(string)) (bool, error) {
	if !s.spec.PodIdentity {
		return false, nil
	}
	all := true
	for _, a := range s.spec.ServiceAccounts {
		x, _, err := s.associationOf(ctx, a.String()+" result", a)
		if err != nil {
			return false, cloud.Explain(err)
		}
		if !s.provenFor(x) {
			tell(unproven(a))
			all = false
		}
	}
	return all, nil
}

// remark notes something for the plan, once.
func (s *state) remark(note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.left, note) {
		s.left = append(s.left, note)
	}
}
