package main

import (
	"os"

	gitopsio "github.com/argoproj/gitops-engine/pkg/utils/io"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	kustomize "sigs.k8s.io/kustomize/kustomize/v5/commands"

	applicationcontroller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	applicationset "github.com/argoproj/argo-cd/v3/cmd/argocd-applicationset-controller/commands"
	gitaskpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	apiserver "github.com/argoproj/argo-cd/v3/cmd/argocd-server/commands"
	"github.com/argoproj/argo-cd/v3/cmd/argocd/commands/admin"
	"github.com/argoproj/argo-cd/v3/util/log"
)

// argocdRoles are Argo CD's own programs, with its own flags and environment, and kustomize, which it starts.
func argocdRoles() map[string]role {
	return map[string]role{
		"argocd-application-controller":    argocd(applicationcontroller.NewCommand),
		"argocd-repo-server":               argocd(reposerver.NewCommand),
		"argocd-server":                    argocd(apiserver.NewCommand),
		"argocd-applicationset-controller": argocd(applicationset.NewCommand),
		"argocd-git-ask-pass":              argocd(gitaskpass.NewCommand),
		"argocd-redis-initial-password":    argocd(admin.NewRedisInitialPasswordCommand),
		"kustomize":                        argocd(kustomize.NewDefaultCommand),
	}
}

func argocd(command func() *cobra.Command) role {
	return func(args []string) int {
		klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
		gitopsio.TempDir = "" // the pod's, and so gone with it; /dev/shm would keep what a killed controller left there
		// Argo CD looks at the whole command line in places; it must not see the role's name there.
		os.Args = append(os.Args[:1:1], args...)
		c := command()
		c.SetArgs(args)
		if err := c.Execute(); err != nil {
			return 1
		}
		return 0
	}
}
