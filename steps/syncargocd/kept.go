package syncargocd

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"pipectl.dev/argoserver"
	"pipectl.dev/kube"
)

// kept is what Argo CD's application controller keeps in Redis of its last comparisons. argocd-server tells of managed resources from
// there, and `argocd --core` reads it by the same way as we do. The controller hides values of Secrets before it writes them there.
type kept struct {
	client  *kube.Client
	control string // namespace of Argo CD

	mu     sync.Mutex // one asks at a time
	asked  bool
	server *redis
	gzip   bool
	failed error // once it is set nobody asks again
}

// keptWithin bounds how long the way to Redis, and each answer, may take: a plan is no worse without than late.
const keptWithin = 5 * time.Second

// managed are the resources of an Application as of its last comparison.
func (k *kept) managed(ctx context.Context, app *argo.Application) ([]argoserver.Managed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, keptWithin)
	defer cancel()
	if !k.asked {
		k.asked = true
		k.failed = k.open(ctx)
	}
	if k.failed != nil {
		return nil, k.failed
	}
	raw, err := k.server.get(ctx, keptKey(app, k.control, k.gzip))
	if err != nil {
		k.failed = fmt.Errorf("the Redis of Argo CD: %w", err)
		return nil, k.failed
	}
	return readManaged(raw, k.gzip)
}

func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.server != nil {
		_ = k.server.conn.Close()
	}
}

// keptKey is under what the controller keeps them. Its last part is the version of the form, the same from Argo CD 1.8 on.
func keptKey(app *argo.Application, control string, zipped bool) string {
	name := app.Name
	if app.Namespace != "" && app.Namespace != control {
		name = app.Namespace + "_" + app.Name
	}
	key := "app|managed-resources|" + name + "|1.8.3"
	if zipped {
		key += ".gz"
	}
	return key
}

// maxManaged bounds what one Application's resources may be in all, which may be many times of what they are zipped.
const maxManaged = 256 << 20

func readManaged(raw []byte, zipped bool) ([]argoserver.Managed, error) {
	if raw == nil {
		return nil, errors.New("the Redis of Argo CD has nothing of this Application")
	}
	var from io.Reader = bytes.NewReader(raw)
	if zipped {
		unzipped, err := gzip.NewReader(from)
		if err != nil {
			return nil, fmt.Errorf("the Redis of Argo CD: %w", err)
		}
		from = io.LimitReader(unzipped, maxManaged)
	}
	var items []struct {
		argoserver.Managed
		Hook bool `json:"hook"`
	}
	if err := json.NewDecoder(from).Decode(&items); err != nil {
		return nil, fmt.Errorf("the Redis of Argo CD: %w", err)
	}
	var out []argoserver.Managed
	for _, i := range items {
		if !i.Hook {
			out = append(out, i.Managed)
		}
	}
	return out, nil
}

// open finds Redis and connects to it.
func (k *kept) open(ctx context.Context) error {
	params, err := k.params(ctx)
	if err != nil {
		return err
	}
	at, err := keptAt(params, k.control)
	if err != nil {
		return err
	}
	k.gzip = at.gzip
	who, err := k.account(ctx)
	if err != nil {
		return err
	}
	conn, err := k.connect(ctx, at)
	if err != nil {
		return err
	}
	k.server = newRedis(conn)
	if err := k.server.login(ctx, who, at.db); err != nil {
		return fmt.Errorf("the Redis of Argo CD: %w", err)
	}
	return nil
}

// params are those that Argo CD's programs are started with; none where it has no ConfigMap of them.
func (k *kept) params(ctx context.Context) (map[string]string, error) {
	cm, err := k.client.Typed.CoreV1().ConfigMaps(k.control).Get(ctx, "argocd-cmd-params-cm", metav1.GetOptions{})
	if err = kube.Explain(err); kube.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configmap argocd-cmd-params-cm: %w", err)
	}
	return cm.Data, nil
}

