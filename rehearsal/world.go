package rehearsal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"pipectl.dev/rehearsal/aws"
	"pipectl.dev/rehearsal/cluster"
	"pipectl.dev/treecopy/treetest"
)

// world is everything that a rehearsal starts: the emulated cloud, clusters that are there before, files and Git repositories.
type world struct {
	opts    Options
	outline outline
	dir     string
	lab     cluster.Lab
	log     *slog.Logger
	ledger  *ledger
	cloud   *aws.Cloud
	eks     *cluster.World
	needs   needs
	sites   []*site // clusters that are there before the pipeline starts
	server  *http.Server
	baseURL string
	repos   map[string]string // param that names a Git URL -> directory
	secrets map[string]string // environment variable -> value, for the child
	kill    chan struct{}
	access  aws.AccessKey // what the child signs with
	started time.Duration // how long starting took
	runs    int           // of the child so far
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
	for _, p := range w.needs.Places {
		w.sites = append(w.sites, &site{place: p})
	}
	group, starting := errgroup.WithContext(ctx)
	group.Go(func() error { return w.makeRepos(starting) })
	group.Go(func() error { return w.startSites(starting) })
	if err := group.Wait(); err != nil {
		return w, err
	}
	if err := writeKubeconfig(w.sites, w.kubeconfig()); err != nil {
		return w, err
	}
	w.started = time.Since(began)
	return w, nil
}

// startSites starts the clusters one beside the other.
func (w *world) startSites(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	kubeadm := 0
	for _, s := range w.sites {
		n := kubeadm
		if s.Context != "" {
			kubeadm++
		}
		group.Go(func() error { return w.startSite(ctx, s, n) })
	}
	return group.Wait()
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
	w.eks.PodEnv = []string{fmt.Sprintf("PIPECTL_SPEED=%g", w.opts.Speed), "PIPECTL_HEALTHY_FOR=2s"}
	account := w.outline.Spec.Account
	if account == "" {
		account = aws.FixtureAccount
	}
	w.needs = needsOf(w.outline, account)
	w.access = aws.AccessKey{
		ID: "REHEARSAL" + randomHex()[:11], Secret: randomHex() + randomHex()[:8], Principal: "arn:aws:iam::" + account + ":user/rehearsal",
	}
	w.cloud = aws.New(aws.Options{
		Account: account, Region: w.outline.Spec.Region, Speed: w.opts.Speed, Seed: w.opts.Seed, EvaluateRoles: true, World: w.eks, Faults: faults,
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

// seed puts into the cloud what is there before pipectl comes and is no machine: secrets and policies that the pipeline asks for.
func (w *world) seed() error {
	for bucket, issuer := range w.needs.Issuers {
		u, err := url.Parse(issuer)
		if err != nil {
			return err
		}
		prefix := strings.TrimPrefix(u.Path+"/", "/")
		if strings.HasPrefix(u.Host, "s3.") {
			prefix = strings.TrimPrefix(prefix, bucket+"/")
		}
		if err := w.cloud.MakeBucket(bucket); err != nil {
			return err
		}
		if err := w.cloud.Publish(bucket, prefix+".well-known/openid-configuration", prefix+"openid/v1/jwks"); err != nil {
			return err
		}
	}
	for _, arn := range w.needs.Policies {
		w.cloud.SeedPolicy(arn[strings.LastIndex(arn, "/")+1:], `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
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

// makeFiles writes the Jenkins home onto an instance's disk. Its Jenkins takes any of the secrets that the child gets as a password.
func (w *world) makeFiles(instance string) error {
	var hashes []string
	for _, secret := range w.secrets {
		sum := sha256.Sum256([]byte(secret))
		hashes = append(hashes, hex.EncodeToString(sum[:]))
	}
	return treetest.JenkinsHome(filepath.Join(w.lab.NodeRoot(instance), jenkinsHome), treetest.Options{Files: homeFiles, Seed: w.opts.Seed, TokenSHA256: hashes})
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

// source is the cluster that a Jenkins is moved out of; nil where none is.
func (w *world) source() *site {
	for _, s := range w.sites {
		if s.Jenkins.Name != "" {
			return s
		}
	}
	return nil
}

func (w *world) oldHome() string {
	return filepath.Join(w.lab.NodeRoot(w.source().instance), jenkinsHome)
}

// params are values that the client is given: repositories of the rehearsal, and what the pipeline would ask a person for.
func (w *world) params() map[string]string {
	all := maps.Clone(w.needs.Params)
	if all == nil {
		all = map[string]string{}
	}
	for name, dir := range w.repos {
		all[name] = fileURL(dir)
	}
	return all
}

func (w *world) results() string    { return filepath.Join(w.dir, "results") }
func (w *world) events() string     { return filepath.Join(w.dir, "events") }
func (w *world) home() string       { return filepath.Join(w.dir, "home") }
func (w *world) kubeconfig() string { return filepath.Join(w.home(), ".kube", "config") }

// stopSource ends the cluster that a Jenkins was moved out of, unless others need it too: from now on, a stage that asks it anything
// fails.
func (w *world) stopSource() {
	if s := w.source(); s != nil && !s.Others && s.Context != "" && s.cluster != nil {
		s.cluster.Stop()
	}
}

// close ends all that was started. The directory is the caller's.
func (w *world) close() {
	for _, s := range w.sites {
		if s.Context != "" && s.cluster != nil {
			s.cluster.Stop()
		}
	}
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
