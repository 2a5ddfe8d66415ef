package syncargocd

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Our types do not know `enabled`, which Argo CD has since 3.1: what is switched off must read as no automatic sync at all.
func TestAnAutomaticSyncThatIsSwitchedOffIsNone(t *testing.T) {
	for policy, want := range map[string]bool{
		`{}`:                               false,
		`{"automated":{}}`:                 true,
		`{"automated":{"enabled":true}}`:   true,
		`{"automated":{"enabled":false}}`:  false,
		`{"automated":{"enabled": false}}`: false,
		`{"automated":{"selfHeal":true},"syncOptions":["enabled"]}`: true,
	} {
		raw := []byte(`{"apiVersion":"argoproj.io/v1alpha1","kind":"Application","metadata":{"name":"a"},"spec":{"syncPolicy":` + policy + `},"status":{"history":[{"id":1}]}}`)
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		byServer, err := decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		byCluster, err := decodeObject(obj)
		if err != nil {
			t.Fatal(err)
		}
		if automated(byServer) != want || automated(byCluster) != want || len(byServer.Status.History)+len(byCluster.Status.History) > 0 {
			t.Errorf("%s: by server %v, by cluster %v, want %v", policy, automated(byServer), automated(byCluster), want)
		}
	}
}
