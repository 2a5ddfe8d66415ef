// Package aws is the cloud of a rehearsal: an emulator of the AWS calls that pipectl makes (EC2, EKS, IAM, STS, SSM,
// Service Quotas, load balancers of both generations, CloudWatch Logs) with SigV4, owner state, realistic durations on a scaled clock, eventual consistency and faults.
// The unmodified SDK talks to it, over loopback HTTP (Cloud is an http.Handler) or in process (RoundTripper).
//
// In a testing/synctest bubble use http.Client{Transport: cloud.RoundTripper()}: all durations are plain timers, so that
// virtual time drives them. A timer and a sleeper that are due at the same instant run in any order.
//
// It must not import the SDK nor any product package: a shared mistake would go unseen. It never blocks on the client,
// and it starts no goroutine that outlives Close.
package aws

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Fixture credentials that every Cloud knows unless Options.Access replaces them. They open nothing but the emulator.
const (
	FixtureAccount   = "111122223333"
	FixtureRegion    = "ap-northeast-2"
	FixtureAccessKey = "REHEARSALFIXTURE0001"
	FixtureSecretKey = "rehearsal/fixture/secret/key/0000000001"
)

// AccessKey is a long-lived or temporary credential the emulator accepts.
type AccessKey struct {
	ID, Secret string
	Token      string    // session token; empty for a long-lived key
	Principal  string    // ARN; empty means user/rehearsal of the account
	Expires    time.Time // zero: never
}

// Options configures a Cloud. The zero value is usable.
type Options struct {
	Account string // 12 digits, default FixtureAccount
	Region  string // default FixtureRegion
	// Speed divides every emulated duration; 1 is real time, 0 means 1.
	Speed float64
	// Seed makes ids, jitter and lags repeatable. 0 is a seed like any other.
	Seed int64
	// Jitter spreads durations by +-20 %. Off: nominal durations.
	Jitter bool
	// NoLag switches off read-after-create lag and IAM propagation.
	NoLag bool
	// LagLists also hides fresh resources from Describe calls that name no id; off, a look-up by tag sees them at once.
	LagLists bool
	// Latency is slept before each answer, not scaled.
	Latency time.Duration
	// PageSize caps every page, also where the client asked for more or for all. 0: only what the client asks.
	PageSize int
	// ClientIP is the public address that clients seem to come from; default 198.51.100.7.
	ClientIP string
	// Today is the emulated date that version support is computed from; zero is 2026-11-22.
	Today time.Time
	// Durations overrides single durations, see DefaultDurations for the keys.
	Durations map[string]time.Duration
	// Quotas overrides quota values by quota code, see quotaTable.
	Quotas map[string]float64
	// Policies restricts a principal (user or role ARN) to actions such as "ec2:Describe*"; a principal not named may do all.
	Policies map[string][]string
	// IdentityPolicies gives a principal (user or role ARN) a policy document that its calls are held to: actions, resources, conditions.
	IdentityPolicies map[string]string
	// EvaluateRoles makes sessions of roles answer to the policies attached to the role. On in rehearsals.
	EvaluateRoles bool
	World         World
	Faults        []Fault
	// Ledger sees each call as it is finished, one at a time. It must return quickly and must not call the Cloud.
	Ledger func(Call)
	// KillAt calls Kill when the Nth write call is committed and drops its response; 0 never. KillBefore does so before it commits.
	KillAt     int
	KillBefore bool
	Kill       func()
	Access     []AccessKey
}

// World is everything outside AWS that the emulated services drive or ask. Notifications come one at a time and in
// order; they must return quickly and must not call the Cloud: the AWS call that caused one waits for it.
// ClusterEndpoint and JWKS may block until their context ends.
type World interface {
	ClusterCreating(name, version, issuer string)
	ClusterEndpoint(ctx context.Context, name string) (endpoint, caBase64 string, err error)
	ClusterDeleted(name string)
	JWKS(ctx context.Context, name string) ([]byte, error)
	NodesJoined(cluster, group string, nodes []Instance)
	NodesLeaving(cluster string, nodes []Instance)
	AddonState(cluster, addon, roleARN string, active bool) // roleARN is serviceAccountRoleArn; "" where the add-on has none
	VolumeAttached(instanceID, volumeID, device string)
	VolumeDetached(instanceID, volumeID string)
	VolumeDeleted(volumeID string)
	SnapshotCreated(volumeID, snapshotID string)
	VolumeFromSnapshot(snapshotID, volumeID string)
}

// Instance is an EC2 instance as the World sees it.
type Instance struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"` // private DNS name, also the node's name
	PrivateIP string            `json:"privateIP"`
	Zone      string            `json:"zone"`
	Type      string            `json:"type"`
	SubnetID  string            `json:"subnetID"`
	RootDisk  string            `json:"rootDisk,omitempty"` // its root volume, of a seeded one
	Labels    map[string]string `json:"labels,omitempty"`
	Taints    []Taint           `json:"taints,omitempty"`
}

