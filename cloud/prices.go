package cloud

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"pipectl.dev/steps"
)

//go:embed prices.json
var pricesFile []byte

// Price is a list price in USD, per hour or, where the item's name ends in -month, per month.
type Price struct {
	USD  float64
	AsOf string // the day it was read at its source, YYYY-MM-DD
}

// PriceTable is list prices by region and item. What is not in it is not known, which is not the same as free.
type PriceTable map[string]map[string]Price

// PriceList is prices of one day and source, as a file has them. A null price says that none is known.
type PriceList struct {
	AsOf    string                         `yaml:"asOf" json:"asOf" jsonschema:"required,pattern=^20[0-9][0-9]-[01][0-9]-[0-3][0-9]$" jsonschema_description:"day of the prices, YYYY-MM-DD"`
	Source  string                         `yaml:"source,omitempty" json:"source,omitempty" jsonschema_description:"where they are from"`
	Regions map[string]map[string]*float64 `yaml:"regions" json:"regions" jsonschema:"required" jsonschema_description:"USD by region and item"`
}

// builtIn is the table of the release. Only figures that were read at a source are in it, each with its day.
var builtIn = sync.OnceValues(func() (PriceTable, error) {
	var lists []PriceList
	t := PriceTable{}
	if err := json.Unmarshal(pricesFile, &lists); err != nil {
		return t, err
	}
	for _, l := range lists {
		t.add(l)
	}
	return t, nil
})

// Prices is the built-in table with overrides, later ones first, laid over it.
func Prices(over ...PriceList) (PriceTable, error) {
	t := PriceTable{}
	base, err := builtIn()
	if err != nil {
		return t, err
	}
	for region, items := range base {
		t[region] = map[string]Price{}
		for item, p := range items {
			t[region][item] = p
		}
	}
	for _, l := range over {
		t.add(l)
	}
	return t, nil
}

func (t PriceTable) add(l PriceList) {
	for region, items := range l.Regions {
		if t[region] == nil {
			t[region] = map[string]Price{}
		}
		for item, usd := range items {
			if usd == nil {
				delete(t[region], item)
				continue
			}
			t[region][item] = Price{USD: *usd, AsOf: l.AsOf}
		}
	}
}

// Bill adds up what things cost in one region.
type Bill struct {
	cost   steps.Cost
	prices map[string]Price
}

// Bill starts a bill for region.
func (t PriceTable) Bill(region string) *Bill { return &Bill{prices: t[region]} }

// Add puts count of item on the bill; what says it for people. data marks what still costs after `down`. An item without a price stands
// there as unknown.
func (b *Bill) Add(what, item string, count float64, data bool) {
	if count == 0 {
		return
	}
	line := steps.CostItem{What: what, Data: data}
	if usd, asOf, ok := b.hourly(item); ok {
		line.HourlyUSD = usd * count
		if b.cost.PricesAsOf == "" || asOf < b.cost.PricesAsOf {
			b.cost.PricesAsOf = asOf
		}
	} else {
		line.Unknown = true
	}
	b.cost.Items = append(b.cost.Items, line)
}

func (b *Bill) hourly(item string) (usd float64, asOf string, ok bool) {
	p, ok := b.prices[item]
	if strings.HasSuffix(item, "-month") {
		p.USD /= steps.HoursPerMonth
	}
	return p.USD, p.AsOf, ok
}

// Hourly is what one of item costs an hour in region; ok is false where that is not known.
func (t PriceTable) Hourly(region, item string) (usd float64, ok bool) {
	usd, _, ok = t.Bill(region).hourly(item)
	return usd, ok
}

// Cost is the sum, with what is not in it.
func (b *Bill) Cost(notCounted ...string) *steps.Cost {
	c := b.cost
	c.NotCounted = slices.Clone(notCounted)
	return c.Sum()
}

// PaidByUse is what no plan can count.
var PaidByUse = []string{"traffic", "load balancers that the cluster makes, and their capacity units", "CloudWatch logs and metrics", "requests", "snapshots", "volumes of claims"}
