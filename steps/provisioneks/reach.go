package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// checkReach makes sure that this very process will be able to talk to the API server: later stages must.
func (s *state) checkReach(ctx context.Context) ([]error, error) {
	cidrs := s.publicCIDRs()
	if s.spec.Endpoint.Public == nil || !*s.spec.Endpoint.Public {
		s.env.Note("endpoint.public is false: stages that use the cluster must run inside its VPC, or in a network that is joined to it")
		return nil, nil
	}
	if slices.Contains(cidrs, everywhere) || s.env.Unknown("endpoint.publicCIDRs") {
		return nil, nil
	}
	addr, ok := s.aws.EgressAddress(ctx)
	if !ok {
		s.env.Note("endpoint.publicCIDRs: cannot tell from which address this machine reaches AWS; it must be among " + strings.Join(cidrs, ", "))
		return nil, nil
	}
	inside := within(addr.String(), cidrs)
	s.env.Checked("endpoint", fmt.Sprintf("this machine reaches AWS from %s, allowed are %s", addr, strings.Join(cidrs, ", ")), inside)
	if inside {
		return nil, nil
	}
	return []error{precondition("CallerOutside", fmt.Sprintf("endpoint.publicCIDRs: this machine reaches AWS from %s, which is in none of %s", addr, strings.Join(cidrs, ", ")),
		fmt.Sprintf("add %s/%d, or run pipectl from inside these ranges", addr, addr.BitLen()))}, nil
}
