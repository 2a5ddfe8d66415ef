package kubelet

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"

	"pipectl.dev/rehearsal/lab/spawn"
)

// accountDir is where containers find their service account.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// play is what one container runs.
type play struct {
	path    string // executable
	argv0   string
	args    []string
	dir     string
	env     []string
	message string                // file of the termination message
	addr    func(port int) string // where a container port really answers
}

// part is what kind of program an image stands for.
type part int

const (
	nothing part = iota
	pipectl
	argocd
	redis
	jenkins
)

// partOf tells by image and name what a container plays.
func partOf(pod *v1.Pod, c *v1.Container, init bool) part {
	name := imageName(c.Image)
	switch {
	case strings.Contains(name, "pipectl"):
		return pipectl
	case strings.HasPrefix(name, "quay.io/argoproj/argocd"):
		return argocd
	case strings.Contains(name, "redis") && !init && (pod.Namespace == "argocd" || pod.Labels["app.kubernetes.io/part-of"] == "argocd" || pod.Labels["app.kubernetes.io/name"] == "argocd-redis"):
		return redis
	case (strings.Contains(name, "jenkins/jenkins") || c.Name == "jenkins") && !init:
		return jenkins // its init containers only prepare what the stand-in does not read
	}
	return nothing
}

// unpullable tells an image whose registry cannot exist: its host ends in the name that is reserved for that.
func unpullable(image string) bool {
	host, _, found := strings.Cut(image, "/")
	host, _, _ = strings.Cut(host, ":")
	return found && strings.HasSuffix(host, ".invalid")
}

// imageName is an image without tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image
}

// setting is what a container's program is told by its pod.
type setting struct {
	pod     *v1.Pod
	c       *v1.Container
	mounts  rewriter
	env     map[string]string // of the pod, $(NAME) expanded, mount paths rewritten
	command []string
	args    []string
	dir     string // of the container, for whatever it needs
	account string // directory of the service account's files; "" without one
}

// choose decides what the container runs; nil is nothing.
func (w *worker) choose(ctx context.Context, c *v1.Container, init bool) (*play, error) {
	pod := w.current()
	kind := partOf(pod, c, init)
	if kind == nothing {
		return nil, nil
	}
	s, err := w.setting(ctx, pod, c)
	if err != nil {
		return nil, err
	}
	p := &play{message: s.mounts.rewrite(messagePath(c)), dir: s.dir, addr: func(port int) string { return join(w.address, port) }}
	if c.WorkingDir != "" {
		if host, ok := s.mounts.host(c.WorkingDir); ok {
			p.dir = host
		}
	}
	env := w.baseEnv(s)
	if err := w.identityEnv(ctx, s, env); err != nil {
		return nil, err
	}
	maps.Copy(env, s.env)
	play, err := map[part]func(context.Context, *setting, *play, map[string]string) (bool, error){
		pipectl: w.playPipectl, argocd: w.playArgoCD, redis: w.playRedis, jenkins: w.playJenkins,
	}[kind](ctx, s, p, env)
	if err != nil || !play {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		p.env = append(p.env, name+"="+env[name])
	}
	return p, nil
}

func (w *worker) setting(ctx context.Context, pod *v1.Pod, c *v1.Container) (*setting, error) {
	raw, err := w.environment(ctx, pod, c)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	volumes := w.volumes
	w.mu.Unlock()
	all, err := mounts(c, volumes, raw)
	if err != nil {
		return nil, err
	}
	s := &setting{pod: pod, c: c, env: map[string]string{}, dir: filepath.Join(w.dir, "containers", c.Name)}
	if err := os.MkdirAll(filepath.Join(s.dir, "tmp"), 0o755); err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.path == accountDir {
			s.account = m.host
		}
	}
	s.mounts = newRewriter(append(all, mount{path: messagePath(c), host: filepath.Join(s.dir, "termination-log")}))
	for name, value := range raw {
		s.env[name] = s.mounts.rewrite(value)
	}
	for _, word := range c.Command {
		s.command = append(s.command, s.mounts.rewrite(expand(word, raw)))
	}
	for _, word := range c.Args {
		s.args = append(s.args, s.mounts.rewrite(expand(word, raw)))
	}
	return s, nil
}

func messagePath(c *v1.Container) string {
	if c.TerminationMessagePath == "" {
		return v1.TerminationMessagePathDefault
	}
	return c.TerminationMessagePath
}

// baseEnv is what every process gets. Nothing of the lab's own environment leaks in but where programs are.
func (w *worker) baseEnv(s *setting) map[string]string {
	host, port := w.k.apiServer()
	temp := filepath.Join(s.dir, "tmp")
	if mounted, ok := s.mounts.host("/tmp"); ok {
		temp = mounted
	}
	return map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": s.dir, "TMPDIR": temp, "HOSTNAME": s.pod.Name,
		"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port,
	}
}

// playPipectl runs the pipectl binary in place of the image's; any other command is taken from this machine.
func (w *worker) playPipectl(_ context.Context, s *setting, p *play, env map[string]string) (bool, error) {
	p.path, p.argv0, p.args = w.k.opts.Pipectl, "pipectl", s.args
	if len(s.command) > 0 {
		p.args = append(slices.Clone(s.command[1:]), s.args...)
		if filepath.Base(s.command[0]) != "pipectl" {
			path, err := exec.LookPath(s.command[0])
			if err != nil {
				return false, fmt.Errorf("command: %w", err)
			}
			p.path, p.argv0 = path, s.command[0]
		}
	}
	for _, pair := range w.k.opts.PodEnv {
		name, value, _ := strings.Cut(pair, "=")
		if _, set := env[name]; !set {
			env[name] = value
		}
	}
	env["PIPECTL_TERMINATION_LOG"] = p.message
	env["PIPECTL_REHEARSAL_DEVICES"] = filepath.Join(w.k.opts.NodesDir, w.node.InstanceID, "devices")
	env["PIPECTL_POD_ADDRESS"] = w.address
	if s.account != "" {
		env["PIPECTL_SA_DIR"] = s.account
	}
	return true, nil
}

func (w *worker) playRedis(_ context.Context, s *setting, p *play, _ map[string]string) (bool, error) {
	p.path, p.argv0 = spawn.Self, "lab"
	p.args = []string{"redis", "--listen", join(w.address, firstPort(s.c, 6379))}
	return true, nil
}

// playJenkins serves the home that the pod mounts.
func (w *worker) playJenkins(_ context.Context, s *setting, p *play, env map[string]string) (bool, error) {
	home := env["JENKINS_HOME"]
	if home == "" {
		home = s.mounts.rewrite("/var/jenkins_home")
	}
	if !strings.HasPrefix(home, "/") || home == "/var/jenkins_home" {
		home = filepath.Join(s.dir, "home") // an image without a volume has its home in the container
		if err := os.MkdirAll(home, 0o755); err != nil {
			return false, err
		}
	}
	if env["JENKINS_ADMIN_PASSWORD"] == "" {
		// The chart hands the password over as a file.
		path := s.mounts.rewrite("/run/secrets/additional/chart-admin-password")
		if password, err := os.ReadFile(path); err == nil {
			env["JENKINS_ADMIN_PASSWORD"] = strings.TrimSpace(string(password))
		}
	}
	p.path, p.argv0 = spawn.Self, "lab"
	p.args = []string{"jenkins", "--home", home, "--listen", join(w.address, jenkinsPort(s.c))}
	return true, nil
}

// jenkinsPort is the web port: the one named http, else the first.
func jenkinsPort(c *v1.Container) int {
	for _, port := range c.Ports {
		if port.Name == "http" || port.Name == "web" {
			return int(port.ContainerPort)
		}
	}
	return firstPort(c, 8080)
}

func firstPort(c *v1.Container, otherwise int) int {
	if len(c.Ports) == 0 {
		return otherwise
	}
	return int(c.Ports[0].ContainerPort)
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
