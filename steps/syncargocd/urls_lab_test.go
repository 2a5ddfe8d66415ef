package syncargocd_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/kube"
)

const ingress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  rules:
    - host: shop.example.com
      http: {paths: [{path: /cart, pathType: Prefix, backend: {service: {name: shop, port: {number: 8080}}}}]}
`

func TestTheAddressOfAnIngressIsInTheResult(t *testing.T) {
	ways(t, func(a *argo) {
		t, name := a.t, "ingress-"+a.way
		head := a.commit(map[string]string{"ingress/web.yaml": web("shop", "", "nginx:1"), "ingress/ingress.yaml": ingress})
		a.app(name, "ingress", "")
		with := "apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"
		done := a.begin(name, with, head)
		ref := kube.ObjectRef{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: name, Name: "shop"}
		a.until("the Ingress is there", func() bool { return a.get(ref) != nil })
		api, _, err := a.client.Resource(ref)
		if err != nil {
			t.Fatal(err)
		}
		// As the controller of a load balancer does: the Ingress is not healthy before.
		status := `{"status":{"loadBalancer":{"ingress":[{"hostname":"lb-1.elb.amazonaws.com"}]}}}`
		if _, err := api.Patch(t.Context(), ref.Name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		out := a.synced(with)
		if diff := cmp.Diff(map[string]string{name: "https://shop.example.com/cart"}, out.URLs); diff != "" || out.Apps[name].Changed {
			t.Errorf("%s(-want +got):\n%s", strings.Join(out.Apps[name].URLs, " "), diff)
		}
	})
}
