// Command lab214 is Argo CD 2.14 for the lab: its four programs and their helpers, in a module of their own, since they need other
// Kubernetes libraries than the lab's. The lab's node player starts it in pods whose image is of that release; it must not be more than
// that release.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	gitopsio "github.com/argoproj/gitops-engine/pkg/utils/io"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	applicationcontroller "github.com/argoproj/argo-cd/v2/cmd/argocd-application-controller/commands"
	applicationset "github.com/argoproj/argo-cd/v2/cmd/argocd-applicationset-controller/commands"
	gitaskpass "github.com/argoproj/argo-cd/v2/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v2/cmd/argocd-repo-server/commands"
	apiserver "github.com/argoproj/argo-cd/v2/cmd/argocd-server/commands"
	"github.com/argoproj/argo-cd/v2/cmd/argocd/commands/admin"
	"github.com/argoproj/argo-cd/v2/util/log"
)

// roles are listed by the name that is the first argument, or that the executable is called by.
var roles = map[string]func() *cobra.Command{
	"argocd-application-controller":    applicationcontroller.NewCommand,
	"argocd-repo-server":               reposerver.NewCommand,
	"argocd-server":                    apiserver.NewCommand,
	"argocd-applicationset-controller": applicationset.NewCommand,
	"argocd-git-ask-pass":              gitaskpass.NewCommand,
	"argocd-redis-initial-password":    admin.NewRedisInitialPasswordCommand,
}

func main() {
	args := os.Args
	if roles[filepath.Base(args[0])] == nil {
		args = args[1:]
	}
	if len(args) == 0 || roles[filepath.Base(args[0])] == nil {
		fmt.Fprintln(os.Stderr, "error: expected the name of a program of Argo CD and its flags\nhint: the lab starts this binary, see rehearsal/lab/README.md")
		os.Exit(2)
	}
	klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
	gitopsio.TempDir = "" // the pod's, and so gone with it; /dev/shm would keep what a killed controller left there
	command := roles[filepath.Base(args[0])]()
	// Argo CD looks at the whole command line in places; it must not see the role's name there.
	os.Args = append(os.Args[:1:1], args[1:]...)
	command.SetArgs(args[1:])
	if command.Execute() != nil {
		os.Exit(1)
	}
}
