package steps

import "slices"

// A month as AWS counts it, and the days of somebody who runs `down` every evening.
const (
	HoursPerMonth = 730
	HoursADay     = 4
)

// Cost is what things cost at list prices. Sums hold only what has a known price: where Unknown is not empty they say "at least", and one
// of which nothing is known is missing, not zero.
type Cost struct {
	HourlyUSD           float64    `json:"hourlyUSD,omitempty"`
	MonthlyUSD          float64    `json:"monthlyUSD,omitempty"`          // of 730 hours
	MonthlyPartTimeUSD  float64    `json:"monthlyPartTimeUSD,omitempty"`  // where it stands 4 hours a day, and is down the rest
	MonthlyAfterDownUSD float64    `json:"monthlyAfterDownUSD,omitempty"` // where it is down: of data alone
	PricesAsOf          string     `json:"pricesAsOf"`                    // date of the oldest price in it, YYYY-MM-DD
	Items               []CostItem `json:"items,omitempty"`               // also those without a known price
	NotCounted          []string   `json:"notCounted,omitempty"`          // what is paid by use
	Unknown             []string   `json:"unknown,omitempty"`             // items whose price is not in the table
}

// CostItem is one line of a Cost.
type CostItem struct {
	What      string  `json:"what"`
	HourlyUSD float64 `json:"hourlyUSD,omitempty"`
	Unknown   bool    `json:"unknown,omitempty"` // its price is not in the table
	Data      bool    `json:"data,omitempty"`    // still costs after `down`
}

// Sum is c with its sums drawn from its items again.
func (c Cost) Sum() *Cost {
	data := 0.0
	c.HourlyUSD, c.Unknown = 0, nil
	for _, i := range c.Items {
		switch {
		case i.Unknown && !slices.Contains(c.Unknown, i.What):
			c.Unknown = append(c.Unknown, i.What)
		case i.Data:
			data += i.HourlyUSD
		}
		c.HourlyUSD += i.HourlyUSD
	}
	c.MonthlyUSD, c.MonthlyAfterDownUSD = c.HourlyUSD*HoursPerMonth, data*HoursPerMonth
	c.MonthlyPartTimeUSD = (c.HourlyUSD-data)*HoursPerMonth*HoursADay/24 + c.MonthlyAfterDownUSD
	return &c
}

// Plus is both costs together; either may be nil.
func (c *Cost) Plus(d *Cost) *Cost {
	switch {
	case c == nil:
		return d
	case d == nil:
		return c
	}
	both := Cost{PricesAsOf: oldest(c.PricesAsOf, d.PricesAsOf), Items: slices.Concat(c.Items, d.Items), NotCounted: slices.Clone(c.NotCounted)}
	for _, what := range d.NotCounted {
		if !slices.Contains(both.NotCounted, what) {
			both.NotCounted = append(both.NotCounted, what)
		}
	}
	return both.Sum()
}

// Rest is what of it goes on costing after `down`.
func (c Cost) Rest() *Cost {
	c.Items = slices.DeleteFunc(slices.Clone(c.Items), func(i CostItem) bool { return !i.Data })
	return c.Sum()
}

// RestUnknown reports whether something that stays after `down` has no known price.
func (c Cost) RestUnknown() bool {
	return slices.ContainsFunc(c.Items, func(i CostItem) bool { return i.Data && i.Unknown })
}

// oldest is the earlier of two dates, of which either may be missing.
func oldest(a, b string) string {
	if a == "" || b != "" && b < a {
		return b
	}
	return a
}
