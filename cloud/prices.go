package cloud

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"pipectl.dev/steps"
)

//go:embed prices.json
var pricesFile []byte

// HoursPerMonth is what AWS divides a month's price by.
const HoursPerMonth = 730

// PriceTable is list prices in USD by region and item: per hour, or per month where the item's name says so.
type PriceTable struct {
	AsOf    string                        `json:"asOf"` // YYYY-MM-DD
	Regions map[string]map[string]float64 `json:"regions"`
}

// Prices reads the table that is built in, with the file named by PIPECTL_PRICES laid over it: same form, any part of it.
func Prices() (PriceTable, error) {
	var t PriceTable
	if err := json.Unmarshal(pricesFile, &t); err != nil {
		return t, fmt.Errorf("prices: %w", err)
	}
	path := os.Getenv("PIPECTL_PRICES")
	if path == "" {
		return t, nil
	}
	var over PriceTable
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &over)
	}
	if err != nil {
		return t, &steps.Error{Code: "BadPrices", Category: steps.BadInput, Message: "PIPECTL_PRICES", Err: err,
			Hints: []string{`expected {"asOf": "2026-11-22", "regions": {"ap-northeast-2": {"t3.small": 0.026}}}`}}
	}
	return t.with(over), nil
}

func (t PriceTable) with(over PriceTable) PriceTable {
	if over.AsOf != "" {
		t.AsOf = over.AsOf
	}
	for region, items := range over.Regions {
		if t.Regions[region] == nil {
			t.Regions[region] = map[string]float64{}
		}
		for item, price := range items {
			t.Regions[region][item] = price
		}
	}
	return t
}

// Bill adds up what things cost in one region.
type Bill struct {
	cost   steps.Cost
	prices map[string]float64
}

// Bill starts a bill for region.
func (t PriceTable) Bill(region string) *Bill {
	return &Bill{cost: steps.Cost{PricesAsOf: t.AsOf}, prices: t.Regions[region]}
}

// Add puts count of item on the bill; what says it for people. data marks what still costs after `down`. An item without a price is listed as unknown.
func (b *Bill) Add(what, item string, count float64, data bool) {
	if count == 0 {
		return
	}
	price, ok := b.prices[item]
	if !ok {
		b.cost.Unknown = append(b.cost.Unknown, what)
		return
	}
	if strings.HasSuffix(item, "-month") {
		price /= HoursPerMonth
	}
	b.cost.HourlyUSD += price * count
	b.cost.Items = append(b.cost.Items, steps.CostItem{What: what, HourlyUSD: price * count, Data: data})
}

// Cost is the sum, with what is not in it.
func (b *Bill) Cost(notCounted ...string) *steps.Cost {
	c := b.cost
	c.NotCounted = notCounted
	return &c
}
