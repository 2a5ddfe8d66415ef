package cloud

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pipectl.dev/steps/wait"
)

// Careful is the option for EC2 calls that create something and take no client token: the SDK must not send them twice.
func Careful(o *ec2.Options) { o.Retryer = careful{o.Retryer} }

// Once carries out a create call that takes no client token. When no answer comes the call may have worked, so find looks for the
// thing by its tags, for as long as a fresh one may stay invisible, before it is tried again: never two, never none.
// A call under way is finished even when ctx ends, within 15 s, so that an interrupt does not throw its answer away.
func (s *Session) Once(ctx context.Context, find func(context.Context) (bool, error), create func(context.Context) error) error {
	const tries = 4
	for try := 1; ; try++ {
		err := s.finish(ctx, create)
		if err == nil || !Ambiguous(err) {
			return err
		}
		if found, lookErr := s.Appears(ctx, visible, find); found || lookErr != nil {
			return lookErr
		}
		if try == tries {
			return err
		}
	}
}

func (s *Session) finish(ctx context.Context, call func(context.Context) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(15*time.Second, cancel) })
	defer stop()
	return call(detached)
}

// visible is how long a look-up by tag may miss what was just made.
const visible = 10 * time.Second

// Appears looks until find finds, for at most limit of the cloud's time.
func (s *Session) Appears(ctx context.Context, limit time.Duration, find func(context.Context) (bool, error)) (found bool, err error) {
	began := time.Now()
	err = wait.Until(ctx, wait.Options{Speed: s.Speed}, func(ctx context.Context) (bool, string, error) {
		found, err = find(ctx)
		if IsTransient(err) {
			err = nil
		}
		return found || s.Since(began) > limit, "", err
	})
	return found, err
}

// Since is the time that passed in the cloud, which in a rehearsal runs faster than here.
func (s *Session) Since(t time.Time) time.Duration {
	return time.Duration(float64(time.Since(t)) * s.Speed)
}

// Retry repeats call while again says that its error will pass, at most for limit of the cloud's time; then the error is final.
func (s *Session) Retry(ctx context.Context, limit time.Duration, again func(error) bool, call func(context.Context) error) error {
	began := time.Now()
	return wait.Until(ctx, wait.Options{Speed: s.Speed, Min: time.Second, Max: 5 * time.Second, Expect: time.Second}, func(ctx context.Context) (bool, string, error) {
		err := call(ctx)
		if err == nil {
			return true, "", nil
		}
		if s.Since(began) >= limit || !again(err) {
			return false, "", err
		}
		return false, err.Error(), nil
	})
}
