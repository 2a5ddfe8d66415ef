package jenkinshome

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/device"
	"pipectl.dev/treecopy"
)

// moverArgs is all that a mover in a pod is told. Every path is a flag.
type moverArgs struct {
	Source, Target, Host string // directories as the container sees them
	Scratch              string // for files that need not outlive the pod
	Volume               string // "" on route sameNode: Target is the claim itself
	Claimed              string // route sameNode: the volume that Target must be
	FromVolume, FromDir  string // route snapshot: a volume to mount at Source, and the home's directory on it
	Final                bool   // copy: nothing changes the source any more
	Ahead                bool   // copy, final: it does still; catch up, and be told when it does not
	Flush                bool   // cut: instead of a last pass write back what the disk's cache holds
	Serve, Receive       int    // route stream: the port where the home is served, or its copy is received
	Keys                 string // directory with the keys of that side
	PeerBy               time.Duration
	Identity             string // of the copy, see Move.copyIdentity
	RunID                string
	Exclude              list
	FSGroup              int64
	Passes               int
	Small                int64

	HomePod, HomeUID           string // the pod whose emptyDir the home is
	HomeVolume, ParkImage      string // its name in the pod; what the containers that write to it are given instead of being stopped
	HomeClaim, HomeDir, Node   string // who else mounts these may write to the home
	Owner                      string // JSON of the steps.Identity
	Namespace, Record          string
	Kind, Name                 string // of the workload
	User, TokenFile, Path      string
	Port                       int
	ArgoNamespace, Application string
	Own                        string // URL of the build that we are part of
	Wait, StopWithin, AckBy    time.Duration
	Then                       string
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// moverDefaults are the arguments that need not be given.
var moverDefaults = moverArgs{FSGroup: 1000, Passes: 1, Port: 8080, Then: "fail", StopWithin: 5 * time.Minute, AckBy: 10 * time.Minute}

// flags ties the arguments to their names, with what they are as defaults; args writes them with the same names.
func (a *moverArgs) flags() *flag.FlagSet {
	f := flag.NewFlagSet("mover", flag.ContinueOnError)
	f.StringVar(&a.Source, "source", a.Source, "directory of the home, read only")
	f.StringVar(&a.Target, "target", a.Target, "where the volume is mounted, or is to be mounted")
	f.StringVar(&a.Host, "host", a.Host, "the node's root file system")
	f.StringVar(&a.Scratch, "scratch", a.Scratch, "directory for files that need not last")
	f.StringVar(&a.Volume, "volume", a.Volume, "volume to find, format and mount")
	f.StringVar(&a.Claimed, "claimed", a.Claimed, "volume that the target must be, which is mounted there already")
	f.StringVar(&a.FromVolume, "from-volume", a.FromVolume, "volume made from a snapshot, that has the home")
	f.StringVar(&a.FromDir, "from-dir", a.FromDir, "directory of the home on it")
	f.BoolVar(&a.Final, "final", a.Final, "the source does not change any more")
	f.BoolVar(&a.Ahead, "ahead", a.Ahead, "catch up first, then wait until it does not")
	f.BoolVar(&a.Flush, "flush", a.Flush, "write the disk back instead of copying: somebody else makes the last pass")
	f.IntVar(&a.Serve, "serve", a.Serve, "port on the loopback where the home is served")
	f.IntVar(&a.Receive, "receive", a.Receive, "port on the loopback where the home is received")
	f.StringVar(&a.Keys, "keys", a.Keys, "directory with the keys for that")
	f.DurationVar(&a.PeerBy, "peer-within", a.PeerBy, "how long to wait for a connection")
	f.StringVar(&a.Identity, "identity", a.Identity, "identity of the copy")
	f.StringVar(&a.RunID, "run", a.RunID, "run id")
	f.Var(&a.Exclude, "exclude", "pattern of what is not copied")
	f.Int64Var(&a.FSGroup, "fs-group", a.FSGroup, "group of the home's root")
	f.IntVar(&a.Passes, "passes", a.Passes, "passes at most")
	f.Int64Var(&a.Small, "small", a.Small, "a pass that copied at most so many files is the last")
	f.StringVar(&a.HomePod, "home-pod", a.HomePod, "pod that has the home in an emptyDir")
	f.StringVar(&a.HomeUID, "home-uid", a.HomeUID, "its uid")
	f.StringVar(&a.HomeVolume, "home-volume", a.HomeVolume, "the name of that emptyDir in it")
	f.StringVar(&a.ParkImage, "park-image", a.ParkImage, "image that its containers are given while the home is copied")
	f.StringVar(&a.HomeClaim, "home-claim", a.HomeClaim, "claim that has the home")
	f.StringVar(&a.HomeDir, "home-dir", a.HomeDir, "directory of the node that has the home")
	f.StringVar(&a.Node, "node", a.Node, "that node")
	f.StringVar(&a.Owner, "owner", a.Owner, "identity of the pipeline")
	f.StringVar(&a.Namespace, "namespace", a.Namespace, "namespace of the workload and of the record")
	f.StringVar(&a.Record, "record", a.Record, "state ConfigMap")
	f.StringVar(&a.Kind, "kind", a.Kind, "kind of the workload")
	f.StringVar(&a.Name, "name", a.Name, "name of the workload")
	f.StringVar(&a.User, "user", a.User, "user of Jenkins")
	f.StringVar(&a.TokenFile, "token-file", a.TokenFile, "file with its token")
	f.StringVar(&a.Path, "path", a.Path, "context path of Jenkins")
	f.IntVar(&a.Port, "port", a.Port, "port of Jenkins")
	f.StringVar(&a.ArgoNamespace, "argocd-namespace", a.ArgoNamespace, "namespace of the Application")
	f.StringVar(&a.Application, "application", a.Application, "Application that owns the workload")
	f.StringVar(&a.Own, "own-build", a.Own, "URL of the build that started this")
	f.DurationVar(&a.Wait, "wait", a.Wait, "how long builds may take to end")
	f.StringVar(&a.Then, "then", a.Then, "fail, abort or proceed")
	f.DurationVar(&a.StopWithin, "stop-within", a.StopWithin, "how long the pod may take to end")
	f.DurationVar(&a.AckBy, "ack-within", a.AckBy, "how long to wait for the acknowledgement")
	return f
}

// args is the command line of a mover with these arguments.
func (a moverArgs) args(mode string) []string {
	out := []string{"mover", mode}
	a.flags().VisitAll(func(f *flag.Flag) {
		if l, ok := f.Value.(*list); ok {
			for _, v := range *l {
				out = append(out, "--"+f.Name+"="+v)
			}
			return
		}
		if f.Value.String() != "" {
			out = append(out, "--"+f.Name+"="+f.Value.String())
		}
	})
	return out
}

// Mover is the hidden verb `pipectl mover copy|serve|cut`, what runs in the pods of a move. args come without the verb itself. It logs to stderr
// and leaves its result, JSON of at most 4096 bytes, where the pod's termination message is read. The result is the exit code.
func Mover(ctx context.Context, args []string, stderr io.Writer) int {
	message := os.Getenv("PIPECTL_TERMINATION_LOG")
	if message == "" {
		message = "/dev/termination-log"
	}
	return runMover(ctx, args, stderr, message, func(ctx context.Context) (*kube.Client, error) {
		return kube.Open(ctx, steps.ClusterRef{InCluster: true}, kube.Options{Patience: time.Minute})
	})
}

func runMover(ctx context.Context, args []string, stderr io.Writer, message string, cluster func(context.Context) (*kube.Client, error)) int {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{} // Kubernetes stamps lines, and there is one level
		}
		return a
	}}))
	result, err := move(ctx, args, log, cluster)
	if err != nil {
		log.Error(err.Error())
		result.Error = info(err)
	}
	if err := leave(message, result); err != nil {
		log.Error(err.Error())
	}
	if result.Error != nil {
		return result.Error.Category.ExitCode()
	}
	return 0
}