// Taint is a node taint; Effect in the form of Kubernetes (NoSchedule, PreferNoSchedule, NoExecute).
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// Cloud is one emulated account in one region.
type Cloud struct {
	images string // day of the newest images; "": firstImages
	opt    Options
	world  World
	start  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex // guards all below
	rand   *rand.Rand
	timers map[*time.Timer]struct{}
	closed bool
	seq    int

	worldMu  sync.Mutex // held while the World is told something
	outbox   []func()   // guarded by mu
	ledgerMu sync.Mutex // held during Options.Ledger

	access map[string]*AccessKey
	podsOf map[string]string // cluster of the pod that a session was given to by Pod Identity, by the session's ARN
	faults []*Fault
	calls  []Call
	writes int
	spans  []Span
	tokens map[string]idempotent
	seeded map[string]bool // ids of resources that were there before

	ec2 ec2State
	iam iamState
	eks map[string]*cluster
	ssm map[string]*parameter
	s3  map[string]*bucket

	balancers   []*balancer
	loneTargets []*targetGroup // whose load balancer is gone
	logs        map[string]*logGroup
	keys        map[string]*key
}

// New makes an empty account. Close it.
func New(opt Options) *Cloud {
	if opt.Account == "" {
		opt.Account = FixtureAccount
	}
	if opt.Region == "" {
		opt.Region = FixtureRegion
	}
	if opt.ClientIP == "" {
		opt.ClientIP = "198.51.100.7"
	}
	if opt.Speed <= 0 {
		opt.Speed = 1
	}
	if opt.Today.IsZero() {
		opt.Today = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	}
	c := &Cloud{
		opt: opt, world: opt.World, start: time.Now(),
		rand:   rand.New(rand.NewPCG(uint64(opt.Seed), 0x9e3779b97f4a7c15)),
		timers: map[*time.Timer]struct{}{}, access: map[string]*AccessKey{}, podsOf: map[string]string{}, tokens: map[string]idempotent{}, seeded: map[string]bool{},
		eks: map[string]*cluster{}, ssm: map[string]*parameter{}, logs: map[string]*logGroup{}, keys: map[string]*key{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // ends by Close: an account outlives any one call
	c.initEC2()
	c.initIAM()
	if c.world == nil {
		c.world = newStandIn()
	}
	keys := opt.Access
	if len(keys) == 0 {
		keys = []AccessKey{{ID: FixtureAccessKey, Secret: FixtureSecretKey}}
	}
	for _, k := range keys {
		if k.Principal == "" {
			k.Principal = c.iamARN() + ":user/rehearsal"
		}
		c.access[k.ID] = &k
	}
	for _, f := range opt.Faults {
		c.faults = append(c.faults, &f)
	}
	return c
}

// Close stops all timers and waits for what the emulator still does. The Cloud answers no more state changes afterwards.
func (c *Cloud) Close() {
	c.mu.Lock()
	c.closed = true
	for t := range c.timers {
		t.Stop()
	}
	clear(c.timers)
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
}

// unlock releases the state and then delivers queued notifications in order; on return the caller's own were delivered.
func (c *Cloud) unlock() {
	pending := len(c.outbox) > 0
	c.mu.Unlock()
	if !pending {
		return
	}
	c.worldMu.Lock()
	defer c.worldMu.Unlock()
	for {
		c.mu.Lock()
		if len(c.outbox) == 0 {
			c.mu.Unlock()
			return
		}
		next := c.outbox[0]
		c.outbox = c.outbox[1:]
		c.mu.Unlock()
		next()
	}
}

// tell queues a notification for the World; it runs after the lock is released.
func (c *Cloud) tell(notify func()) { c.outbox = append(c.outbox, notify) }

// after runs change under the lock once an emulated duration has passed. The caller holds the lock.
func (c *Cloud) after(d time.Duration, change func()) {
	if c.closed {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(c.scaled(d), func() {
		c.mu.Lock()
		if _, live := c.timers[t]; !live || c.closed {
			c.mu.Unlock()
			return
		}
		delete(c.timers, t)
		change()
		c.unlock()
	})
	c.timers[t] = struct{}{}
}

// background runs f without the lock in a goroutine that Close waits for; f must heed the context. The caller holds the lock.
func (c *Cloud) background(f func(context.Context)) {
	if c.closed {
		return
	}
	c.work.Go(func() { f(c.ctx) })
}

// scaled turns an emulated duration into a real one.
func (c *Cloud) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) / c.opt.Speed) }

// emulated is the account's own time: real start plus elapsed time at speed.
func (c *Cloud) emulated(t time.Time) time.Time {
	return c.start.Add(time.Duration(float64(t.Sub(c.start)) * c.opt.Speed))
}
