package rehearsal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"pipectl.dev/rehearsal/aws"
	"pipectl.dev/rehearsal/cluster"
	"pipectl.dev/treecopy/treetest"
)

// world is everything that a rehearsal starts: the emulated cloud, the old cluster, files and a Git repository.
type world struct {
	opts    Options
	outline outline
	dir     string
	lab     cluster.Lab
	log     *slog.Logger
	ledger  *ledger
	cloud   *aws.Cloud
	eks     *cluster.World
	old     *cluster.Cluster
	server  *http.Server
	baseURL string
	repos   map[string]string // Git URL in the pipeline -> directory
	secrets map[string]string // environment variable -> value, for the child
	kill    chan struct{}
	access  aws.AccessKey // what the child signs with
	started time.Duration // how long starting took
}

// files of the Jenkins home that the rehearsal makes.
const homeFiles = 20_000

// build makes the world. What was started when it fails is ended by close.
func build(ctx context.Context, o Options, lines outline, dir string) (*world, error) {
	began := time.Now()
	w := &world{opts: o, outline: lines, dir: dir, repos: map[string]string{}, secrets: map[string]string{}, kill: make(chan struct{}, 1)}
	logFile, err := os.Create(filepath.Join(dir, "rehearsal.log"))
	if err != nil {
		return w, err
	}
	w.log = slog.New(slog.NewTextHandler(logFile, nil))
	w.lab = cluster.Lab{Bin: o.Lab, Pipectl: o.Self, Dir: dir}
	if err := w.startCloud(ctx); err != nil {
		return w, err
	}
	made := make(chan error, 2)
	go func() { made <- w.makeFiles(ctx) }()
	go func() { made <- w.makeRepos(ctx) }()
	if err := errors.Join(<-made, <-made); err != nil {
		return w, err
	}
	machines := oldMachines(lines.Spec.Region)
	w.old, err = startOld(ctx, w.lab, lines.Spec.Region, machines)
	if err != nil {
		return w, err
	}
	if err := writeKubeconfig(w.old, w.kubeconfig()); err != nil {
		return w, err
	}
	w.started = time.Since(began)
	return w, nil
}

func (w *world) startCloud(ctx context.Context) error {
	faults, err := aws.ParseFaults(w.opts.Faults)
	if err != nil {
		return err
	}
	w.ledger, err = openLedger(filepath.Join(w.results(), "ledger.ndjson"))
	if err != nil {
		return err
	}
	w.eks = cluster.NewWorld(ctx, w.lab, w.outline.Spec.Region, w.log)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.baseURL = "http://" + listener.Addr().String()
	w.eks.BaseURL = w.baseURL
	w.access = aws.AccessKey{
		ID: "REHEARSAL" + randomHex()[:11], Secret: randomHex() + randomHex()[:8], Principal: "arn:aws:iam::" + aws.FixtureAccount + ":user/rehearsal",
	}
	w.cloud = aws.New(aws.Options{
		Region: w.outline.Spec.Region, Speed: w.opts.Speed, Seed: w.opts.Seed, EvaluateRoles: true, World: w.eks, Faults: faults,
		Ledger: w.ledger.add, KillAt: w.opts.KillAt, Kill: w.killed, Access: []aws.AccessKey{w.access},
	})
	mux := http.NewServeMux()
	mux.Handle("/", w.cloud)
	mux.Handle("GET "+mirrorPath, mirror{lab: w.lab.Bin})
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = w.server.Serve(listener) }()
	return w.seed()
}

// killed is called by the emulator in the middle of a call: the client must die before it sees the answer.
func (w *world) killed() {
	select {
	case w.kill <- struct{}{}:
	default:
	}
}

// seed puts into the cloud what is there before pipectl comes: the old machines and the secrets that the pipeline asks for.
func (w *world) seed() error {
	for _, m := range oldMachines(w.outline.Spec.Region) {
		if _, err := w.cloud.SeedInstance(aws.InstanceSeed{ID: m.ID, Name: m.Name, PrivateIP: m.IP, Zone: m.Zone, Type: m.Type}); err != nil {
			return err
		}
	}
	for _, p := range w.outline.Spec.Params {
		switch {
		case p.From.SSM != "":
			w.cloud.SeedParameter(p.From.SSM, randomHex(), true)
		case p.From.Env != "":
			w.secrets[p.From.Env] = randomHex()
		}
	}
	return nil
}

