package jenkinshome

import (
	"context"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// DefaultImage is the image of movers when nothing else tells; the release sets it at link time
// (-X pipectl.dev/steps/jenkinshome.DefaultImage=REPOSITORY@sha256:...).
var DefaultImage string

// MoverImageEnv names the variable that --mover-image sets.
const MoverImageEnv = "PIPECTL_MOVER_IMAGE"

// moverImage is the image that movers run: as told, else that of our own pod, else what the release was linked with.
func moverImage(ctx context.Context, open kube.Opener, told string) (string, error) {
	if told == "" {
		told = os.Getenv(MoverImageEnv)
	}
	if told == "" {
		told = ownImage(ctx, open)
	}
	if told == "" {
		told = DefaultImage
	}
	if told == "" {
		return "", &steps.Error{Code: "NoMoverImage", Category: steps.Precondition, Message: "no image is known for the mover, which runs pipectl on the old node",
			Hints: []string{"name one that the source cluster can pull: `--mover-image`, or " + MoverImageEnv}}
	}
	return told, nil
}

// ownImage is the digest of the image that we run from, "" when we are in no pod or may not look.
func ownImage(ctx context.Context, open kube.Opener) string {
	name := os.Getenv("HOSTNAME")
	if os.Getenv("KUBERNETES_SERVICE_HOST") == "" || name == "" {
		return ""
	}
	dir := os.Getenv(kube.SADirEnv)
	if dir == "" {
		dir = "/var/run/secrets/kubernetes.io/serviceaccount"
	}
	namespace, err := os.ReadFile(dir + "/namespace")
	if err != nil {
		return ""
	}
	k, err := open(ctx, steps.ClusterRef{InCluster: true})
	if err != nil {
		return ""
	}
	pod, err := k.Typed.CoreV1().Pods(strings.TrimSpace(string(namespace))).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	for _, cs := range pod.Status.ContainerStatuses {
		for _, c := range pod.Spec.Containers {
			if c.Name == cs.Name && strings.Contains(c.Image, "pipectl") {
				_, digest, ok := strings.Cut(cs.ImageID, "://")
				if !ok {
					digest = cs.ImageID
				}
				if strings.Contains(digest, "@sha256:") {
					return digest
				}
			}
		}
	}
	return ""
}
