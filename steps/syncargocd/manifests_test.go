package syncargocd_test

import "fmt"

// manifest is an Application that follows a directory of the repository.
func (a *argo) manifest(name, path, more string) string {
	return `
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: ` + name + `, namespace: argocd, labels: {test: ` + name + `}}
spec:
  project: default
  destination: {server: "https://kubernetes.default.svc", namespace: ` + name + `}
  source: {repoURL: "file://` + a.repo + `", path: ` + path + `, targetRevision: HEAD}
  syncPolicy: {syncOptions: [CreateNamespace=true]` + more + `}
`
}

func config(name, value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {value: \"" + value + "\"}\n"
}

// slow is a hook that takes some seconds before the sync, so that something can happen meanwhile.
func slow(seconds int) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: slow, annotations: {argocd.argoproj.io/hook: PreSync}}
spec: {restartPolicy: Never, containers: [{name: slow, image: pipectl:test, command: [sleep, "%d"]}]}
`, seconds)
}

func web(name, replicas, image string) string {
	return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ` + name + `}
spec:
` + replicas + `  selector: {matchLabels: {app: ` + name + `}}
  template:
    metadata: {labels: {app: ` + name + `}}
    spec: {containers: [{name: web, image: "` + image + `"}]}
---
apiVersion: v1
kind: Service
metadata: {name: ` + name + `}
spec: {selector: {app: ` + name + `}, ports: [{port: 8080}]}
`
}