func randomHex() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	return hex.EncodeToString(b)
}

// makeFiles writes the Jenkins home onto the old worker's disk. Its Jenkins takes any of the secrets that the child gets as a password.
func (w *world) makeFiles(context.Context) error {
	var hashes []string
	for _, secret := range w.secrets {
		sum := sha256.Sum256([]byte(secret))
		hashes = append(hashes, hex.EncodeToString(sum[:]))
	}
	return treetest.JenkinsHome(w.oldHome(), treetest.Options{Files: homeFiles, Seed: w.opts.Seed, TokenSHA256: hashes})
}

func (w *world) makeRepos(ctx context.Context) error {
	for name, url := range w.outline.gitURLs() {
		dir := w.opts.Repos[url]
		if dir == "" {
			dir = filepath.Join(w.dir, "git", name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := makeRepo(ctx, dir, url); err != nil {
				return err
			}
		}
		w.repos[name] = dir
	}
	return nil
}

func (w *world) oldHome() string {
	return filepath.Join(w.lab.NodeRoot(worker(oldMachines(w.outline.Spec.Region)).ID), jenkinsHome)
}

func (w *world) results() string    { return filepath.Join(w.dir, "results") }
func (w *world) home() string       { return filepath.Join(w.dir, "home") }
func (w *world) kubeconfig() string { return filepath.Join(w.home(), ".kube", "config") }

// stopOld ends the old cluster: from now on, a stage that asks it anything fails.
func (w *world) stopOld() {
	if w.old != nil {
		w.old.Stop()
		w.old = nil
	}
}

// close ends all that was started. The directory is the caller's.
func (w *world) close() {
	w.stopOld()
	if w.eks != nil {
		w.eks.Close()
	}
	if w.cloud != nil {
		w.cloud.Close()
	}
	if w.server != nil {
		_ = w.server.Close()
	}
	if w.ledger != nil {
		w.ledger.close()
	}
}

// findLab says where the lab binary is: --lab, $PIPECTL_LAB, beside the binary, or bin/lab below the working directory.
func findLab(o Options) (string, error) {
	candidates := []string{o.Lab, o.Getenv("PIPECTL_LAB"), filepath.Join(filepath.Dir(o.Self), "lab"), filepath.Join("bin", "lab")}
	for i, c := range candidates {
		if c == "" {
			continue
		}
		if st, err := os.Stat(c); err == nil && st.Mode().IsRegular() {
			return filepath.Abs(c)
		} else if i < 2 { // named by the user: do not look elsewhere
			return "", fmt.Errorf("lab binary %s: not a file", c)
		}
	}
	return "", fmt.Errorf("no lab binary beside %s nor in bin/", o.Self)
}

// mirrorPath is where the rehearsal answers for remote manifests.
const mirrorPath = "/_mirror/"

// mirrors tells the child which remote prefixes are answered here.
func (w *world) mirrors() string {
	return "https://raw.githubusercontent.com/argoproj/argo-cd/=" + w.baseURL + mirrorPath + "argo-cd/"
}

func (w *world) env() []string {
	env := []string{
		"HOME=" + w.home(), "KUBECONFIG=" + w.kubeconfig(), "PATH=" + w.opts.Getenv("PATH"), "TERM=" + w.opts.Getenv("TERM"),
		"LANG=" + w.opts.Getenv("LANG"), "TMPDIR=" + w.opts.Getenv("TMPDIR"),
		"AWS_ENDPOINT_URL=" + w.baseURL, "AWS_REGION=" + w.outline.Spec.Region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=" + w.access.ID, "AWS_SECRET_ACCESS_KEY=" + w.access.Secret,
		fmt.Sprintf("PIPECTL_SPEED=%g", w.opts.Speed), "PIPECTL_MIRRORS=" + w.mirrors(), "PIPECTL_MOVER_IMAGE=pipectl:rehearsal", "PIPECTL_HEALTHY_FOR=2s",
	}
	for name, value := range w.secrets {
		env = append(env, name+"="+value)
	}
	return append(env, passedOn(w.opts.Getenv, "COLUMNS", "NO_COLOR", "COLORTERM", "GOCOVERDIR")...)
}

func passedOn(getenv func(string) string, names ...string) []string {
	var out []string
	for _, n := range names {
		if v := getenv(n); v != "" {
			out = append(out, n+"="+v)
		}
	}
	return out
}