func move(ctx context.Context, args []string, log *slog.Logger, cluster func(context.Context) (*kube.Client, error)) (moverResult, error) {
	if len(args) == 0 {
		return moverResult{}, errUsage
	}
	a := moverDefaults
	f := a.flags()
	f.SetOutput(io.Discard)
	if err := f.Parse(args[1:]); err != nil {
		return moverResult{}, &steps.Error{Code: "MoverVersion", Category: steps.Precondition, Message: "mover", Err: err,
			Hints: []string{"the mover's image is of another version than this pipectl: name one of its own by --mover-image"}}
	}
	dev := device.Open(a.Host)
	switch args[0] {
	case "copy":
		p := precopy{args: a, dev: dev, log: log}
		if a.HomePod != "" {
			k, err := cluster(ctx)
			if err != nil {
				return moverResult{}, err
			}
			p.confirm = a.confirm(ctx, k)
		}
		return p.run(ctx)
	case "serve":
		return moverResult{}, serve(ctx, a, log)
	case "cut":
		c, err := newCut(ctx, a, dev, log, cluster)
		if err != nil {
			return moverResult{}, err
		}
		return moverResult{}, c.run(ctx)
	}
	return moverResult{}, errUsage
}

var errUsage = &steps.Error{Code: "Usage", Category: steps.BadInput, Message: "mover: expected copy, serve or cut",
	Hints: []string{"this verb is for pods that pipectl itself starts"}}

// moverResult is a pod's termination message.
type moverResult struct {
	Figures    *Figures         `json:"figures,omitempty"`
	FileSystem string           `json:"fileSystem,omitempty"` // on the volume
	Left       []treecopy.Skip  `json:"leftOut,omitempty"`    // what was not copied, by reason
	Notes      []string         `json:"notes,omitempty"`
	Final      *finalPass       `json:"final,omitempty"`
	Error      *steps.ErrorInfo `json:"error,omitempty"`
}

// finalPass is what a last pass came to. Seconds are measured.
type finalPass struct {
	Hash   string  `json:"hash"`
	Files  int64   `json:"files"`
	Bytes  int64   `json:"bytes"`
	Copy   float64 `json:"copySeconds"`
	Verify float64 `json:"verifySeconds"`
}

const messageLimit = 4096

// leave writes the termination message. What is too long loses its samples, then its notes.
func leave(path string, r moverResult) error {
	for _, cut := range []func(){
		func() {},
		func() {
			for i := range r.Left {
				r.Left[i].Names = r.Left[i].Names[:min(3, len(r.Left[i].Names))]
			}
			r.Notes = r.Notes[:min(5, len(r.Notes))]
		},
		func() { r.Left, r.Notes = nil, nil },
		func() {
			if r.Error != nil {
				r.Error.Message = r.Error.Message[:min(1500, len(r.Error.Message))]
			}
		},
	} {
		cut()
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("termination message: %w", err)
		}
		if len(b) <= messageLimit {
			return writeMessage(path, b)
		}
	}
	return errors.New("termination message: does not fit")
}

// writeMessage does not mind a file that is not there: outside of a pod nobody reads it.
func writeMessage(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("termination message: %w", err)
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
