package main

import (
	"context"

	"pipectl.dev/cloud"
	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// holdings lists what costs money under the pipeline's identity, in its region or, where asked, in all that the account may use. A pipeline
// without an account has none.
func (s *session) holdings(ctx context.Context, everywhere bool) ([]engine.Holding, *steps.Cost, error) {
	if s.identity.Account == "" {
		return nil, nil, nil
	}
	home, err := s.clients.aws(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	regions := []string{home.Region}
	if everywhere {
		if regions, err = home.Regions(ctx); err != nil {
			return nil, nil, err
		}
	}
	var out []engine.Holding
	var total *steps.Cost
	for _, region := range regions {
		there, err := s.clients.aws(ctx, region)
		if err != nil {
			return nil, nil, err
		}
		list, err := there.Inventory(ctx, cloud.IdentityIn(s.identity.String(), home.Region, region))
		if err != nil {
			return nil, nil, err
		}
		bill := there.Prices.Bill(region)
		for _, h := range list {
			bill.Add(h.Kind+" "+h.Name, h.Item, h.Count, h.Data)
			x := engine.Holding{Region: h.Region, Kind: h.Kind, Name: h.Name, ID: h.ID, Data: h.Data}
			if !h.Since.IsZero() {
				since := h.Since.UTC()
				x.Since = &since
			}
			if usd, ok := there.Prices.Hourly(region, h.Item); ok {
				usd *= h.Count
				x.HourlyUSD = &usd
			}
			out = append(out, x)
		}
		if len(list) > 0 {
			total = total.Plus(bill.Cost(cloud.PaidByUse...))
		}
	}
	return out, total, nil
}

// belongings lists what carries the pipeline's owner tag in its region, with what it costs a day.
func (c *clients) belongings(ctx context.Context, id steps.Identity) ([]engine.Thing, error) {
	if id.Account == "" {
		return nil, nil
	}
	s, err := c.aws(ctx, "")
	if err != nil {
		return nil, err
	}
	all, err := s.Belongings(ctx, id.String())
	var out []engine.Thing
	for _, h := range all {
		t := engine.Thing{Kind: h.Kind, Name: h.Name, ID: h.ID, Data: h.Data}
		if usd, known := s.Prices.Hourly(h.Region, h.Item); known || h.Item == "" {
			usd *= h.Count * 24
			t.DailyUSD = &usd
		}
		out = append(out, t)
	}
	return out, err
}
