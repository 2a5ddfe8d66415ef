package syncargocd

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
)

// far is a way on which a live object takes a tenth of a second.
type far struct{ transport }

func (far) object(context.Context, *argo.Application, kube.ObjectRef) (*unstructured.Unstructured, error) {
	time.Sleep(100 * time.Millisecond)
	return &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "shop", "namespace": "web"}, "spec": map[string]any{"ports": []any{map[string]any{"port": int64(8080)}}}}}, nil
}

func TestAddressesOfManyApplicationsAreLookedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &session{via: far{}, outcomes: map[id]outcome{}}
		for i := range 4 * asking {
			a := app()
			a.Name, a.Status.Resources = fmt.Sprint("app-", i), []argo.ResourceStatus{{Version: "v1", Kind: "Service", Namespace: "web", Name: "shop"}}
			x.outcomes[idOf(a)] = outcome{app: a}
		}
		began := time.Now()
		out, err := x.outputs(t.Context())
		if err != nil || len(out.Apps) != 4*asking || out.URLs["app-7"] != "http://shop.web.svc:8080" {
			t.Errorf("%d Applications, %q, %v", len(out.Apps), out.URLs["app-7"], err)
		}
		if took := time.Since(began); took != 400*time.Millisecond {
			t.Errorf("took %s, want 400ms", took)
		}
	})
}
