package cloud

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pipectl.dev/steps"
)

// Limit is a service quota that something to be made may hit.
type Limit struct {
	Service, Code, Name string
	Need                float64 // of what is to be made
	Unit                string  // "" for a count
	Used                func(context.Context) (float64, error)
}

// Within compares each limit with what is used and what is needed, and gives one error for each that would be passed. A quota that the
// caller may not read is a note: AWS will say it at the call.
func (s *Session) Within(ctx context.Context, env steps.Env, limits []Limit) ([]error, error) {
	found, failed := make([]error, len(limits)), make([]error, len(limits))
	var wg sync.WaitGroup
	for i, l := range limits {
		wg.Go(func() { found[i], failed[i] = s.within(ctx, env, l) })
	}
	wg.Wait()
	var out []error
	for i := range limits {
		if failed[i] != nil {
			return nil, failed[i]
		}
		if found[i] != nil {
			out = append(out, found[i])
		}
	}
	return out, nil
}

func (s *Session) within(ctx context.Context, env steps.Env, l Limit) (found, err error) {
	what := "quota " + l.Name
	quota, err := s.Quota(ctx, l.Service, l.Code)
	if err == nil {
		var used float64
		if used, err = l.Used(ctx); err == nil {
			detail := fmt.Sprintf("%s of %s used, %s more needed", l.amount(used), l.amount(quota), l.amount(l.Need))
			ok := used+l.Need <= quota
			env.Checked(what, detail, ok)
			if ok {
				return nil, nil
			}
			return &steps.Error{Code: "QuotaExceeded", Category: steps.Quota, Message: fmt.Sprintf("quota %q: %s", l.Name, detail),
				Hints: []string{fmt.Sprintf("remove what is not needed, or ask for more: aws service-quotas request-service-quota-increase --service-code %s --quota-code %s --desired-value %.0f",
					l.Service, l.Code, used+l.Need+0.49)}}, nil
		}
	}
	if IsNotFound(err) || IsDenied(err) {
		env.Checked(what, "cannot be read ("+Code(err)+")", true)
		return nil, nil
	}
	return nil, err
}

func (l Limit) amount(v float64) string {
	if l.Unit == "" {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f %s", v, l.Unit)
}

// GP3Used is the size of all gp3 volumes of the region, in TiB.
func (s *Session) GP3Used(ctx context.Context) (float64, error) {
	all, err := s.Volumes(ctx, Filter("volume-type", "gp3"))
	total := 0.0
	for _, v := range all {
		total += float64(aws.ToInt32(v.Size)) / 1024
	}
	return total, err
}

// Roles counts the account's roles.
func (s *Session) Roles(ctx context.Context) (float64, error) {
	all, err := s.roles(ctx)
	return float64(len(all)), err
}