// account is what Argo CD says to Redis of itself; nothing where it keeps no Secret of that.
func (k *kept) account(ctx context.Context) (account, error) {
	secret, err := k.client.Typed.CoreV1().Secrets(k.control).Get(ctx, "argocd-redis", metav1.GetOptions{})
	if err = kube.Explain(err); kube.IsNotFound(err) {
		return account{}, nil
	}
	if err != nil {
		return account{}, fmt.Errorf("secret argocd-redis: %w", err)
	}
	return accountOf(secret.Data), nil
}

// accountOf reads the Secret: Argo CD's own manifests give it a password only, its Helm chart may give it a user of Redis' ACL, and names
// the password of a Redis that is not its own differently.
func accountOf(secret map[string][]byte) account {
	return account{user: string(secret["redis-username"]), password: cmp.Or(string(secret["auth"]), string(secret["redis-password"]))}
}

// place is where Argo CD keeps its cache.
type place struct {
	service string
	port    int
	db      int
	gzip    bool
}

// keptAt reads the place from Argo CD's parameters.
func keptAt(params map[string]string, namespace string) (place, error) {
	server := cmp.Or(params["redis.server"], "argocd-redis:6379")
	host, number, err := net.SplitHostPort(server)
	if err != nil {
		host, number = server, "6379"
	}
	name, rest, _ := strings.Cut(host, ".")
	if inside, _, _ := strings.Cut(rest, "."); inside != "" && inside != namespace {
		return place{}, fmt.Errorf("the Redis of Argo CD is %s, outside of namespace %s", server, namespace)
	}
	port, err := strconv.Atoi(number)
	if err != nil {
		return place{}, fmt.Errorf("the Redis of Argo CD is %q, which names no port", server)
	}
	db, err := strconv.Atoi(cmp.Or(params["redis.db"], "0"))
	if err != nil {
		return place{}, fmt.Errorf("redis.db of argocd-cmd-params-cm: %q is no number", params["redis.db"])
	}
	return place{service: name, port: port, db: db, gzip: params["redis.compression"] != "none"}, nil
}

// connect goes to a pod of the Service, as its clients would.
func (k *kept) connect(ctx context.Context, at place) (net.Conn, error) {
	core := k.client.Typed.CoreV1()
	service, err := core.Services(k.control).Get(ctx, at.service, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", at.service, kube.Explain(err))
	}
	if len(service.Spec.Selector) == 0 {
		return nil, fmt.Errorf("service %s has no pods of its own", at.service)
	}
	pods, err := core.Pods(k.control).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil {
		return nil, fmt.Errorf("pods of service %s: %w", at.service, kube.Explain(err))
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; answers(pod) {
			return k.client.PortForward(ctx, k.control, pod.Name, targetPort(service, pod, at.port))
		}
	}
	return nil, fmt.Errorf("no pod of service %s is ready", at.service)
}

func answers(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// targetPort is the pod's port behind a Service's port.
func targetPort(service *corev1.Service, pod *corev1.Pod, port int) int {
	for _, p := range service.Spec.Ports {
		if int(p.Port) != port {
			continue
		}
		if n := p.TargetPort.IntValue(); n != 0 {
			return n
		}
		for _, c := range pod.Spec.Containers {
			for _, own := range c.Ports {
				if own.Name == p.TargetPort.StrVal {
					return int(own.ContainerPort)
				}
			}
		}
	}
	return port
}

// plannedOf compares what is live with what a sync would make of it.
func plannedOf(items []argoserver.Managed) map[key]planned {
	out := map[key]planned{}
	for _, m := range items {
		var live, predicted unstructured.Unstructured
		k := key{m.Group, m.Kind, m.Namespace, m.Name}
		switch there, wanted := live.UnmarshalJSON([]byte(m.Live)) == nil, predicted.UnmarshalJSON([]byte(m.Predicted)) == nil; {
		case !there:
			out[k] = planned{create: true}
		case wanted:
			fields, lines := kube.Differ(&live, &predicted)
			out[k] = planned{fields: fields, lines: lines}
		}
	}
	return out
}
