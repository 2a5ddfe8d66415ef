package provisioneks

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/wait"
)

const (
	kindBalancer = "elb:LoadBalancer"
	kindTargets  = "elb:TargetGroup"
)

// controllersHave is how long the cluster's own controllers are given to remove their load balancers once their Services are gone.
const controllersHave = 3 * time.Minute

// withoutBalancers removes the load balancers that controllers made for Services and Ingresses of our cluster. As long as they stand, their
// addresses hold the VPC. Where the cluster answers, the objects go first: else a controller would make its load balancer anew.
func (s *state) withoutBalancers(ctx context.Context, open kube.Opener) error {
	vpc, err := s.ourVPC(ctx)
	if err != nil || vpc == "" {
		return err
	}
	list, err := s.balancers(ctx, vpc)
	if err != nil || s.unseen != nil {
		return err
	}
	if len(list) > 0 && s.removeServices(ctx, open) {
		if list, err = s.awaitControllers(ctx, vpc); err != nil {
			return err
		}
	}
	for _, l := range list {
		began := time.Now()
		if err := s.aws.DeleteLoadBalancer(ctx, l); err != nil {
			return fmt.Errorf("%s/%s: delete: %w", kindBalancer, l.Name, cloud.Explain(err))
		}
		s.env.Report(steps.Progress{Change: steps.Change{Kind: kindBalancer, Name: l.Name, ID: l.ID(), ARN: l.ARN, Action: reconcile.Delete},
			Phase: reconcile.Done, Detail: l.Kind + prefixed(" for ", l.Service), Elapsed: s.aws.Since(began)})
	}
	return s.withoutTargets(ctx, vpc)
}

// withoutTargets removes the target groups that load balancers of the cluster left. They hold nothing and cost nothing, so one that AWS
// still thinks in use is left to the second pass.
func (s *state) withoutTargets(ctx context.Context, vpc string) error {
	groups, err := s.aws.TargetGroups(ctx, s.spec.Name, vpc)
	if err != nil {
		return fmt.Errorf("%s: %w", kindTargets, cloud.Explain(err))
	}
	for _, arn := range groups {
		if err := s.aws.DeleteTargetGroup(ctx, arn); err != nil && !cloud.IsDependency(err) {
			return fmt.Errorf("%s/%s: delete: %w", kindTargets, arn, cloud.Explain(err))
		}
	}
	return nil
}

func prefixed(with, text string) string {
	if text == "" {
		return ""
	}
	return with + text
}

// ourVPC is the VPC of our cluster, or ours without a cluster; "" where there is neither, or the cluster is somebody else's.
func (s *state) ourVPC(ctx context.Context) (string, error) {
	c, err := s.look.cluster.Get(ctx, "controllers")
	if err != nil {
		return "", cloud.Explain(err)
	}
	if c != nil {
		if !cloud.Ours(c.Tags, s.owner, kindCluster, s.spec.Name) || c.ResourcesVpcConfig == nil {
			return "", nil
		}
		return aws.ToString(c.ResourcesVpcConfig.VpcId), nil
	}
	v, err := s.findVPC(ctx, "controllers")
	if err != nil || v == nil {
		return "", cloud.Explain(err)
	}
	return aws.ToString(v.VpcId), nil
}

// balancers are those of the cluster's controllers. A caller who may not look goes on, since there may be none; Delete says what could not
// be seen when something then holds the network.
func (s *state) balancers(ctx context.Context, vpc string) ([]cloud.LoadBalancer, error) {
	list, err := s.aws.LoadBalancers(ctx, s.spec.Name, vpc)
	if cloud.IsDenied(err) {
		s.unseen = fmt.Errorf("load balancers of the cluster cannot be looked up: %w", cloud.Explain(err))
		s.env.Note(s.unseen.Error())
		return nil, nil
	}
	return list, cloud.Explain(err)
}

// removeServices removes what in the cluster asks for load balancers. It reports whether the cluster's controllers may now be waited for;
// a cluster that does not answer is no obstacle.
func (s *state) removeServices(ctx context.Context, open kube.Opener) bool {
	c, _ := s.look.cluster.Peek()
	if open == nil || c == nil || c.Status != "ACTIVE" {
		return false
	}
	k, err := open(ctx, s.ref(c))
	if err == nil {
		err = deleteServices(ctx, k)
	}
	if err != nil {
		s.env.Note("the cluster does not let go of its load balancers by itself, they are removed without it: " + kube.Explain(err).Error())
	}
	return err == nil
}

func deleteServices(ctx context.Context, k *kube.Client) error {
	services, err := k.Typed.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, x := range services.Items {
		if x.Spec.Type == corev1.ServiceTypeLoadBalancer {
			if err := k.Typed.CoreV1().Services(x.Namespace).Delete(ctx, x.Name, metav1.DeleteOptions{}); err != nil && !kube.IsNotFound(err) {
				return err
			}
		}
	}
	api := k.Dynamic.Resource(schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"})
	ingresses, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, x := range ingresses.Items {
		if err := api.Namespace(x.GetNamespace()).Delete(ctx, x.GetName(), metav1.DeleteOptions{}); err != nil && !kube.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// awaitControllers gives what is left when the controllers are through, or their time is.
func (s *state) awaitControllers(ctx context.Context, vpc string) ([]cloud.LoadBalancer, error) {
	var list []cloud.LoadBalancer
	began := time.Now()
	o := wait.Options{Expect: 30 * time.Second, Speed: s.aws.Speed}
	o.Report = func(p wait.Progress) { s.env.Waiting("load balancers: "+p.Detail, p.Elapsed, p.Expect) }
	err := wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		some, err := s.balancers(ctx, vpc)
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		list = some
		return len(list) == 0 || s.aws.Since(began) > controllersHave, fmt.Sprintf("%d left to the cluster's controllers", len(list)), err
	})
	return list, err
}

// perDay is what count of item costs a day, as a half-sentence.
func (s *state) perDay(item string, count float64) string {
	usd, ok := s.aws.Prices.Hourly(s.aws.Region, item)
	switch {
	case item == "":
		return ""
	case !ok:
		return ", price unknown"
	}
	return fmt.Sprintf(", %.2f USD a day", usd*count*24)
}
