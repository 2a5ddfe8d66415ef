package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cloud"
	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// session is everything a verb that looks at the world needs: the pipeline, who we are, a runner with real clients.
type session struct {
	app      *app
	c        *cli.Context
	clients  *clients
	pipeline *engine.Pipeline
	identity steps.Identity
	runner   *engine.Runner
	show     *progress
	reports  *reports
}

// open loads the pipeline, finds out who we are and wires a runner. Every mistake in the file is reported before any credential is needed.
func (a *app) open(c *cli.Context, verb string) (*session, error) {
	a.keepSmall()
	s := &session{app: a, c: c, clients: newClients()}
	s.clients.mover = c.String("mover-image")
	var err error
	if s.clients.healthy, err = healthyFor(a.getenv("PIPECTL_HEALTHY_FOR")); err != nil {
		return nil, err
	}
	if s.clients.prices, err = prices(c.String("prices")); err != nil {
		return nil, err
	}
	if s.pipeline, err = a.load(c, s.clients.catalog(), false); err != nil {
		return nil, err
	}
	if err := s.pipeline.Has(slices.Concat(c.StringSlice("stage"), c.StringSlice("approve"), []string{c.String("from"), c.String("until")})...); err != nil {
		return nil, err
	}
	s.clients.region = s.pipeline.Region
	speed, err := speed(a.getenv("PIPECTL_SPEED"))
	if err != nil {
		return nil, err
	}
	if s.identity, err = s.clients.identify(c.Context, s.pipeline); err != nil {
		return nil, err
	}
	if s.show, err = a.newProgress(c, s.pipeline, place(s.identity), verb, speed); err != nil {
		return nil, err
	}
	if s.reports, err = a.openReports(c); err != nil {
		s.show.close()
		return nil, err
	}
	if err = s.wire(speed); err != nil {
		s.show.close()
		return nil, err
	}
	return s, nil
}

// keepSmall has garbage collected before a run grows beyond the hook's memory request. A run needs little for most of its time and has peaks of
// garbage, kustomize's above all: without this the blog's run reached 222 MB, half of which was garbage. GOMEMLIMIT wins.
func (a *app) keepSmall() {
	if a.getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(48 << 20) // of the heap; the binary's own pages, about 75 MB, come on top
	}
}

func (s *session) wire(speed float64) error {
	store, err := s.clients.store(s.c.Context, s.c.String("results"), s.identity)
	if err != nil {
		return err
	}
	locker, err := s.clients.locker(s.c.Context, s.c, s.identity)
	if err != nil {
		return err
	}
	redact := engine.NewRedactor()
	s.runner = &engine.Runner{
		Store: store, Locker: locker, Redact: redact, Speed: speed,
		Record:      engine.Tee(s.show.record, s.reports.record),
		Log:         slog.New(redact.Handler(s.show.handler(s.c.Bool("verbose")))),
		Tool:        steps.Tool{Version: version, Commit: commit},
		Secrets:     secretSource(s.clients.resolve),
		Identify:    func(context.Context, *engine.Pipeline) (steps.Identity, error) { return s.identity, nil },
		MaxParallel: s.c.Int("max-parallel"),
		Getenv:      s.app.lookup,
		Belongings:  s.clients.belongings,
		Holder:      steps.Self(),
		Command:     s.again(),
	}
	if s.app.someone() {
		s.runner.Confirm = s.app.confirm(s.show)
	}
	return nil
}

// again is the file and the flags of this call that another one needs too, for the hints that say how to carry on.
func (s *session) again() []string {
	var out []string
	if s.c.NArg() > 0 {
		out = append(out, s.c.Args().First())
	} else if f := s.app.file; f != "" && f != s.app.defaultFile() {
		out = append(out, f)
	}
	for _, name := range []string{"env", "results"} {
		if v := s.c.String(name); v != "" {
			out = append(out, "--"+name, v)
		}
	}
	for _, name := range []string{"params", "param"} {
		for _, v := range s.c.StringSlice(name) {
			out = append(out, "--"+name, v)
		}
	}
	return out
}

// lockWait is how long to wait for another run: a person wants to know at once, a CI job would rather wait.
func (s *session) lockWait() time.Duration {
	switch {
	case s.c.IsSet("lock-wait"):
		return s.c.Duration("lock-wait")
	case s.app.someone():
		return 0
	default:
		return 5 * time.Minute
	}
}

// prices is the built-in price table with a file of the caller's laid over it.
func prices(file string) (cloud.PriceTable, error) {
	if file == "" {
		return cloud.Prices()
	}
	src, err := readFile(file)
	if err != nil {
		return nil, err
	}
	list, err := cloud.ReadPrices(file, src)
	if err != nil {
		return nil, err
	}
	return cloud.Prices(list)
}

// place is the identity without the pipeline's name, which stands beside it.
func place(id steps.Identity) string {
	if id.Account != "" {
		return id.Account + "/" + id.Region + prefixed("/", id.Env)
	}
	return prefixed("", id.Env)
}

func prefixed(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}

var unsafe = regexp.MustCompile(`[^A-Za-z0-9._/-]+`)

// storeDir is where results are kept unless told otherwise: beside the caller, apart for each identity.
func storeDir(id steps.Identity) string {
	return filepath.Join(".pipectl", filepath.FromSlash(unsafe.ReplaceAllString(id.String(), "_")))
}

func speed(text string) (float64, error) {
	if text == "" {
		return 1, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v <= 0 {
		return 0, &steps.Error{Code: "BadSpeed", Category: steps.BadInput, Message: "PIPECTL_SPEED: expected a positive number, got " + strconv.Quote(text)}
	}
	return v, nil
}

// healthyFor reads how long at most sync-argocd watches a healthy Application; "" sets no limit.
func healthyFor(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, &steps.Error{Code: "BadDuration", Category: steps.BadInput, Message: "PIPECTL_HEALTHY_FOR: expected a duration such as 2s, got " + strconv.Quote(text)}
	}
	return d, nil
}

func inPod() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }
